"""Memory of processes of which some end while they are counted."""

from __future__ import annotations

import pytest

from crossan.train.service.executors import process_tree

MIB = 2**20
SHARED = 60 * 1024
"""Kilobytes that all processes share, and none has any other."""


@pytest.fixture
def alive(monkeypatch):
    """Five processes, each of which ends when a test takes it out."""
    alive = {11, 12, 13, 14, 15}
    monkeypatch.setattr(process_tree, "_descendants", lambda _: dict.fromkeys(sorted(alive), 0))
    return alive


def count_with(monkeypatch, alive, after):
    """Have each process counted as the kernel would, and something happen after each count."""

    def kilobytes(process, file, names):
        held = 0 if process not in alive else SHARED
        count = held // len(alive) if file == "smaps_rollup" and held else held
        after(process, file)
        return count

    monkeypatch.setattr(process_tree, "_kilobytes", kilobytes)


def test_what_is_shared_counts_once(alive, monkeypatch):
    count_with(monkeypatch, alive, lambda process, file: None)
    assert process_tree.Memory().look(100 * MIB) == 60 * MIB


def test_what_has_ended_holds_nothing(alive, monkeypatch):
    def end_all_but_one(process, file):
        if (process, file) == (15, "status"):
            alive.intersection_update({11})

    count_with(monkeypatch, alive, end_all_but_one)
    assert process_tree.Memory().look(100 * MIB) == 60 * MIB


def test_what_ends_once_it_was_counted_leaves_its_share_to_nobody(alive, monkeypatch):
    def end(process, file):
        if file == "smaps_rollup" and process != 15:
            alive.discard(process)

    count_with(monkeypatch, alive, end)
    assert process_tree.Memory().look(100 * MIB) == 60 * MIB


def test_what_nobody_may_look_into_counts_whole(alive, monkeypatch):
    monkeypatch.setattr(
        process_tree, "_kilobytes", lambda _, file, names: SHARED if file == "status" else 0
    )
    assert process_tree.Memory().look(100 * MIB) == 5 * 60 * MIB
