"""crossan evaluate --out: yesterday's run on today's log, in a folder that crossan compare takes as a run."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.datasets import open_dataset
from crossan.train.cli import evaluate, recommend
from crossan.train.comparison.cli import compare
from crossan.train.record import evaluations
from crossan.train.runs.evaluating import _without_their_last
from support.commands import attempt, run, train_in
from support.fabricated import make_sequences, write_rows
from support.interactions import kept_of

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "batch_size=32",
    "max_epochs=2",
)
NEWER = 100
"""A time after all of yesterday's."""


def more_clicks(rows):
    """Return a log that has grown: every second user goes on, and there are new ones."""
    items = {user: item for user, item, _ in rows}
    goes_on = [(user, f"i{item[1]}{9 - int(item[2])}", NEWER) for user, item in items.items()]
    new = [(f"v{n:02d}", f"i{n % 4}{m}", NEWER + m) for n in range(8) for m in range(5)]
    return [*rows, *goes_on[::2], *new]


def lie(folder, name, rows):
    """Have the dataset of a folder be another one, at the same path."""
    write_rows(folder / name, rows)
    (folder / "d").unlink(missing_ok=True)
    (folder / "d").symlink_to(name)


def train(folder, *more, out):
    return json.loads(train_in(folder, SETTINGS, *more, out=out).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def days(place, tmp_path_factory):
    """Yesterday's runs, today's, and today's log."""
    folder = tmp_path_factory.mktemp("days")
    (folder / "c").symlink_to(place / "c")
    lie(folder, "yesterday", make_sequences())
    train(folder, out="old")
    train(folder, "--set", "data.split=mmrec-random", out="random")
    lie(folder, "today", more_clicks(make_sequences()))
    train(folder, "--seed", "1", out="new")
    return folder


def judged(days, name="old", out="judged", *more):
    result = run(evaluate, days / name, "--out", days / out, "--json", *more)
    return json.loads(result.stdout.splitlines()[-1])


def compared(*folders):
    return json.loads(run(compare, *folders, "--json").stdout.splitlines()[-1])


def test_yesterdays_run_stands_beside_todays_as_a_row_of_its_own(days):
    figures = judged(days)
    assert figures == json.loads((days / "judged/result.json").read_text())
    assert figures["dataset_changed"]
    state = json.loads((days / "old/checkpoints/best/state.json").read_text())
    assert figures["evaluated"] == {
        "run": str(days / "old"),
        "epoch": state["epoch"],
        "sha256": state["sha256"]["model.safetensors"],
        "dataset": open_dataset(days / "d").digest,
    }
    table = compared(days / "new", days / "judged")
    assert [row["name"] for row in table["rows"]] == ["new", "judged"]  # no two seeds of one
    assert table["rows"][1]["marks"] == [
        "on a dataset that has changed since training",
        f"weights of {days / 'old'}, judged again",
    ]
    assert table["rows"][1]["metrics"]["ndcg@10"]["difference"] is not None
    new = json.loads((days / "new/result.json").read_text())
    for name in ("users", "items", "sequences", "split", "mask_history", "targets"):
        assert figures[name] == new[name]
    ranks = [pq.read_table(days / name / "eval/per_user.parquet") for name in ("new", "judged")]
    for column in ("user_id", "valid_item_id", "test_item_id"):
        assert ranks[0].column(column) == ranks[1].column(column)


def test_where_nothing_changed_the_figures_are_the_runs(days):
    figures = judged(days, "new", "same")
    recorded = json.loads((days / "new/result.json").read_text())
    assert not figures["dataset_changed"]
    assert {name: figures[name] for name in recorded if name != "run"} == {
        name: value for name, value in recorded.items() if name != "run"
    }
    table = compared(days / "new", days / "same")
    assert table["rows"][1]["metrics"]["ndcg@10"]["difference"]["mean"] == 0


def test_it_can_be_made_again_and_takes_nothing_elses_place(days, tmp_path, monkeypatch):
    judged(days, "new", "again")
    first = (days / "again/result.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("crossan.train.runs.evaluating.write_evaluation", lambda *_: None)
        judged(days, "new", "again")
    unfinished = attempt(compare, days / "new", days / "again")
    assert isinstance(unfinished.exception, UsageError)
    assert unfinished.exception.remedy == "Run the same `crossan evaluate` again"
    judged(days, "new", "again")
    assert (days / "again/result.json").read_bytes() == first
    (tmp_path / "mine").write_text("")
    for place in (tmp_path, tmp_path / "mine", days / "new"):
        with pytest.raises(UsageError, match="expected nothing there, or an earlier evaluation"):
            run(evaluate, days / "new", "--out", place)
    assert evaluations.is_evaluation(days / "again")
    with pytest.raises(UsageError, match="expected config.toml there, found none"):
        run(recommend, days / "again", "--user", "u001")


def test_a_log_that_lost_what_was_held_out_is_refused(days, tmp_path):
    (tmp_path / "c").symlink_to(days / "c")
    rows = make_sequences()
    lie(tmp_path, "yesterday", rows)
    train(tmp_path, out="old")
    last = {user: row for row, (user, _, _) in enumerate(rows)}
    lie(tmp_path, "today", [row for n, row in enumerate(rows) if n != last["u007"]])
    with pytest.raises(IncompatibleError, match=r"found 1 users without .* first: u007") as refused:
        run(evaluate, tmp_path / "old", "--out", tmp_path / "j")
    assert refused.value.exit_code == 5
    assert not (tmp_path / "j").exists()
    run(evaluate, tmp_path / "old")  # without --out it is said, and nothing is compared by it


def test_what_is_drawn_anew_is_judged_on_the_same_log_alone(days):
    with pytest.raises(IncompatibleError, match="mmrec-random draws anew what is held out"):
        run(evaluate, days / "random", "--out", days / "j")
    assert not (days / "j").exists()


def test_a_refit_is_not_judged_so(days):
    train(days, "--refit", "validation", out="v")
    with pytest.raises(UsageError, match="trained on the validation items, too"):
        run(evaluate, days / "v/refit", "--out", days / "j")
    assert not (days / "j").exists()


def lost_by_looking(log, held_out):
    """Return the users whose log does not hold one item and later the other."""
    lost = []
    for user, (valid, test) in held_out.items():
        items = log[user]
        is_whole = any(
            items[first] == valid and test in items[first + 1 :] for first in range(len(items))
        )
        lost += [] if is_whole else [user]
    return lost


SEQUENCES = st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=8), min_size=1, max_size=4)
ANYTHING = st.tuples(st.integers(0, 7), st.integers(0, 7))


@given(SEQUENCES, st.lists(ANYTHING, min_size=4, max_size=4))
def test_who_lost_what_was_held_out_is_found_as_by_looking(sequences, held_out):
    kept = kept_of(sequences)
    users = [f"u{user:02d}" for user in range(len(sequences))]
    pairs = {user: held_out[number] for number, user in enumerate(users)}
    parts = {
        part: np.array([f"i{pairs[user][place]:02d}" for user in users])
        for place, part in enumerate(("valid", "test"))
    }
    gone = np.array([*users, "w"])  # a user who is kept no more lacks nothing
    parts = {part: np.append(items, "i00") for part, items in parts.items()}
    expected = lost_by_looking(dict(zip(users, sequences, strict=True)), pairs)
    assert _without_their_last(kept, gone, parts).tolist() == expected
