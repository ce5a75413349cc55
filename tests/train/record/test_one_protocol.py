"""Runs whose figures may not stand in one table are refused by name."""

import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.train.record.one_protocol import require_one_protocol

ONE = {
    "test": {}, "split": "mmrec-random", "split_seed": 3, "users": 50_000, "items": 19_220,
    "sequences": "ab" * 32, "mask_history": "all",
}  # fmt: skip
OLD = {"test": {}, "users": 50_000, "items": 19_220, "mask_history": "all"}


@pytest.mark.parametrize(
    ("change", "line", "remedy"),
    [
        ({"split": "leave-last-out", "split_seed": None}, "split: mmrec-random and leave-last-out", "data.split="),
        ({"split_seed": 4}, "split seed: 3 and 4", "data.split_seed="),
        ({"users": 49_999}, "users: 50,000 and 49,999", "same dataset"),
        ({"items": 5}, "items: 19,220 and 5", "same dataset"),
        ({"sequences": "cd" * 32}, "sequences: digest abababababab and digest cdcdcdcdcdcd", "same dataset"),
        ({"mask_history": "none"}, "mask: all and none", "crossan evaluate"),
    ],
)  # fmt: skip
def test_a_difference_is_named_with_the_two_runs(change, line, remedy):
    with pytest.raises(IncompatibleError) as error:
        require_one_protocol({"runs/a": ONE, "runs/b": dict(ONE), "runs/c": {**ONE, **change}})
    heading, *lines = str(error.value).split("\n")[:-1]
    assert heading == "runs/a and runs/c were not evaluated under one protocol"
    assert lines[0] == f"  {line}"
    assert remedy in error.value.remedy


def test_one_protocol_passes():
    require_one_protocol({})
    require_one_protocol({"a": ONE, "b": dict(ONE), "c": {**ONE, "model": "other"}})


def test_what_an_older_run_did_not_record_is_not_compared():
    newer = {**OLD, "split": "leave-last-out", "split_seed": None, "sequences": "ab" * 32}
    require_one_protocol({"old": OLD, "newer": newer})
    with pytest.raises(IncompatibleError, match="newer and newest were not"):
        require_one_protocol({"old": OLD, "newer": newer, "newest": {**newer, "sequences": "cd"}})
    with pytest.raises(IncompatibleError, match="split: leave-last-out and mmrec-random"):
        require_one_protocol({"old": OLD, "newer": ONE})


def test_the_digest_of_a_run_that_has_not_seen_its_test_part_is_another():
    unseen = {name: value for name, value in ONE.items() if name != "test"}
    require_one_protocol({"a": ONE, "b": {**unseen, "sequences": "cd" * 32}})
