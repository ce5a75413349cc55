"""Versions never change, an alias moves for one of many, and everything is written down."""

import json
import shutil
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from crossan.cache_schema.errors import (
    BusyError,
    CrossanError,
    IncompatibleError,
    StoreIntegrityError,
    UsageError,
)
from crossan.common.stores.pins import pinned_versions
from crossan.train.service.registry import Registry
from support.finished_runs import metrics_of
from support.registered import RANKS, a_refit, a_row, a_run, change_a_byte, registered


def test_a_version_outlives_the_run_that_it_was_made_from(registry, database, folder, tmp_path):
    run = a_run(tmp_path / "run")
    before = {
        path.relative_to(run): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and "checkpoints" not in path.parts
    }
    weights = (run / "checkpoints/best/model.safetensors").read_bytes()
    model = registry.register(run, None, a_row(database), "ann")
    shutil.rmtree(run)
    assert model.version == 1
    assert model.served_run == model.judged_run == folder.path / "models/1/judged"
    for name in ("config.toml", "env.json", "result.json", "eval/per_user.parquet"):
        assert (model.judged_run / name).read_bytes() == before[type(run)(name)]
    assert (model.judged_run / "checkpoints/best/model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (model.judged_run / "checkpoints").iterdir()) == ["best"]
    assert not (model.judged_run / ".owner").exists()
    assert not (model.judged_run / "logs").exists()
    assert registry.verify(1) == registry.get(1) == model


def test_a_card_says_what_is_judged_and_what_is_served(registry, database, tmp_path):
    judged, served = a_run(tmp_path / "run"), a_refit(tmp_path / "run/refit", "all")
    model = registry.register(judged, served, a_row(database, refit="all", label="x"), "ann")
    card = model.card
    assert card["figures"]["of"] == "judged"
    assert card["figures"]["test"] == pytest.approx(metrics_of(RANKS))
    assert card["served"] == {"is_refitted": True, "trained_on": "everything"}
    assert card["spec"]["label"] == "x"
    assert card["dataset"] == {"name": "small", "sequences": "ab" * 32}
    assert model.served_run == model.judged_run / "refit"
    assert len({name for name in card["sha256"] if name.endswith("model.safetensors")}) == 2
    alone = registry.register(a_run(tmp_path / "alone"), None, a_row(database), "ann")
    assert alone.card["served"] == {"is_refitted": False, "trained_on": "training"}


def test_nobody_may_write_in_a_version(registry, database, tmp_path):
    (model,) = registered(registry, database, tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in model.folder.rglob("*")}
    assert modes | {stat.S_IMODE(model.folder.stat().st_mode) & 0o222} == {0}


def test_a_run_is_registered_once(registry, database, tmp_path):
    run, row = a_run(tmp_path / "run"), a_row(database)
    first = registry.register(run, None, row, "ann")
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: registry.register(run, None, row, "bob"), range(8)))
    assert again == [first] * 8
    assert [model.version for model in registry.versions()] == [1]


def test_threads_that_register_one_run_at_once_make_one_version(
    registry, database, folder, tmp_path
):
    run, row = a_run(tmp_path / "run"), a_row(database)
    with ThreadPoolExecutor(8) as pool:
        models = set(pool.map(lambda _: registry.register(run, None, row, "ann").version, range(8)))
    assert models == {1}
    assert [path.name for path in folder.models.iterdir()] == ["1"]


def test_the_newest_version_comes_first_and_a_page_goes_on(registry, database, tmp_path):
    registered(registry, database, tmp_path, 5)
    assert [model.version for model in registry.versions(limit=2)] == [5, 4]
    assert [model.version for model in registry.versions(before=4, limit=2)] == [3, 2]
    with pytest.raises(UsageError, match="model 9: no such version"):
        registry.get(9)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(
    registry, database, folder, tmp_path, broken, dtype
):
    rows = torch.full((300, 5), torch.finfo(dtype).max, dtype=dtype)
    sound = {"a": torch.zeros(3), "b": rows, "c": torch.full((2,), -1)}
    registry.register(a_run(tmp_path / "sound", weights=sound), None, a_row(database), "ann")
    rows[299, 4] = broken
    run = a_run(tmp_path / "run", weights=sound)
    with pytest.raises(StoreIntegrityError, match="1 of 3 weights are NaN or infinite, first: b"):
        registry.register(run, None, a_row(database), "ann")
    assert [path.name for path in folder.models.iterdir()] == ["1"]


def test_figures_that_are_nan_are_refused(registry, database, folder, tmp_path):
    run = a_run(tmp_path / "run", test={**metrics_of(RANKS), "ndcg@10": float("nan")})
    with pytest.raises(StoreIntegrityError, match="NaN"):
        registry.register(run, None, a_row(database), "ann")
    assert list(folder.models.iterdir()) == []
    assert registry.versions() == []


def test_a_run_without_test_figures_is_refused(registry, database, tmp_path):
    run = a_run(tmp_path / "run", validation_only=True)
    with pytest.raises(UsageError, match="expected a finished run"):
        registry.register(run, None, a_row(database), "ann")


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_weights_that_training_did_not_write_are_refused(registry, database, tmp_path, name):
    run = a_run(tmp_path / "run")
    path = run / "checkpoints/best" / name
    if name == "state.json":
        path.write_text(path.read_text().replace('"sha256": {', '"sha256": {"more": "", '))
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(StoreIntegrityError, match="not those that training wrote"):
        registry.register(run, None, a_row(database), "ann")


def test_a_link_in_a_run_is_not_followed(registry, database, folder, tmp_path):
    run = a_run(tmp_path / "run")
    (run / "eval/more.parquet").symlink_to("/etc/hostname")
    with pytest.raises(StoreIntegrityError, match="found a symbolic link"):
        registry.register(run, None, a_row(database), "ann")
    assert list(folder.models.iterdir()) == []


def test_what_a_crash_left_is_gone_after_the_next_start(registry, database, folder, tmp_path):
    (model,) = registered(registry, database, tmp_path)
    left = folder.models / ".incoming-7-abcd"
    shutil.copytree(model.folder, left)
    # A folder of a number that no row has: the transaction that was to make the row never was.
    shutil.copytree(model.folder, folder.models / "2")
    again = Registry(database, folder)
    assert not left.exists()
    run = a_run(tmp_path / "run", seed=5)
    second = again.register(run, None, a_row(database), "ann")
    assert (second.version, again.verify(2)) == (2, second)
    assert "seed = 5" in (second.judged_run / "config.toml").read_text()


def test_one_of_a_hundred_promotions_wins(registry, database, tmp_path):
    first, second = registered(registry, database, tmp_path, 2)
    registry.promote("production", first.version, 0, "ann")

    def promote(number):
        try:
            return registry.promote("production", second.version, 1, f"client {number}")
        except BusyError:
            return None

    with ThreadPoolExecutor(50) as pool:
        winners = [alias for alias in pool.map(promote, range(100)) if alias is not None]
    assert len(winners) == 1
    assert registry.alias("production") == winners[0]
    assert (winners[0].version, winners[0].revision) == (second.version, 2)
    assert [move.revision for move in registry.moves("production")] == [2, 1]
    promotions = [entry for entry in registry.audit() if entry.action == "promote"]
    assert [entry.actor for entry in promotions] == [winners[0].moved_by, "ann"]
    assert promotions[0].details == {"version": 2, "before": 1, "revision": 2}


def test_rollbacks_go_back_one_promotion_each(registry, database, tmp_path):
    registered(registry, database, tmp_path, 3)
    for revision, version in enumerate((1, 2, 3)):
        registry.promote("production", version, revision, "ann")
    assert registry.rollback("production", 3, "bob").version == 2
    assert registry.rollback("production", 4, "bob").version == 1
    with pytest.raises(IncompatibleError, match="expected an earlier version to go back to"):
        registry.rollback("production", 5, "bob")
    registry.promote("production", 3, 5, "ann")
    assert registry.rollback("production", 6, "bob").version == 1
    with pytest.raises(BusyError, match="expected revision 1, found 7"):
        registry.rollback("production", 1, "bob")


@pytest.mark.parametrize(
    "name", ["judged/checkpoints/best/model.safetensors", "judged/config.toml"]
)
def test_a_version_with_a_changed_byte_is_not_promoted(registry, database, tmp_path, name):
    first, second = registered(registry, database, tmp_path, 2)
    registry.promote("production", first.version, 0, "ann")
    change_a_byte(second.folder / name)
    with pytest.raises(StoreIntegrityError, match="not those that were registered") as refused:
        registry.promote("production", second.version, 1, "ann")
    assert refused.value.remedy == "Promote another version: crossan models ls"
    assert registry.alias("production").version == first.version


def test_a_version_with_a_file_more_or_less_is_not_sound(registry, database, tmp_path):
    first, second = registered(registry, database, tmp_path, 2)
    (first.folder / "judged").chmod(0o755)
    (first.folder / "judged/own_code.py").write_text("")
    with pytest.raises(StoreIntegrityError, match="own_code.py: expected the files that were"):
        registry.verify(1)
    (second.folder / "judged").chmod(0o755)
    (second.folder / "judged/env.json").unlink()
    with pytest.raises(StoreIntegrityError, match="env.json: is gone"):
        registry.verify(2)


def test_what_is_written_down_stays(registry, database, tmp_path):
    registered(registry, database, tmp_path)
    registry.record("ann", "login", "session", {"role": "admin"})
    assert [entry.action for entry in registry.audit()] == ["login", "register"]
    assert [entry.action for entry in registry.audit(before=2)] == ["register"]
    for statement in (
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "UPDATE models SET card = '{}'",
        "DELETE FROM models",
    ):
        with pytest.raises(sqlite3.IntegrityError, match=r"append-only|immutable"):
            database.write(lambda connection, text=statement: connection.execute(text))
    assert len(registry.audit()) == 2


def test_a_move_is_told_to_who_asked(registry, database, tmp_path):
    registered(registry, database, tmp_path)
    moves = []
    registry.on_move(lambda: moves.append(registry.alias("production").version))
    registry.promote("production", 1, 0, "ann")
    with pytest.raises(CrossanError):
        registry.promote("production", 1, 0, "ann")
    assert moves == [1]


def test_stores_are_told_who_needs_their_versions(registry, database, tmp_path):
    store = tmp_path / "cache/small/text/bert-abc"
    store.mkdir(parents=True)
    run = a_run(tmp_path / "run")
    entry = {"fingerprint": "a" * 64, "version": 3, "manifest": "b" * 64, "layers": [0], "dim": 8}
    lock = {"stores": {"text": {"store": str(store), **entry}}}
    (run / "cache.lock.json").write_text(json.dumps(lock))
    model = registry.register(run, None, a_row(database), "ann")
    assert model.card["stores"] == {
        "text": {"store": "bert-abc", "fingerprint": "a" * 64, "version": 3, "manifest": "b" * 64}
    }
    shutil.rmtree(run)
    (pin,) = pinned_versions(store)
    assert (pin.version, pin.holder) == (3, str(model.judged_run / "cache.lock.json"))
