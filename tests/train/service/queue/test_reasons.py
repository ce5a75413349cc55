"""Why attempts end, in words, and which of them are tried again."""

from __future__ import annotations

import pytest

from crossan.train.service.executors import Outcome
from crossan.train.service.queue.reasons import describe
from crossan.train.service.queue.retrying import is_final, may_try_again
from crossan.train.service.specs import Limits

LIMITS = Limits(hours=1.5, memory_gib=2.0, silent_minutes=3.0)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome("exited", 3), "ended with exit code 3"),
        (Outcome("exited", -9), "was killed by SIGKILL"),
        (Outcome("exited", -99), "was killed by signal 99"),
        (Outcome("exited", None), "ended, and nobody saw how"),
        (Outcome("too long", 143), "ran longer than limits.hours=1.5"),
        (
            Outcome("too much memory", -9, peak_memory_bytes=3 * 2**30),
            "held 3.00 GiB, more than limits.memory_gib=2",
        ),
        (Outcome("silent", -9), "gave no sign of life for limits.silent_minutes=3"),
        (Outcome("cancelled"), "was told to end from outside the service"),
        (Outcome("lost"), "was lost: its processes were killed, or its machine stopped"),
        (Outcome("lost", has_begun=False), "never began, as the server ended"),
    ],
)
def test_each_end_has_its_words(outcome, text):
    assert describe(outcome, LIMITS) == text


def test_what_would_end_the_same_is_final():
    # The exit codes that docs/cli.md promises: 0 to 5 come again, 6 to 8 need not.
    assert [is_final(Outcome("exited", code)) for code in range(9)] == [True] * 6 + [False] * 3
    assert is_final(Outcome("too long", 143))
    for reason in ("lost", "silent", "too much memory"):
        assert not is_final(Outcome(reason, -9))
    assert not is_final(Outcome("exited", 143))


def test_three_attempts_that_began_or_twenty_in_all():
    assert may_try_again(2, 2)
    assert not may_try_again(3, 3)
    assert may_try_again(19, 2)
    assert not may_try_again(20, 0)
