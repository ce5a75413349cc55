"""``crossan-extract`` on real media with tiny backbones: what it stores, what it refuses, with which exit code."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import write_dataset
from crossan.common.stores import create_store, fsck, logical_digest, open_store
from crossan.extract.backbones import load_backbone
from crossan.extract.cli import main
from support.extraction import places
from support.started import CEILING_S

ITEM_COUNT = 13
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Thirteen items; 00 has nothing, 01 a broken picture, 02 a path without a file, 03 a video without sound."""
    folder = tmp_path_factory.mktemp("media")
    random = np.random.default_rng(0)
    items = []
    for number in range(ITEM_COUNT):
        name = f"i{number:02d}"
        Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
        _write_sound(
            folder / f"{name}.wav", random.integers(-9000, 9000, 16_000 * 2, dtype=np.int16)
        )
        title = " ".join(["word"] * (1 + number % 5) + [str(number)])
        items.append(
            {"item_id": name, "title": title, "image": f"{name}.png", "audio": f"{name}.wav"}
        )
    items[0] = {"item_id": "i00"}
    (folder / "i01.png").write_bytes((folder / "i01.png").read_bytes()[:200])
    (folder / "i02.png").unlink()
    for number in range(3, 6):
        _write_video(folder / f"i{number:02d}.mp4", random)
        items[number]["video"] = f"i{number:02d}.mp4"
    items[3]["audio"] = None
    return folder, items


@pytest.fixture
def dataset(tmp_path, media):
    return _make_dataset(tmp_path / "d", *media)


@pytest.fixture
def crossan_extract(monkeypatch, capsys):
    """Return a function that runs the command in this process: exit code, stdout (its last line as JSON), stderr."""

    def call(*arguments):
        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["crossan-extract", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGTERM, before)
        said = capsys.readouterr()
        lines = said.out.splitlines()
        result = json.loads(lines[-1]) if "--json" in arguments and lines else said.out
        return ended.value.code or 0, result, said.err

    return call


@pytest.fixture
def extract(crossan_extract, dataset, tmp_path, tiny_backbones):
    """Return the command with dataset, cache and backbones filled in; later options win."""
    common = [
        *places(dataset, tmp_path / "c", tiny_backbones),
        "--max-bad",
        "100%",
        "--json",
    ]
    return lambda modality, *arguments: crossan_extract("--modality", modality, *common, *arguments)


def _write_sound(path, samples):
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(samples.tobytes())


def _write_video(path, random):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width = stream.height = 64
        for _ in range(38):
            frame = av.VideoFrame.from_ndarray(
                random.integers(0, 256, (64, 64, 3), dtype=np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _make_dataset(out, folder, items):
    def column(name):
        values = [item.get(name) for item in items]
        if name in {"image", "audio", "video"}:
            values = [None if value is None else str(folder / value) for value in values]
        return pa.array(values, pa.string())

    table = pa.table(
        {name: column(name) for name in ("item_id", "title", "image", "video", "audio")}
    )
    interactions = pa.table(
        {
            "user_id": pa.array(["u"] * len(items), pa.string()),
            "item_id": column("item_id"),
            "timestamp": pa.array([None] * len(items), pa.int64()),
        }
    )
    write_dataset(
        out,
        name="toy",
        source_format="table",
        licence="ours",
        interactions=interactions,
        items=table,
    )
    return out


def _digest(reported):
    return logical_digest(open_store(reported["store"]))


def test_all_modalities_are_extracted_and_reported(extract, media):
    code, result, said = extract("all")
    assert code == 0, said
    keys = [
        "modality",
        "store",
        "version",
        "fingerprint",
        "ok",
        "absent",
        "missing",
        "quarantined",
        "forwarded",
        "replaced",
        "seconds",
        "report",
        "spread",
    ]
    assert [list(store) for store in result["stores"]] == [keys] * 4
    counts = {
        s["modality"]: (s["ok"], s["absent"], s["missing"], s["quarantined"])
        for s in result["stores"]
    }
    assert counts == {
        "text": (12, 1, 0, 0),
        "image": (10, 1, 1, 1),
        "video": (3, 10, 0, 0),
        "audio": (11, 2, 0, 0),
    }
    assert [store["version"] for store in result["stores"]] == [1] * 4
    assert all(fsck(store["store"]).ok for store in result["stores"])
    line = json.loads((Path(result["stores"][1]["store"]) / "quarantine.jsonl").read_text())
    assert (line["item_id"], line["modality"], line["path"]) == (
        "i01",
        "image",
        str(media[0] / "i01.png"),
    )
    assert line["reason"] in {"truncated", "corrupt"}

    code, again, said = extract("all")
    assert code == 0, said
    assert [store["forwarded"] for store in again["stores"]] == [0] * 4
    assert [store["version"] for store in again["stores"]] == [1] * 4


def test_the_result_for_people_is_one_line_per_store_and_its_place(
    crossan_extract, dataset, tmp_path, tiny_backbones
):
    arguments = [
        *places(dataset, tmp_path / "c", tiny_backbones / "text"),
    ]
    code, printed, _ = crossan_extract("--modality", "text", *arguments)
    assert code == 0
    assert printed.startswith("text: 12 ok, 1 absent, 0 missing, 0 quarantined; forwarded 12 in ")
    assert str(tmp_path / "c") in printed


def test_dataset_and_cache_come_from_the_environment(
    crossan_extract, dataset, tmp_path, tiny_backbones, monkeypatch
):
    monkeypatch.setenv("CROSSAN_CACHE", str(tmp_path / "from-environment"))
    monkeypatch.chdir(dataset)
    code, result, said = crossan_extract(
        "--modality", "text", "--backbone", tiny_backbones, "--json"
    )
    assert code == 0, said
    assert result["stores"][0]["store"].startswith(str(tmp_path / "from-environment"))


@pytest.mark.parametrize("modality", list(Modality))
def test_batch_size_and_workers_do_not_change_values(extract, modality, tmp_path):
    shapes = {
        "one": ("--batch-size", 1, "--num-workers", 0),
        "many": ("--batch-size", 7, "--num-workers", 3),
    }
    stores = []
    for name, options in shapes.items():
        code, result, said = extract(
            modality.value, "--stored-dtype", "float32", "--cache", tmp_path / name, *options
        )
        assert code == 0, said
        stores.append(open_store(result["stores"][0]["store"]))
    first, second = (store.load()[store.presence] for store in stores)
    assert len(first) > 0
    scale = np.linalg.norm(first, axis=2)
    assert (np.linalg.norm(first - second, axis=2) <= 1e-5 * scale).all()


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
def test_a_bfloat16_store_is_one_of_its_own_near_that_of_float32(extract, modality):
    """Both lie in one cache, and either is complete for its own recipe."""
    stores = {}
    for dtype in ("float32", "bfloat16"):
        options = (modality.value, "--dtype", dtype, "--stored-dtype", dtype)
        code, result, said = extract(*options)
        assert code == 0, said
        _, again, _ = extract(*options)
        assert (again["stores"][0]["forwarded"], again["stores"][0]["version"]) == (0, 1)
        folder = result["stores"][0]["store"]
        assert fsck(Path(folder)).ok
        stores[dtype] = open_store(folder)
        assert stores[dtype].identity.capture["compute_dtype"] == dtype
    exact, rounded = stores.values()
    assert exact.identity.fingerprint != rounded.identity.fingerprint
    assert exact.item_ids.tolist() == rounded.item_ids.tolist()
    expected, computed = (store.load()[store.presence] for store in (exact, rounded))
    assert len(expected) > 0
    error = np.linalg.norm(computed - expected, axis=2) / np.linalg.norm(expected, axis=2)
    # More than float32 would differ by, and no more than a canary of bfloat16 may.
    assert 1e-4 < error.max() <= 3e-2


def test_three_shards_give_the_digest_of_one_job(extract, tmp_path):
    options = ("--batch-size", 2)
    _, whole, _ = extract("image", *options)
    for shard in ("2/3", "1/3", "3/3"):
        code, parts, said = extract(
            "image", *options, "--shard", shard, "--cache", tmp_path / "shards"
        )
        assert code == 0, said
    assert parts["stores"][0]["version"] == 3
    assert _digest(parts["stores"][0]) == _digest(whole["stores"][0])


def test_appended_and_changed_items_alone_are_computed(extract, media, tmp_path):
    folder, items = media
    shutil.copy(folder / "i07.png", tmp_path / "changing.png")
    old = [*items[:9], {"item_id": "x", "image": str(tmp_path / "changing.png")}]
    code, first, said = extract("image", "--dataset", _make_dataset(tmp_path / "old", folder, old))
    assert code == 0, said
    shutil.copy(folder / "i08.png", tmp_path / "changing.png")
    new = [*items, {"item_id": "x", "image": str(tmp_path / "changing.png")}]
    code, second, said = extract("image", "--dataset", _make_dataset(tmp_path / "new", folder, new))
    assert code == 0, said
    assert first["stores"][0]["store"] == second["stores"][0]["store"]
    assert second["stores"][0]["forwarded"] == 4 + 1  # i09 to i12, and x
    store = open_store(second["stores"][0]["store"])
    by_id = {item_id: row for row, item_id in enumerate(store.item_ids.tolist())}
    assert np.allclose(store.read([by_id["x"]]), store.read([by_id["i08"]]), rtol=1e-2, atol=1e-3)


def test_a_dry_run_writes_nothing(extract, tmp_path):
    code, result, said = extract("image", "--dry-run")
    assert code == 0, said
    planned = result["stores"][0]
    assert (
        planned["dry_run"],
        planned["to_forward"],
        planned["forwarded"],
        planned["version"],
    ) == (True, 11, 0, 0)
    assert planned["estimated_bytes"] > 0
    assert not (tmp_path / "c").exists()


def test_a_limit_bounds_one_run_and_the_next_goes_on(extract):
    assert [extract("text", "--limit", 5)[1]["stores"][0]["forwarded"] for _ in range(3)] == [
        5,
        5,
        2,
    ]


def test_too_many_bad_items_end_in_exit_3_with_the_work_kept(extract):
    code, result, said = extract("image", "--max-bad", "1%")
    assert code == 3
    assert result["stores"][0]["ok"] == 10
    assert "DataError: more items are bad than --max-bad 1% allows; what was done is kept" in said
    assert "image: 2 of 13 items (15.38%): 1 missing, 1 quarantined" in said
    code, again, _ = extract("image", "--max-bad", "16%")
    assert (code, again["stores"][0]["forwarded"]) == (0, 0)


def test_another_machines_canary_ends_in_exit_5(extract, tiny_backbones):
    code, planned, said = extract("text", "--dry-run")
    assert code == 0, said
    backbone = load_backbone(Modality.TEXT, str(tiny_backbones / "text"))
    canary = np.ones((4, len(backbone.layers), backbone.dim), dtype=np.float32)
    create_store(planned["stores"][0]["store"], backbone.identity("float16", "raw"), canary)
    code, _, said = extract("text")
    assert code == 5
    assert "IncompatibleError: " in said
    assert "canary mismatch" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--modality", "vidoe"], 2, "got 'vidoe'; did you mean 'video'?"),
        (["--modality", "text", "--shard", "4/3"], 2, "--shard 4/3: expected i/n with 1 <= i <= n"),
        (["--modality", "text", "--max-bad", "5"], 2, "--max-bad 5: expected a share"),
        (
            ["--modality", "text", "--codec", "zip"],
            2,
            "--codec zip: expected one of raw, zstd, blosc",
        ),
        (["--modality", "text", "--dtype", "float8"], 2, "--dtype float8: expected one of"),
        (
            ["--modality", "text", "--stored-dtype", "int8"],
            2,
            "--stored-dtype int8: expected one of",
        ),
        (["--modality", "text", "--dataset", "/nowhere/d"], 2, "/nowhere/d"),
        (["--modality", "text", "--backbone", "/nowhere/model"], 2, "/nowhere/model"),
        (
            ["--modality", "text,image", "--backbone", "some/model"],
            2,
            "one backbone cannot serve text, image",
        ),
        (
            ["--modality", "text,image", "--revision", "abc"],
            2,
            "--revision: one revision cannot serve several",
        ),
        (["--modality", "text", "--layers", "0,99"], 2, "99"),
        (["--modality", "text", "--batch-size", "0"], 2, "--batch-size"),
        (["--modality", "text", "--no-such-flag"], 2, "--no-such-flag"),
        ([], 2, "--modality"),
    ],
)
def test_wrong_usage_is_named_with_its_exit_code(
    crossan_extract, dataset, tiny_backbones, tmp_path, arguments, code, message
):
    given = [
        *places(dataset, tmp_path / "c", tiny_backbones),
        *arguments,
    ]
    ended, _, said = crossan_extract(*given)
    assert (ended, message in said) == (code, True), said
    assert "Traceback" not in said
    assert not (tmp_path / "c").exists()


def test_no_cache_is_named_with_the_remedy(crossan_extract, dataset, monkeypatch):
    monkeypatch.delenv("CROSSAN_CACHE", raising=False)
    code, _, said = crossan_extract("--modality", "text", "--dataset", dataset)
    assert code == 2
    assert "expected a folder of stores, found neither the flag nor CROSSAN_CACHE" in said
    assert "Give --cache FOLDER or set CROSSAN_CACHE" in said


def test_help_is_fast_and_loads_nothing_heavy():
    code = (
        "import sys, crossan.extract.cli as c; sys.argv = ['crossan-extract', '--help']\n"
        "try: c.main()\n"
        "finally: print([m for m in ('torch', 'transformers', 'zarr', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=CEILING_S
    )
    assert "--max-bad" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


def test_repair_computes_what_a_flipped_bit_lost_and_nothing_else(extract):
    for _ in range(3):  # three segments
        whole = extract("text", "--limit", 5)[1]["stores"][0]
    digest = _digest(whole)
    second = open_store(whole["store"]).records[1]
    chunk = Path(whole["store"]) / "segments" / second.segment_id / second.chunks[0].path
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    code, repaired, said = extract("text", "--repair")
    assert code == 0, said
    assert "1 segments dropped, 0 of their items rescued, 5 to be computed again" in said
    assert repaired["stores"][0]["forwarded"] == 5
    assert _digest(repaired["stores"][0]) == digest
    assert fsck(whole["store"]).ok
    assert extract("text", "--repair")[1]["stores"][0]["forwarded"] == 0


def test_reuse_takes_what_a_teammate_has_computed_and_computes_the_rest(extract, media, tmp_path):
    folder, items = media
    exact = ("--stored-dtype", "float32")
    theirs = extract("text", *exact, "--limit", 7, "--cache", tmp_path / "theirs")[1]["stores"][0]
    changed = [
        {**item, "title": "another title"} if item["item_id"] == "i02" else item for item in items
    ]
    ours = (*exact, "--dataset", _make_dataset(tmp_path / "ours", folder, changed))
    whole = extract("text", *ours, "--cache", tmp_path / "whole")[1]["stores"][0]
    code, result, said = extract("text", *ours, "--reuse", theirs["store"])
    assert code == 0, said
    assert f"--reuse {theirs['store']}: 6 items taken from there" in said
    assert result["stores"][0]["forwarded"] == 12 - 6
    mixed, computed = open_store(result["stores"][0]["store"]), open_store(whole["store"])
    assert mixed.status.tolist() == computed.status.tolist()
    assert mixed.content_digests == computed.content_digests
    np.testing.assert_allclose(
        mixed.load(), computed.load(), rtol=1e-4, atol=1e-5
    )  # batches of other items: rounding


def test_reuse_finds_the_rows_of_a_dataset_that_has_another_name_now(extract, dataset, tmp_path):
    extract("text", "--cache", tmp_path / "theirs")
    description = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**description, "name": "renamed"}))
    code, result, said = extract("text", "--reuse", tmp_path / "theirs")
    assert code == 0, said
    assert "renamed" in result["stores"][0]["store"]
    assert result["stores"][0]["forwarded"] == 0


def test_reuse_of_another_recipe_or_of_nothing_is_refused(extract, tmp_path):
    other = extract("text", "--layers", "0", "--cache", tmp_path / "other")[1]["stores"][0]
    code, _, said = extract("text", "--reuse", other["store"])
    assert (code, "expected a store of the fingerprint" in said) == (5, True), said
    code, _, said = extract("text", "--reuse", tmp_path / "nowhere")
    assert (code, str(tmp_path / "nowhere") in said) == (2, True), said


def test_sound_and_video_together_give_what_they_give_apart(extract, tmp_path):
    _, together, said = extract("audio,video")
    assert [store["modality"] for store in together["stores"]] == ["video", "audio"], said
    for store in together["stores"]:
        code, apart, said = extract(store["modality"], "--cache", tmp_path / "apart")
        assert code == 0, said
        assert _digest(apart["stores"][0]) == _digest(store)


def test_clips_are_kept_for_the_next_backbone_and_give_a_store_of_their_own(extract, tmp_path):
    _, plain, _ = extract("video,audio")
    first, second = (
        extract("video,audio", "--clips", tmp_path / "clips", "--cache", tmp_path / name)[1][
            "stores"
        ]
        for name in "ab"
    )
    assert len(list((tmp_path / "clips").rglob("*.clip"))) > 0
    assert [_digest(store) for store in first] == [_digest(store) for store in second]
    fingerprints = [
        {store["fingerprint"] for store in stores} for stores in (first, second, plain["stores"])
    ]
    assert fingerprints[0] == fingerprints[1]
    assert not fingerprints[0] & fingerprints[2]


def test_an_automatic_batch_size_is_settled_once(extract, tmp_path):
    code, result, said = extract("image", "--batch-size", "auto", "--limit", 3)
    assert code == 0, said
    folder = Path(result["stores"][0]["store"])
    recorded = json.loads((folder / "batch_size.json").read_text())
    assert (recorded["how"], recorded["batch_size"] >= 1) == ("tried", True)
    _, again, _ = extract("image")
    assert json.loads((folder / "report.json").read_text())["batch_size"] == recorded["batch_size"]
    _, whole, _ = extract(
        "image", "--batch-size", recorded["batch_size"], "--cache", tmp_path / "whole"
    )
    assert _digest(again["stores"][0]) == _digest(whole["stores"][0])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch-size", "many", "--batch-size many: expected a whole number of items, or auto"),
        ("--item-memory", "4GB", "--item-memory 4GB: expected a size such as 4GiB or 500MiB"),
        ("--item-seconds", "0", "--item-seconds 0: expected a number of seconds above 0"),
    ],
)
def test_an_option_that_means_nothing_is_refused(extract, option, value, message):
    code, _, said = extract("image", option, value)
    assert (code, message in said) == (2, True), said


def test_an_item_over_its_memory_is_quarantined_and_tried_again_with_more(
    extract, media, tmp_path, dataset
):
    folder, items = media
    Image.new("RGB", (8_000, 8_000)).save(folder / "large.png")
    _make_dataset(
        tmp_path / "large", folder, [*items[4:7], {"item_id": "large", "image": "large.png"}]
    )
    options = ("--dataset", tmp_path / "large", "--num-workers", 1)
    code, result, said = extract("image", *options, "--item-memory", "100MiB")
    assert code == 0, said
    assert (result["stores"][0]["ok"], result["stores"][0]["quarantined"]) == (3, 1)
    line = json.loads((Path(result["stores"][0]["store"]) / "quarantine.jsonl").read_text())
    assert (line["item_id"], line["reason"]) == ("large", "over-memory")
    code, result, said = extract("image", *options)
    assert (code, result["stores"][0]["ok"], result["stores"][0]["forwarded"]) == (0, 4, 1), said
