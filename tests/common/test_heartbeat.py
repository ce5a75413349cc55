"""A process shows that it is alive by touching a file, often enough and at next to no cost."""

import os

import pytest

from crossan.common import heartbeat
from crossan.common.console import progress
from crossan.common.heartbeat import VARIABLE, beat
from support.commands import train_quickly
from support.fabricated import write_small


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still, as a list of its seconds, with no beat so far."""
    seconds = [1000.0]
    monkeypatch.setattr(heartbeat, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(heartbeat, "_next_beat_at", 0.0)
    return seconds


@pytest.fixture
def file(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "beat"))
    return tmp_path / "beat"


def age(file):
    """Make a file old; return whether it was touched since it was made so."""
    was_touched = file.stat().st_mtime > 1
    os.utime(file, (1, 1))
    return was_touched


def test_the_file_is_touched_once_a_second_at_most(clock, file):
    beat()
    assert age(file)  # made by the first beat
    clock[0] += 0.9
    beat()
    assert not age(file)
    clock[0] += 0.2
    beat()
    assert age(file)


def test_without_the_variable_nothing_is_touched(clock, monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    beat()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_touched_stops_nothing(clock, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "beat"))
    beat()
    assert (tmp_path / "file").read_text() == ""


def test_all_work_that_shows_its_progress_beats(clock, file):
    with progress("work", 2, "items") as shown:
        assert age(file)
        clock[0] += 1
        shown.advance()
        assert age(file)


def test_a_training_beats_in_its_steps_and_while_it_ranks(tmp_path, file, monkeypatch):
    """Every look at the clock is a second later: then each call of `beat` touches the file."""
    callers, now = set(), iter(range(1, 10**9))
    monkeypatch.setattr(heartbeat, "monotonic", lambda: next(now))
    monkeypatch.setattr(heartbeat, "_next_beat_at", 0.0)
    touched = heartbeat.Path.touch

    def touch(path):
        frame = __import__("sys")._getframe(2)
        callers.add((frame.f_code.co_name, frame.f_back.f_code.co_name))
        touched(path)

    monkeypatch.setattr(heartbeat.Path, "touch", touch)
    train_quickly(write_small(tmp_path), epochs=1)
    assert ("advance", "take_epoch") in callers
    assert ("advance", "encode_items") in callers
    assert {"ranks_by_counting", "drain"} <= {name for name, _ in callers}
