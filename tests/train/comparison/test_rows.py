"""Which runs make a row, what the row is called, and whose figures may be shown."""

import json

import pytest

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.train.comparison.measuring import part_of
from crossan.train.comparison.rows import baseline_of, rows_of
from support.finished_runs import write_run, write_sweep

RANKS = [1, 11, 25, 3]


def rows(*arguments):
    return rows_of([str(argument) for argument in arguments])


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path):
    ours = [write_run(tmp_path / f"ours-seed{seed}", RANKS, seed=seed) for seed in (0, 1, 2)]
    other = write_run(tmp_path / "other", RANKS, seed=1, lr=0.5)
    first, second = rows(*ours[:2], other, ours[2])
    assert (first.name, first.seeds) == ("ours", [0, 1, 2])
    assert (second.name, second.seeds) == ("other", [1])


def test_where_the_dataset_lies_is_no_other_setting(tmp_path):
    ours = [write_run(tmp_path / f"ours{seed}", RANKS, seed=seed) for seed in (0, 1)]
    config = ours[1] / "config.toml"
    config.write_text(config.read_text().replace("/data/small", "/elsewhere"))
    assert [row.seeds for row in rows(*ours)] == [[0, 1]]


def test_other_contents_of_the_stores_are_another_row(tmp_path):
    ours = [write_run(tmp_path / f"ours{seed}", RANKS, seed=seed) for seed in (0, 1)]
    for version, run in enumerate(ours, 1):
        store = {
            "store": "s",
            "fingerprint": "ab" * 32,
            "version": version,
            "layers": [0],
            "dim": 8,
        }
        (run / "cache.lock.json").write_text(json.dumps({"stores": {"text": store}}))
    assert [row.name for row in rows(*ours)] == ["ours0", "ours1"]


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    run = write_run(tmp_path / "ours", RANKS)
    (tmp_path / "link").symlink_to(run)
    assert [row.seeds for row in rows(run, run, tmp_path / "link")] == [[0]]


def test_one_seed_trained_twice_is_no_spread(tmp_path):
    runs = [write_run(tmp_path / name, RANKS) for name in ("a", "b")]
    assert [(row.name, row.seeds) for row in rows(*runs)] == [("a", [0]), ("b", [0])]


def test_a_name_may_be_given(tmp_path):
    runs = [write_run(tmp_path / name, RANKS, seed=seed) for seed, name in enumerate("ab")]
    (row,) = rows(f"mine={runs[0]}", f"mine={runs[1]}")
    assert (row.name, row.seeds) == ("mine", [0, 1])


def test_a_folder_with_a_sign_of_equality_in_its_name_is_a_folder(tmp_path):
    run = write_run(tmp_path / "lr=1", RANKS)
    assert rows(run)[0].name == "lr=1"


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    runs = [write_run(tmp_path / where / "r", RANKS, lr=lr) for where, lr in (("a", 1), ("b", 2))]
    assert [row.name for row in rows(*runs)] == ["a/r", "b/r"]


def test_two_settings_may_not_have_one_name(tmp_path):
    runs = [write_run(tmp_path / str(lr), RANKS, lr=lr) for lr in (1, 2)]
    with pytest.raises(UsageError, match=r"mine: expected one setting .*\n.*NAME=FOLDER"):
        rows(*(f"mine={run}" for run in runs))


def test_the_baseline_is_found_by_name_and_by_folder(tmp_path):
    runs = [write_run(tmp_path / name, RANKS, lr=lr) for lr, name in enumerate("ab", 1)]
    both = rows(*runs)
    assert baseline_of(both, None).name == "a"
    assert baseline_of(both, "b").name == "b"
    assert baseline_of(both, f"{runs[0]}/../b").name == "b"
    with pytest.raises(UsageError, match=r"--baseline c: expected one of a, b or a folder"):
        baseline_of(both, "c")


def test_of_a_sweep_the_chosen_setting_is_compared(tmp_path):
    trials = {
        "aa-seed0": (RANKS, {"seed": 0}),
        "aa-seed1": (RANKS, {"seed": 1}),
        "bb-seed0": (RANKS, {"seed": 0, "lr": 0.5, "validation_only": True}),
    }
    sweep = write_sweep(tmp_path / "rates", trials, ["aa-seed0", "aa-seed1"])
    (row,) = rows(sweep)
    assert (row.name, row.seeds) == ("rates", [0, 1])
    assert part_of([row], None) == ("test", [])


def test_test_figures_of_a_trial_that_was_not_chosen_are_never_shown(tmp_path):
    trials = {
        "aa-seed0": (RANKS, {}),
        "bb-seed0": (RANKS, {"lr": 0.5}),  # somebody has made a result.json of it by hand
        "cc-seed0": (RANKS, {"lr": 0.7, "validation_only": True}),
    }
    sweep = write_sweep(tmp_path / "s", trials, ["aa-seed0"])
    (sweep / "runs/bb-seed0/validation.json").write_text(
        (sweep / "runs/cc-seed0/validation.json").read_text()
    )
    every = rows(*(sweep / "runs" / name for name in trials))
    assert [run.has_test for row in every for run in row.runs] == [True, False, False]
    part, notes = part_of(every, None)
    assert part == "valid"
    assert notes == [
        f"compared on validation: no test figures may be shown of {sweep}/runs/bb-seed0 and 1 more"
    ]
    with pytest.raises(UsageError, match=r"--part test: .*bb-seed0 and 1 more") as refused:
        part_of(every, "test")
    assert refused.value.remedy == "--part valid"
    assert part_of(every, "valid") == ("valid", [])


@pytest.mark.parametrize(
    ("command", "more"),
    [([], "--resume"), (["crossan-train", "--validation-only"], "--resume --validation-only")],
)
def test_a_run_in_mid_training_is_named_with_the_command_that_ends_it(tmp_path, command, more):
    run = write_run(tmp_path / "r", RANKS, command=command)
    (run / "result.json").unlink()
    with pytest.raises(UsageError, match="r: expected result.json or validation.json") as refused:
        rows(run)
    assert refused.value.remedy == f"crossan-train --config {run}/config.toml --out {run} {more}"


def test_a_trial_in_mid_training_is_left_to_its_sweep(tmp_path):
    sweep = write_sweep(tmp_path / "s", {"aa-seed0": (RANKS, {})}, None)
    (sweep / "runs/aa-seed0/result.json").unlink()
    with pytest.raises(UsageError, match="not finished") as refused:
        rows(sweep / "runs/aa-seed0")
    assert "crossan sweep" in refused.value.remedy
    assert "crossan-train" not in refused.value.remedy


def test_what_is_no_run_and_a_sweep_without_a_choice_are_named(tmp_path):
    with pytest.raises(UsageError, match="no run at .*nothing: expected config.toml"):
        rows(tmp_path / "nothing")
    sweep = write_sweep(tmp_path / "s", {"aa-seed0": (RANKS, {})}, None)
    with pytest.raises(UsageError, match="s: expected a sweep that has chosen a setting"):
        rows(sweep)
    (sweep / "selection.json").unlink()
    with pytest.raises(UsageError, match="s: expected a sweep that has chosen a setting"):
        rows(sweep)


def test_a_damaged_record_is_named(tmp_path):
    run = write_run(tmp_path / "r", RANKS)
    (run / "result.json").write_text('{"test": 1}')
    with pytest.raises(StoreIntegrityError, match="r/result.json"):
        rows(run)
    sweep = write_sweep(tmp_path / "s", {"aa-seed0": (RANKS, {})}, ["aa-seed0"])
    (sweep / "selection.json").write_text('{"chosen": {"runs": [{"run": "runs/../../r"}]}}')
    with pytest.raises(StoreIntegrityError, match="s/selection.json"):
        rows(sweep)


def test_what_sets_figures_apart_is_marked(tmp_path):
    counts = {"compared": 40, "stale": 3, "not_here": 0, "unrecorded": 0}
    stale = write_run(tmp_path / "stale", RANKS, contents={"text": counts})
    moved = write_run(tmp_path / "moved", RANKS, lr=0.5)
    (moved / "env.json").write_text('{"spec": {}, "earlier": [{"device": "cpu"}]}')
    first, second = rows(stale, moved)
    assert first.runs[0].marks == ("stale contents: text 3 of 40",)
    assert second.runs[0].marks == ("resumed on another spec",)
