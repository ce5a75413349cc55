"""Who may write in a run or sweep folder: one process, whoever else wants to, for as long as it works."""

import errno
import fcntl
import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest

from crossan.cache_schema.errors import BusyError
from crossan.common import claim as claim_module
from crossan.common.claim import OWNER_FILE, claim, refresh, release
from crossan.common.owners import our_token
from crossan.train.record.checkpoint import Checkpoint
from crossan.train.record.following import FollowedRun
from crossan.train.record.run_folder import RunFolder
from crossan.train.sweep import folder as sweep_folder
from crossan.train.sweep.folder import SweepFolder
from support.started import CEILING_S

FORK = multiprocessing.get_context("fork")
PROCESSES, ROUNDS = 4, 40
DAY = 86_400


def ended_token():
    """Name a process of this host that is over: no process of this number began at this time."""
    place, process_id, start = our_token().split("-")
    return f"{place}-{process_id}-{int(start) + 1}"


def other_host_token():
    return "0" * 8 + our_token()[8:]


def age(place, seconds):
    then = time.time() - seconds
    os.utime(place, (then, then))


def claim_in_rounds(folders, gate, answers):
    """Want every folder at once with the others, and say by the exit code who got it; nobody lets go meanwhile."""
    for folder in folders:
        gate.wait(CEILING_S)
        try:
            claim(folder, "trains")
            answer = 0 if (folder / OWNER_FILE).read_text() == our_token() else "lost"
        except BusyError as error:
            answer = error.exit_code
        answers.put((folder.name, answer))
    gate.wait(CEILING_S)  # one that ended would be a dead owner, to be taken over rightly


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("left", ["ended", "empty", "silent"])
def test_one_of_many_processes_takes_over_a_dead_owners_folder(tmp_path, left):
    folders = [tmp_path / str(number) for number in range(ROUNDS)]
    for folder in folders:
        folder.mkdir()
        text = {"ended": ended_token(), "empty": "", "silent": other_host_token()}[left]
        (folder / OWNER_FILE).write_text(text)
        age(folder / OWNER_FILE, DAY + 60)
    gate, answers = FORK.Barrier(PROCESSES), FORK.SimpleQueue()
    children = [
        FORK.Process(target=claim_in_rounds, args=(folders, gate, answers))
        for _ in range(PROCESSES)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(CEILING_S)
    assert [child.exitcode for child in children] == [0] * PROCESSES
    found = {folder.name: [] for folder in folders}
    for _ in range(PROCESSES * ROUNDS):
        name, answer = answers.get()
        found[name].append(answer)
    assert {name: sorted(got, key=str) for name, got in found.items()} == {
        folder.name: [0] + [BusyError.exit_code] * (PROCESSES - 1) for folder in folders
    }


def test_an_owner_that_goes_while_it_is_looked_at_is_no_hindrance(tmp_path, monkeypatch):
    place = tmp_path / OWNER_FILE

    def go(owner, touched):
        monkeypatch.undo()
        touched.unlink()
        return touched.stat()

    place.write_text(other_host_token())
    monkeypatch.setattr(claim_module, "has_ended", go)
    claim(tmp_path, "trains")
    assert place.read_text() == our_token()


@pytest.mark.parametrize("fails_with", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_hinders_nobody(tmp_path, monkeypatch, fails_with):
    def refuse(descriptor, operation):
        raise OSError(fails_with, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / OWNER_FILE).write_text(ended_token())
    claim(tmp_path, "trains")
    assert (tmp_path / OWNER_FILE).read_text() == our_token()


def test_a_file_that_another_host_removed_is_looked_for_again(tmp_path, monkeypatch):
    def find_it_gone(descriptor, operation):
        monkeypatch.undo()
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr(fcntl, "flock", find_it_gone)
    (tmp_path / OWNER_FILE).write_text(ended_token())
    claim(tmp_path, "trains")
    assert (tmp_path / OWNER_FILE).read_text() == our_token()


def test_another_hosts_owner_is_told_by_the_age_of_its_file_not_of_the_folder(tmp_path):
    (tmp_path / OWNER_FILE).write_text(other_host_token())
    age(tmp_path, DAY + 60)
    with pytest.raises(BusyError, match="another process trains in this folder"):
        claim(tmp_path, "trains")
    age(tmp_path / OWNER_FILE, DAY + 60)
    claim(tmp_path, "trains")
    assert (tmp_path / OWNER_FILE).read_text() == our_token()


def untouched_for(place):
    return time.time() - place.stat().st_mtime


@pytest.mark.parametrize(
    "write",
    [
        lambda run: run.append_metrics({"epoch": 1}),
        lambda run: run.save_checkpoint("last", Checkpoint({}, {})),
    ],
    ids=["epoch", "checkpoint"],
)
def test_epochs_and_checkpoints_show_that_the_owner_works(tmp_path, write):
    claim(tmp_path, "trains")
    age(tmp_path / OWNER_FILE, DAY + 60)
    write(FollowedRun(tmp_path))
    assert (
        untouched_for(tmp_path / OWNER_FILE) > DAY
    )  # only the rank that owns the folder speaks for it
    write(RunFolder(tmp_path))
    assert untouched_for(tmp_path / OWNER_FILE) < DAY


def test_nobody_speaks_for_another_owner_or_for_none(tmp_path):
    refresh(tmp_path)
    (tmp_path / OWNER_FILE).write_text(other_host_token())
    age(tmp_path / OWNER_FILE, DAY + 60)
    refresh(tmp_path)
    assert untouched_for(tmp_path / OWNER_FILE) > DAY


def test_a_sweep_shows_that_it_works_once_a_minute(tmp_path, monkeypatch):
    now, refreshed = [100.0], []
    # Its name of the module alone: other threads of this process read the clock, too.
    monkeypatch.setattr(sweep_folder, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sweep_folder, "refresh", lambda folder: refreshed.append((folder, now[0])))
    folder = SweepFolder(tmp_path)
    for now[0] in (100.1, 159.9, 160.0, 160.1, 219.0, 221.0):
        folder.refresh()
    assert refreshed == [(tmp_path, 160.0), (tmp_path, 221.0)]


def test_a_folder_is_released_by_its_owner_or_in_the_name_of_a_dead_one(tmp_path):
    release(tmp_path)  # there is none
    (tmp_path / OWNER_FILE).write_text(ended_token())
    release(tmp_path)
    assert (tmp_path / OWNER_FILE).exists()
    release(tmp_path, ended_token())
    assert not (tmp_path / OWNER_FILE).exists()
