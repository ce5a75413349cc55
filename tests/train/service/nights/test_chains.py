"""A night is a chain of runs that begins and ends in one transaction each."""

import pytest

from crossan.train.service.nights.chains import NothingNewError, note_input
from crossan.train.service.nights.rows import NightState
from crossan.train.service.queue.rows import State, Step
from crossan.train.service.specs import NightSpec

SPEC = NightSpec.model_validate(
    {"dataset": "shop", "extract": ["text"], "limits": {"cpus": 3, "gpus": 1}, "label": "nightly"}
)


def begin(office, spec=SPEC, **more):
    return office.nights.begin(spec, "ann", "asked for", **more)


def test_a_night_has_one_run_for_each_step(office):
    night = begin(office)
    runs = office.nights.runs_of(night.id)
    assert [run.step for run in runs] == list(Step)
    assert [run.needs for run in runs] == [None, *(run.id for run in runs[:-1])]
    assert [run.state for run in runs] == [State.QUEUED, *[State.WAITING] * 6]
    assert {run.about for run in runs[3:]} == {runs[2].id}
    assert runs[1].spec["modality"] == "text"
    assert (runs[2].limits.cpus, runs[2].limits.gpus) == (3, 1)
    assert (runs[0].limits.cpus, runs[0].limits.gpus) == (1, 0)
    assert (night.state, night.reason, office.woken) == (NightState.RUNNING, "asked for", 1)


def test_a_night_leaves_out_what_its_spec_does_not_ask_for(office):
    spec = NightSpec.model_validate({"dataset": "shop", "update": False, "refit": "none"})
    steps = [run.step for run in office.nights.runs_of(begin(office, spec).id)]
    assert steps == [Step.TRAIN, Step.EVALUATE, Step.GATE, Step.PROMOTE]


def test_a_night_that_cannot_begin_leaves_no_run(office):
    begin(office, fingerprint="f" * 64)
    with pytest.raises(NothingNewError, match="night 1 trains on the same dataset"):
        begin(office, fingerprint="f" * 64)
    assert [night.id for night in office.nights.all()] == [1]
    assert len(office.nights.runs_of(1)) == 7


GATE = {
    "all": {"production": 0.0431, "candidate": 0.0435, "difference": 0.0004, "interval": [0, 0.0009]},
}  # fmt: skip


def test_the_last_run_ends_the_night_in_one_line(office):
    night = begin(office)
    *runs, last = office.nights.runs_of(night.id)
    results = {
        Step.UPDATE: {"added": {"items": 10, "interactions": 512, "users": 0}},
        Step.GATE: GATE,
    }
    for run in runs:
        office.end_run(run, State.SUCCEEDED, result=results.get(run.step))
    assert office.nights.get(night.id).state is NightState.RUNNING
    office.clock.now += 12 * 60
    office.end_run(last, State.SUCCEEDED, result={"version": 12})
    ended = office.nights.get(night.id)
    assert (ended.state, ended.ended) == (NightState.PROMOTED, office.clock())
    assert ended.summary == (
        "promoted model 12: NDCG@10 0.0431 -> 0.0435 (+0.0004, [0.0000, 0.0009]), 10 new items,"
        " 512 interactions, 12 min"
    )


def test_a_first_model_has_nothing_to_be_compared_with(office):
    night = begin(office)
    results = {"train": {"test": {"ndcg@10": 0.0431}}, "promote": {"version": 1}}
    ended = office.end_night(night, results)
    assert ended.summary == "promoted model 1: NDCG@10 0.0431, 0 s"


def test_a_gate_that_holds_back_is_no_failure(office):
    night = begin(office)
    for run in office.nights.runs_of(night.id):
        if run.step is Step.GATE:
            why = "test NDCG@10 fell by more than the margin"
            office.end_run(run, State.FAILED, f"held back: {why}", {**GATE, "held_back": why})
        else:
            is_after = run.step in {Step.REFIT, Step.PROMOTE}
            office.end_run(run, State.SKIPPED if is_after else State.SUCCEEDED)
    ended = office.nights.get(night.id)
    assert ended.state is NightState.HELD_BACK
    assert ended.summary.startswith("held back: test NDCG@10 fell by more than the margin, NDCG@10")


def test_a_promotion_that_came_too_late_is_held_back(office):
    ended = office.end_night(begin(office), {"promote": {"model": 3, "held_back": "moved"}})
    assert (ended.state, ended.summary) == (NightState.HELD_BACK, "held back: moved, 0 s")


@pytest.mark.parametrize(
    ("state", "night_state", "words"),
    [
        (State.FAILED, NightState.FAILED, "train failed: no memory (run 3, 0 s)"),
        (State.CANCELLED, NightState.CANCELLED, "train cancelled: no memory (run 3, 0 s)"),
    ],
)
def test_a_night_that_went_wrong_may_be_tried_again(office, state, night_state, words):
    night = begin(office, fingerprint="f" * 64)
    for run in office.nights.runs_of(night.id):
        if run.step is Step.TRAIN:
            office.end_run(run, state, "no memory\nand more")
        else:
            office.end_run(run, State.SUCCEEDED if run.id < 3 else State.SKIPPED)
    ended = office.nights.get(night.id)
    assert (ended.state, ended.summary, ended.fingerprint) == (night_state, words, None)
    assert begin(office, fingerprint="f" * 64).id == 2


def test_a_night_without_anything_new_says_so(office):
    night = begin(office)
    for run in office.nights.runs_of(night.id):
        is_before = run.step in {Step.UPDATE, Step.EXTRACT}
        office.end_run(
            run, State.SUCCEEDED if is_before else State.SKIPPED, "nothing new: night 1 has trained"
        )
    ended = office.nights.get(night.id)
    assert (ended.state, ended.summary) == (NightState.NOTHING, "nothing new: night 1 has trained")


def test_of_two_nights_with_one_input_the_second_trains_nothing(office):
    first, second = (begin(office, fingerprint=letter * 64) for letter in "ab")
    forced = begin(office)
    office.database.write(lambda connection: note_input(connection, first.id, "c" * 64))
    office.database.write(lambda connection: note_input(connection, first.id, "c" * 64))
    with pytest.raises(NothingNewError, match="night 1 trains on the same"):
        office.database.write(lambda connection: note_input(connection, second.id, "c" * 64))
    # Whoever asks for a night by hand gets one.
    office.database.write(lambda connection: note_input(connection, forced.id, "c" * 64))
    prints = [office.nights.get(n).fingerprint for n in (1, 2, 3)]
    assert prints == ["c" * 64, "b" * 64, None]


def test_a_night_is_cancelled_from_its_end(office):
    night = begin(office)
    first = office.nights.runs_of(night.id)[0]
    office.end_run(first, State.SUCCEEDED)
    cancelled = []
    office.nights.cancel(night.id, cancelled.append, "ann")
    assert cancelled == [7, 6, 5, 4, 3, 2]
    assert [entry.action for entry in office.registry.audit()] == ["cancel night", "begin night"]
