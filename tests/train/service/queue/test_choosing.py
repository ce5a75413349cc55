"""Which queued runs may begin."""

from __future__ import annotations

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.database import Database
from crossan.train.service.queue import Slots, State, Step, Usage
from crossan.train.service.queue.choosing import PATIENCE_SECONDS, Patience, activity_of
from crossan.train.service.settings import SlotSettings
from support.queued import add, add_night


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "d")
    yield opened
    opened.close()


class Nights:
    """Runs of nights and lone ones, in states that a test gives them."""

    def __init__(self, database):
        self._database = database

    def night(self, dataset="d"):
        return self._database.write(lambda connection: add_night(connection, dataset))

    def run(self, step, state, night=None, dataset="d"):
        def put(connection):
            run_id = add(connection, step=step, night=night, dataset=dataset)
            started = None if state in {State.WAITING, State.QUEUED} else 1.0
            ended = 2.0 if state is State.SUCCEEDED else None
            connection.execute(
                "UPDATE runs SET state = ?, started = ?, ended = ? WHERE id = ?",
                (state, started, ended, run_id),
            )
            return run_id

        return self._database.write(put)

    def allowed(self, run_id, held=()):
        """Return whether a queued run may begin, where others are held for."""
        runs, activity = self._database.read(activity_of)
        by_number = {run.id: run for run in runs}
        for other in held:
            activity.hold(by_number[other])
        return activity.allows(by_number[run_id])


@pytest.fixture
def nights(database):
    return Nights(database)


@pytest.mark.parametrize("step", [Step.UPDATE, Step.EXTRACT])
@pytest.mark.parametrize("other", [Step.UPDATE, Step.TRAIN])
def test_a_writer_waits_for_another_night_between_its_steps_too(nights, step, other):
    first, second = nights.night(), nights.night()
    nights.run(other, State.SUCCEEDED, first)
    nights.run(Step.GATE, State.WAITING, first)
    assert not nights.allowed(nights.run(step, State.QUEUED, second))
    assert nights.allowed(nights.run(step, State.QUEUED, first))


def test_a_writer_waits_for_no_night_that_has_ended_or_not_begun(nights):
    ended, waiting, ours = nights.night(), nights.night(), nights.night()
    nights.run(Step.UPDATE, State.SUCCEEDED, ended)
    nights.run(Step.UPDATE, State.QUEUED, waiting)
    nights.run(Step.TRAIN, State.WAITING, waiting)
    assert nights.allowed(nights.run(Step.UPDATE, State.QUEUED, ours))


def test_a_writer_waits_for_no_other_dataset(nights):
    nights.run(Step.UPDATE, State.RUNNING, nights.night("other"), dataset="other")
    assert nights.allowed(nights.run(Step.UPDATE, State.QUEUED, nights.night()))


def test_a_writer_waits_for_a_lone_run_that_runs(nights):
    update = nights.run(Step.UPDATE, State.QUEUED, nights.night())
    lone = nights.run(Step.TRAIN, State.QUEUED)
    assert nights.allowed(update)
    assert nights.allowed(lone)
    nights.run(Step.TRAIN, State.STOPPING)
    assert not nights.allowed(update)
    assert nights.allowed(lone)


def test_all_others_wait_while_a_writer_runs(nights):
    night = nights.night()
    nights.run(Step.EXTRACT, State.RUNNING, night)
    assert not nights.allowed(nights.run(Step.TRAIN, State.QUEUED))
    assert not nights.allowed(nights.run(Step.TRAIN, State.QUEUED, nights.night()))
    assert nights.allowed(nights.run(Step.TRAIN, State.QUEUED, night))


def test_trainings_of_one_dataset_run_side_by_side(nights):
    nights.run(Step.TRAIN, State.RUNNING, nights.night())
    assert nights.allowed(nights.run(Step.TRAIN, State.QUEUED))
    assert nights.allowed(nights.run(Step.TRAIN, State.QUEUED, nights.night()))


def test_nobody_new_comes_before_a_writer_that_has_waited_long(nights):
    begun = nights.night()
    nights.run(Step.TRAIN, State.SUCCEEDED, begun)
    goes_on = nights.run(Step.GATE, State.QUEUED, begun)
    update = nights.run(Step.UPDATE, State.QUEUED, nights.night())
    lone = nights.run(Step.TRAIN, State.QUEUED)
    other = nights.run(Step.TRAIN, State.QUEUED, dataset="other")
    assert not nights.allowed(update)
    assert nights.allowed(lone)
    assert not nights.allowed(lone, held=[update])
    assert nights.allowed(goes_on, held=[update])
    assert nights.allowed(other, held=[update])


def test_a_run_that_is_tried_again_comes_first_and_the_others_by_their_number(database, nights):
    runs = [nights.run(Step.TRAIN, State.QUEUED) for _ in range(3)]
    database.write(
        lambda connection: connection.execute(
            "UPDATE runs SET attempt = 1 WHERE id = ?", (runs[2],)
        )
    )
    order = [run.id for run in database.read(activity_of)[0]]
    assert order == [runs[2], runs[0], runs[1]]


def test_patience_ends_after_ten_minutes_of_being_passed():
    patience = Patience()
    assert not patience.note_passed(1, 100.0)
    assert not patience.note_passed(1, 100.0 + PATIENCE_SECONDS)
    assert patience.note_passed(1, 101.0 + PATIENCE_SECONDS)
    assert not patience.note_passed(2, 101.0 + PATIENCE_SECONDS)
    patience.keep_only([2])
    assert not patience.note_passed(1, 102.0 + PATIENCE_SECONDS)


def test_slots_give_what_is_free_and_take_it_back():
    slots = Slots(Usage(4, 8.0, 3))
    assert slots.take(1, Usage(2, 4.0, 2)) == (0, 1)
    assert slots.take(2, Usage(3, 1.0, 0)) is None  # cores
    assert slots.take(2, Usage(1, 4.5, 0)) is None  # memory
    assert slots.take(2, Usage(1, 1.0, 2)) is None  # GPUs
    assert slots.take(2, Usage(1, 4.0, 1)) == (2,)
    assert slots.used == Usage(3, 8.0, 3)
    slots.give_back(1)
    slots.give_back(1)
    assert slots.take(3, Usage(1, 1.0, 1)) == (0,)
    assert slots.used == Usage(2, 5.0, 2)


def test_tenths_of_memory_add_up():
    slots = Slots(Usage(10, 0.3, 0))
    assert [slots.take(run, Usage(1, 0.1, 0)) for run in range(4)] == [(), (), (), None]


def test_what_runs_already_is_kept_though_it_would_not_fit():
    slots = Slots(Usage(1, 1.0, 2))
    slots.keep(1, Usage(4, 9.0, 2), (0, 5))
    assert slots.used.cpus == 4
    slots.keep(1, Usage(1, 1.0, 1), (0,))
    assert slots.take(2, Usage(1, 1.0, 0)) is None


def test_what_never_fits_is_refused_by_its_name():
    slots = Slots(Usage(2, 8.0, 0))
    assert slots.refusal_of(Usage(2, 8.0, 0)) is None
    for part, message in [
        (Usage(3, 1.0, 0), "limits.cpus: expected at most 2, .*, found 3"),
        (Usage(1, 8.5, 0), "limits.memory_gib: expected at most 8, .*, found 8.5"),
        (Usage(1, 1.0, 1), "limits.gpus: expected at most 0, .*, found 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            slots.require_room(part)


def test_an_operator_sets_slots_or_has_those_of_the_machine(monkeypatch):
    assert Slots.of(SlotSettings(cpus=3, memory_gib=2.5, gpus=1)).total == Usage(3, 2.5, 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5})
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 10 * 2**30}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert Slots.of(SlotSettings()).total == Usage(3, 8.0, 2)


@pytest.mark.parametrize(
    ("listing", "count"),
    [("echo 'GPU 0: A (UUID: a)'; echo '  MIG 1g'; echo 'GPU 1: A (UUID: b)'", 2), ("exit 9", 0)],
)
def test_gpus_are_those_that_the_driver_lists(monkeypatch, tmp_path, listing, count):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{listing}\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Slots.of(SlotSettings(cpus=1, memory_gib=1.0)).total.gpus == count
    program.unlink()
    assert Slots.of(SlotSettings(cpus=1, memory_gib=1.0)).total.gpus == 0
