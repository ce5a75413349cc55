"""The whole pipeline on 1,198 items with real titles and real-coded media, through the commands a user types."""

import csv
import json
import os

import pytest

from crossan.common.stores import open_store
from support.started import PROGRAMS, finish, start

PAPER_POPULARITY = 0.0274  # shared/data/README.md
NEIGHBOURHOOD = 0.05


def run(*command):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")}
    program, *arguments = command
    # One thread: beside other tests, the threads of several would wait for each other on the cores.
    process = start(PROGRAMS / program, *arguments, env=ours | {"OMP_NUM_THREADS": "1"})
    printed, _ = finish(process, seconds=1_200)
    return json.loads(printed.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1_800)
@pytest.mark.exhaustive
def test_real_titles_and_media_end_to_end(test_data, tiny_backbones, tmp_path):
    source = test_data / "bench_microlens_mm"
    run(
        "crossan",
        "data",
        "import",
        "--format",
        "table",
        source,
        "--sequences",
        source / "pairs.tsv",
        "--out",
        tmp_path / "d",
        "--json",
    )
    places = ("--dataset", tmp_path / "d", "--cache", tmp_path / "c")
    extract = ("crossan-extract", "--modality", "all", *places, "--backbone", tiny_backbones)
    stores = run(*extract, "--json")["stores"]
    named = {
        row["item"]: row
        for row in csv.DictReader(
            (source / "items.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        )
    }
    for entry in stores:
        assert (entry["missing"], entry["quarantined"]) == (0, 0)
        store = open_store(entry["store"])
        absent = {
            str(item)
            for item, is_present in zip(store.item_ids, store.presence, strict=True)
            if not is_present
        }
        column = "title" if entry["modality"] == "text" else entry["modality"]
        # Audio too: the 53 items without a sound file have no sound track in a video either.
        assert absent == {item for item, row in named.items() if not row[column]}
    again = run(*extract, "--json")["stores"]
    assert [entry["forwarded"] for entry in again] == [0, 0, 0, 0]

    settings = ("model.bottleneck_dim=64", "optimiser.adapter_lr=1e-3", "max_epochs=12")
    result = run(
        "crossan-train",
        *places,
        "--out",
        tmp_path / "r",
        "--json",
        *(part for s in settings for part in ("--set", s)),
    )
    assert result["test"]["hr@10"] >= 3 * PAPER_POPULARITY
    assert result["test"]["hr@10"] >= 3 * result["popularity"]["test"]["hr@10"]
    permuted = run("crossan", "evaluate", tmp_path / "r", "--permute-features", 1, "--json")
    assert permuted["test"]["hr@10"] < NEIGHBOURHOOD
