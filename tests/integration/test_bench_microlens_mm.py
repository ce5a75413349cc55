"""The whole pipeline on 1,198 items with real titles and real-coded media, through the commands a user types."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossan.common.stores import open_store

PAPER_POPULARITY = 0.0274  # shared/data/README.md
NEIGHBOURHOOD = 0.05


def run(*command):
    program, *arguments = map(str, command)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")
    } | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(600)
def test_real_titles_and_media_end_to_end(test_data, tmp_path):
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
    run("crossan", "backbones", "init-tiny", tmp_path / "b", "--json")
    places = ("--dataset", tmp_path / "d", "--cache", tmp_path / "c")
    stores = run(
        "crossan-extract", "--modality", "all", *places, "--backbone", tmp_path / "b", "--json"
    )["stores"]
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
    again = run(
        "crossan-extract", "--modality", "all", *places, "--backbone", tmp_path / "b", "--json"
    )["stores"]
    assert [entry["forwarded"] for entry in again] == [0, 0, 0, 0]

    settings = ("model.bottleneck_dim=64", "optimiser.adapter_lr=1e-3", "max_epochs=16")
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
