"""The run loop with a backbone of known numbers: what is stored, what is done again, what stops."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.errors import DataError, IncompatibleError, ResourceError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import create_store, fsck, logical_digest, open_store, store_folder
from crossan.extract.job import compute, task
from crossan.extract.job.plan import Shard
from crossan.extract.job.report import gather_reports
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_modality, preview_modality
from crossan.extract.workers import item

TITLES = [{"item_id": f"i{number:02d}", "title": "x" * (number + 1)} for number in range(10)]


@pytest.fixture
def ask(tmp_path):
    """Return a function that gives a request for the dataset in ``tmp_path / "d"``."""

    def request(**changes):
        values = {
            "dataset": tmp_path / "d",
            "cache": tmp_path / "c",
            "batch_size": 3,
            "num_workers": 0,
        }
        return JobRequest(**(values | changes))

    return request


def _rows(result):
    store = open_store(result.store)
    return dict(
        zip(
            store.item_ids.tolist(),
            store.read(np.arange(len(store.item_ids))).tolist(),
            strict=True,
        )
    )


def test_every_item_gets_its_own_hidden_states(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    result = extract_modality(ask(), counting_encoder())
    assert (
        result.to_dict() | {"version": 1, "ok": 10, "absent": 0, "forwarded": 10}
        == result.to_dict()
    )
    assert _rows(result) == {
        f"i{n:02d}": [[k * (n + 1), k * (n + 2)] for k in (1, 3, 5)] for n in range(10)
    }  # n + 1 letters
    assert fsck(result.store).ok


def test_a_second_run_forwards_nothing_and_makes_no_version(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", TITLES)
    extract_modality(ask(), counting_encoder())
    encoder = counting_encoder()
    again = extract_modality(ask(), encoder)
    assert (again.forwarded, again.version, encoder.batches) == (0, 1, [])


def test_only_new_and_changed_items_are_forwarded(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    extract_modality(ask(), counting_encoder())
    changed = [
        *TITLES[1:],
        {"item_id": "i00", "title": "changed"},
        {"item_id": "new", "title": "abc"},
    ]
    make_dataset(tmp_path / "d2", changed)
    again = extract_modality(ask(dataset=tmp_path / "d2"), counting_encoder())
    assert (again.forwarded, again.statuses["ok"], again.version) == (2, 11, 2)
    assert _rows(again)["i00"][0] == [7.0, 8.0]
    assert _rows(again)["new"][0] == [3.0, 4.0]


def test_a_title_that_went_away_becomes_absent(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    extract_modality(ask(), counting_encoder())
    make_dataset(tmp_path / "d2", [*TITLES[1:], {"item_id": "i00", "title": "  "}])
    again = extract_modality(ask(dataset=tmp_path / "d2"), counting_encoder())
    assert (again.forwarded, again.statuses["ok"], again.statuses["absent"]) == (0, 9, 1)


def test_every_state_is_recorded_and_the_quarantine_lists_the_unreadable(
    tmp_path, ask, make_dataset, counting_encoder
):
    Image.fromarray(np.full((2, 2, 3), 50, dtype=np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture at all")
    paths = {"a": "good.png", "b": "bad.png", "c": "gone.png"}
    items = [{"item_id": item_id, "image": str(tmp_path / name)} for item_id, name in paths.items()]
    make_dataset(tmp_path / "d", [*items, {"item_id": "d"}])
    result = extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert dict(result.statuses) == {"ok": 1, "quarantined": 1, "missing": 1, "absent": 1}
    assert _rows(result)["a"][1] == [150.0, 153.0]
    assert np.isnan(_rows(result)["b"]).all()
    lines = [
        json.loads(line) for line in (result.store / "quarantine.jsonl").read_text().splitlines()
    ]
    assert [(line["item_id"], line["modality"], line["path"]) for line in lines] == [
        ("b", "image", str(tmp_path / "bad.png"))
    ]
    assert lines[0]["reason"] == "unknown-container"
    assert fsck(result.store).ok


def test_a_missing_file_is_looked_at_again_and_a_quarantined_one_only_when_its_bytes_change(
    tmp_path, ask, make_dataset, counting_encoder
):
    (tmp_path / "bad.png").write_bytes(b"not a picture at all")
    names = {"bad": "bad.png", "gone": "gone.png"}
    make_dataset(
        tmp_path / "d",
        [{"item_id": key, "image": str(tmp_path / name)} for key, name in names.items()],
    )
    assert extract_modality(ask(), counting_encoder(Modality.IMAGE)).bad_count == 2
    Image.fromarray(np.full((2, 2, 3), 9, dtype=np.uint8)).save(tmp_path / "gone.png")
    second = extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert (second.forwarded, dict(second.statuses), second.version) == (
        1,
        {"ok": 1, "quarantined": 1},
        2,
    )
    Image.fromarray(np.full((2, 2, 3), 7, dtype=np.uint8)).save(tmp_path / "bad.png")
    third = extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert (third.forwarded, dict(third.statuses)) == (1, {"ok": 2})
    assert (third.store / "quarantine.jsonl").read_text() == ""


def test_a_value_that_does_not_fit_the_stored_type_quarantines_its_item_alone(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(
        tmp_path / "d",
        [{"item_id": "small", "title": "x"}, {"item_id": "large", "title": "x" * 20}],
    )
    result = extract_modality(ask(), counting_encoder(scale=1000.0))  # 20 x 5 x 1000 > 65,504
    assert dict(result.statuses) == {"ok": 1, "quarantined": 1}
    line = json.loads((result.store / "quarantine.jsonl").read_text())
    assert (line["item_id"], line["path"], line["reason"]) == ("large", None, "bad-value")
    assert line["detail"].startswith("overflow in layer 4")


def test_three_shards_give_the_digest_of_one_job(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", [*TITLES, {"item_id": "none"}])
    whole = extract_modality(ask(), counting_encoder())
    forwarded = []
    for number in (3, 1, 2):
        part = extract_modality(
            ask(cache=tmp_path / "c3", shard=Shard(number, 3)), counting_encoder()
        )
        forwarded.append(part.forwarded)
    assert sum(forwarded) == 10
    assert (part.statuses, part.version) == (whole.statuses, 3)
    assert logical_digest(open_store(part.store)) == logical_digest(open_store(whole.store))


def test_a_shard_without_a_batch_publishes_nothing(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES[:2])
    result = extract_modality(ask(shard=Shard(2, 2)), counting_encoder())
    assert (result.version, result.forwarded, sum(result.statuses.values())) == (0, 0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interruption_keeps_whole_batches_and_the_next_run_goes_on(
    tmp_path, ask, make_dataset, counting_encoder, capsys, error
):
    make_dataset(tmp_path / "d", TITLES)
    whole = extract_modality(ask(cache=tmp_path / "whole"), counting_encoder())
    stopped = counting_encoder()

    def stop_at_third():
        if (
            stopped.batches[:1] == [4] and len(stopped.batches) == 3
        ):  # the canary's four, then two batches
            raise error

    stopped.on_encode = stop_at_third
    with pytest.raises(type(error)):
        extract_modality(ask(), stopped)
    assert "stopped after 6 of 10 items, which are kept" in capsys.readouterr().err
    resumed = extract_modality(ask(), counting_encoder())
    assert resumed.forwarded == 4
    assert logical_digest(open_store(resumed.store)) == logical_digest(open_store(whole.store))


def test_out_of_memory_halves_the_forward_and_not_the_batch(
    tmp_path, ask, make_dataset, counting_encoder, capsys
):
    make_dataset(tmp_path / "d", TITLES)
    whole = extract_modality(ask(cache=tmp_path / "whole", batch_size=8), counting_encoder())

    class Small(counting_encoder):
        def encode(self, batch):
            if len(batch) > 4:
                raise MemoryError("cannot allocate")
            return super().encode(batch)

    encoder = Small()
    result = extract_modality(ask(batch_size=8), encoder)
    assert encoder.batches == [4, 4, 4, 2]  # the canary, 8 in two halves, the last two
    assert "no memory for 8 items at once; continuing with 4" in capsys.readouterr().err
    assert json.loads((result.store / "report.json").read_text())["part_size"] == 4
    assert logical_digest(open_store(result.store)) == logical_digest(open_store(whole.store))


def test_no_memory_for_one_item_ends_the_job(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    encoder = counting_encoder()

    def run_out():
        if encoder.batches:
            raise MemoryError("cannot allocate")

    encoder.on_encode = run_out
    with pytest.raises(
        ResourceError, match="out of memory in the forward of 1 item of text: cannot allocate"
    ):
        extract_modality(ask(), encoder)


def test_a_machine_that_computes_otherwise_appends_nothing(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", TITLES[:5])
    first = extract_modality(ask(), counting_encoder())
    make_dataset(tmp_path / "d2", TITLES)
    with pytest.raises(IncompatibleError, match="canary mismatch"):
        extract_modality(ask(dataset=tmp_path / "d2"), counting_encoder(scale=1.01))
    assert open_store(first.store).version == 1


def test_a_store_begun_with_another_canary_is_refused_before_anything_is_computed(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", TITLES)
    encoder = counting_encoder()
    folder = store_folder(tmp_path / "c", "toy", encoder.identity("float16", "raw"))
    create_store(folder, encoder.identity("float16", "raw"), np.ones((4, 3, 2), dtype=np.float32))
    with pytest.raises(IncompatibleError, match="canary mismatch"):
        extract_modality(ask(), encoder)
    assert encoder.batches == [4]


def test_a_store_of_another_codec_is_refused(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    extract_modality(ask(), counting_encoder())
    with pytest.raises(IncompatibleError, match="codec"):
        extract_modality(ask(codec="zstd"), counting_encoder())


def test_another_revision_is_another_store(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    stores = {
        extract_modality(ask(), counting_encoder(revision=name)).store for name in ("r1", "r2")
    }
    assert len(stores) == 2


def test_a_limit_is_a_number_of_items(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    forwarded = [extract_modality(ask(limit=4), counting_encoder()).forwarded for _ in range(3)]
    assert forwarded == [4, 4, 2]


def test_a_full_segment_is_published_on_the_way(
    tmp_path, ask, make_dataset, counting_encoder, monkeypatch
):
    monkeypatch.setattr(compute, "_ITEMS_PER_SEGMENT", 6)
    make_dataset(tmp_path / "d", TITLES)
    result = extract_modality(ask(), counting_encoder())
    assert result.version == 2  # 3 + 3 | 3 + 1
    assert len(list((result.store / "segments").iterdir())) == 2
    assert len(_rows(result)) == 10


def test_a_preview_writes_nothing(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", [*TITLES, {"item_id": "none"}])
    encoder = counting_encoder()
    preview = preview_modality(ask(stored_dtype="float32"), encoder)
    assert (preview.outlook.to_forward, preview.outlook.estimated_bytes) == (10, 10 * 3 * 2 * 4)
    assert (encoder.batches, (tmp_path / "c").exists()) == ([], False)
    extract_modality(ask(limit=4), counting_encoder())
    assert preview_modality(ask(), counting_encoder()).outlook.to_forward == 6


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "items.parquet lists no item"),
        ([{"item_id": "a"}, {"item_id": "a"}], "repeats 1 item ids, first: a"),
        ([{"item_id": "a\0b"}], "expected item ids without NUL and not empty"),
    ],
)
def test_a_dataset_that_cannot_be_extracted_is_refused(
    tmp_path, ask, counting_encoder, monkeypatch, items, message
):
    import pyarrow as pa

    class Given:
        name, root, digest = "given", tmp_path, "0" * 64

        def items(self):
            return pa.table({"item_id": pa.array([item["item_id"] for item in items], pa.string())})

    monkeypatch.setattr(task, "open_dataset", lambda folder: Given())
    with pytest.raises(DataError, match=message):
        extract_modality(ask(), counting_encoder())


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_being_told_to_end_finishes_the_batch_in_hand_and_commits(
    tmp_path, ask, make_dataset, counting_encoder, capsys, number, error
):
    make_dataset(tmp_path / "d", TITLES)
    whole = extract_modality(ask(cache=tmp_path / "whole"), counting_encoder())
    stopped = counting_encoder()

    def tell_at_second():
        if len(stopped.batches) == 2:  # the canary and one batch are done, the second is in hand
            os.kill(os.getpid(), number)

    stopped.on_encode = tell_at_second
    with pytest.raises(error) as ended:
        extract_modality(ask(), stopped)
    assert error is KeyboardInterrupt or ended.value.code == 143
    assert "stopped after 6 of 10 items, which are kept" in capsys.readouterr().err
    store = open_store(store_folder(tmp_path / "c", "toy", stopped.identity("float16", "raw")))
    assert (store.version, len(store.item_ids)) == (1, 6)
    resumed = extract_modality(ask(), counting_encoder())
    assert resumed.forwarded == 4
    assert logical_digest(open_store(resumed.store)) == logical_digest(open_store(whole.store))


def test_the_report_says_what_was_done_and_where_the_time_went(
    tmp_path, ask, make_dataset, counting_encoder
):
    Image.fromarray(np.full((2, 2, 3), 50, dtype=np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture at all")
    paths = {"a": "good.png", "b": "bad.png", "c": "gone.png"}
    make_dataset(
        tmp_path / "d",
        [{"item_id": key, "image": str(tmp_path / name)} for key, name in paths.items()],
    )
    result = extract_modality(
        ask(shard=Shard(1, 2), batch_size=5), counting_encoder(Modality.IMAGE)
    )
    report = json.loads((result.store / "report.1-of-2.json").read_text())
    assert report["items"] == {
        "planned": 3,
        "forwarded": 1,
        "ok": 1,
        "quarantined": 1,
        "missing": 1,
    }
    assert report["failures"] == {"unknown-container": 1}
    assert (report["batch_size"], report["shard"], report["forward_passes"]) == (5, "1/2", 1)
    assert report["bottleneck"] in {"reading", "forward", "writing"}
    assert report["stages"]["computing"]["seconds"] >= report["stages"]["forward"]["seconds"]


def test_a_fault_that_may_be_this_machines_is_tried_again(
    tmp_path, ask, make_dataset, counting_encoder, monkeypatch
):
    Image.fromarray(np.full((2, 2, 3), 50, dtype=np.uint8)).save(tmp_path / "a.png")
    make_dataset(tmp_path / "d", [{"item_id": "a", "image": str(tmp_path / "a.png")}])
    with monkeypatch.context() as patched:
        patched.setattr(
            item, "decode_image", lambda path: (_ for _ in ()).throw(MemoryError("no room"))
        )
        first = extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert (first.statuses["quarantined"], dict(first.reasons)) == (1, {"over-memory": 1})
    again = extract_modality(ask(), counting_encoder(Modality.IMAGE))
    assert (again.forwarded, dict(again.statuses)) == (1, {"ok": 1})


def test_the_batch_size_of_the_first_job_is_that_of_the_next(
    tmp_path, ask, make_dataset, counting_encoder
):
    make_dataset(tmp_path / "d", TITLES)
    extract_modality(ask(batch_size=4, limit=4), counting_encoder())
    encoder = counting_encoder()
    extract_modality(ask(batch_size=None), encoder)
    assert encoder.batches == [4, 4, 2]  # the canary, then fours


def test_a_journal_left_on_a_lost_node_costs_work_and_nothing_else(
    tmp_path, ask, make_dataset, counting_encoder
):
    """Its host is not ours, so nobody can see that it is dead: the shard is done again, and the journal taken over a day later."""
    make_dataset(tmp_path / "d", TITLES)
    shards = [Shard(1, 2), Shard(2, 2)]
    lost = counting_encoder()

    def lose():
        if len(lost.batches) == 2:  # the canary and a batch
            raise KeyboardInterrupt

    lost.on_encode = lose
    with pytest.raises(KeyboardInterrupt):
        extract_modality(ask(shard=shards[0]), lost)
    (left,) = (tmp_path / "c").glob("*/*/*/staging/*")
    job, _, segment = left.name.split(".")
    abroad = left.rename(left.with_name(f"{job}.{'0' * 24}-1-1.{segment}"))

    again = [extract_modality(ask(shard=shard), counting_encoder()) for shard in shards]
    assert (
        sum(result.forwarded for result in again) == 10
    )  # the three journaled items are forwarded again
    before = logical_digest(open_store(again[-1].store))
    rows = _rows(again[-1])
    assert sorted(rows) == [item["item_id"] for item in TITLES]
    assert abroad.is_dir()

    for path in (abroad / "journal.log", abroad):
        os.utime(path, (0, 0))  # a day has passed
    later = extract_modality(ask(shard=shards[0]), counting_encoder())
    assert (later.forwarded, abroad.exists()) == (0, False)
    assert logical_digest(open_store(later.store)) == before
    assert _rows(later) == rows
    assert fsck(later.store).ok


def test_the_reports_of_a_jobs_tasks_become_one(tmp_path, ask, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", TITLES)
    parts = [
        extract_modality(ask(shard=Shard(number, 3)), counting_encoder()).report
        for number in (1, 2, 3)
    ]
    path = gather_reports(parts, 1.5)
    whole = json.loads(path.read_text())
    assert (path.name, [part.exists() for part in parts]) == ("report.json", [False] * 3)
    assert (whole["items"]["ok"], whole["forward_passes"], whole["version"]) == (
        10,
        4,
        3,
    )  # 3 + 3 | 3 | 1
    assert [task["shard"] for task in whole["tasks"]] == ["1/3", "2/3", "3/3"]
