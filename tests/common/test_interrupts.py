"""Signals that finish the work in hand first: the first is heard, the second is not held back."""

import os
import signal
import threading

import pytest

from crossan.common.interrupts import TERMINATED, end_by, finishing_on


@pytest.fixture
def ends_at_once():
    """Make SIGTERM raise, as the commands do, and put everything back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def leave(number, frame):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield leave
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_the_first_signal_is_only_heard(ends_at_once, capsys):
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="step") as told:
        assert not told.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_set()
        assert told.number is signal.SIGTERM
    assert (
        "SIGTERM: finishing the step in hand; a second one ends at once" in capsys.readouterr().err
    )
    assert signal.getsignal(signal.SIGTERM) is ends_at_once


@pytest.mark.parametrize(
    ("second", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_second_signal_ends_at_once_whichever_it_is(ends_at_once, second, error):
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="step"):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(error):
            os.kill(os.getpid(), second)


def test_a_signal_amid_a_printed_line_is_heard_all_the_same(ends_at_once, monkeypatch):
    def reentrant(line):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    monkeypatch.setattr("crossan.common.interrupts.note", reentrant)
    with finishing_on(signal.SIGTERM, work="step") as told:
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_set()


def test_an_ignored_signal_stays_ignored(ends_at_once):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="step") as told:
        os.kill(os.getpid(), signal.SIGINT)
        assert not told.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_hears_nothing_but_can_be_told(ends_at_once):
    seen = []

    def work():
        with finishing_on(signal.SIGTERM, work="step") as told:
            seen.append(signal.getsignal(signal.SIGTERM))
            told.set()
            seen.append(told.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [ends_at_once, None]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
        (None, SystemExit),
        (0, SystemExit),
    ],
)
def test_what_ends_has_the_exit_code_of_its_signal(number, error):
    with pytest.raises(error) as caught:
        end_by(number)
    assert error is KeyboardInterrupt or caught.value.code == TERMINATED == 143
