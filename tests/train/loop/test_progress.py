"""When a training ends, beside a walk from epoch to epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.loop.progress import TrainingProgress
from crossan.train.settings import DataSettings, OptimiserSettings, RunSettings


def settings_of(patience, max_epochs=1000, **course):
    return RunSettings(
        data=DataSettings(dataset="d"),
        patience=patience,
        max_epochs=max_epochs,
        optimiser=OptimiserSettings(**course),
    )


def walk(settings, gains):
    """Take epochs until the end, those in ``gains`` better than all before; return the progress."""
    reached = TrainingProgress()
    while not reached.is_over(settings):
        reached.epoch += 1
        if reached.epoch in gains or reached.epoch == 1:
            reached.best_epoch = reached.epoch
        if len(reached.drops) < settings.optimiser.plateau_drops and reached.is_plateau(settings):
            reached.drops.append({"after": reached.epoch, "from": reached.best_epoch})
    return reached


@pytest.mark.parametrize(
    ("course", "gains", "epochs", "stopped_by"),
    [
        ({}, {1, 4}, 7, "patience"),
        ({"max_epochs": 5}, {1, 4}, 5, "max_epochs"),
        # 4 + 3 without a gain, a drop, then a gain at 8, and 3 without one
        ({"plateau_drops": 1}, {4, 8}, 11, "patience"),
        ({"plateau_drops": 1}, {4}, 10, "patience"),
        ({"plateau_drops": 1, "drop_epochs": 2}, {4, 8, 9}, 9, "drop_epochs"),
        ({"plateau_drops": 2, "drop_epochs": 2}, {4, 8}, 13, "drop_epochs"),
    ],
)
def test_what_ends_a_training(course, gains, epochs, stopped_by):
    reached = walk(settings_of(3, **course), gains)
    assert (reached.epoch, reached.stopped_by(settings_of(3, **course))) == (epochs, stopped_by)


@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.none() | st.integers(1, 5),
    st.integers(1, 30),
    st.sets(st.integers(1, 12)),
    st.integers(1, 20),
)
def test_the_end_without_a_gain_is_where_a_walk_comes_to(
    patience, drops, most, max_epochs, gains, seen
):
    settings = settings_of(
        patience, max_epochs, plateau_drops=drops, drop_epochs=most if drops else None
    )
    until_now = walk(settings.model_copy(update={"max_epochs": min(seen, max_epochs)}), gains)
    if until_now.is_over(settings):
        return
    whole = walk(settings, {gain for gain in gains if gain <= until_now.epoch})
    assert until_now.ends_after(settings) == whole.epoch


def test_the_time_of_an_epoch_is_that_of_epochs_done():
    # Asked to end in the third epoch, of which 30 s were spent.
    reached = TrainingProgress(epoch=2, step=7, seconds=230.0, seconds_before=200.0)
    assert reached.seconds_per_epoch == 100.0


@given(
    st.integers(1, 3), st.integers(0, 3), st.sets(st.integers(1, 25)), st.sets(st.integers(1, 25))
)
def test_the_rates_follow_the_epochs_that_led_to_the_weights(patience, drops, gains, chosen):
    """By plateaus, or after epochs that are chosen, where there are no plateaus."""
    settings = settings_of(patience, plateau_drops=drops)
    reached, taken, led_to = TrainingProgress(), 0, {}
    for epoch in range(1, 26):
        assert reached.course_epoch == taken + 1
        taken, reached.epoch = taken + 1, epoch
        led_to[epoch] = taken
        if epoch in gains or epoch == 1:
            reached.best_epoch = epoch
        came_from = None
        if not drops and epoch in chosen:
            came_from = epoch
        elif len(reached.drops) < drops and reached.is_plateau(settings):
            came_from = reached.best_epoch
        if came_from is not None:
            reached.drops.append({"after": epoch, "from": came_from})
            taken = led_to[came_from]


def test_the_epochs_that_lead_to_the_best_weights():
    reached = TrainingProgress(epoch=40, best_epoch=33)
    assert reached.epochs_to(33) == (33, ())
    # To epoch 18 in vain, so that 8 epochs and those after it lead to epoch 20.
    reached.drops = [{"after": 18, "from": 8}]
    assert reached.epochs_to(8) == (8, ())
    assert reached.epochs_to(20) == (10, (8,))
    # 10 epochs lead to epoch 20, to which the second drop went back.
    reached.drops.append({"after": 30, "from": 20})
    assert reached.epochs_to(33) == (13, (8, 10))
    # Nothing came of the first drop: the second goes back to epoch 8, at two drops.
    reached.drops = [{"after": 18, "from": 8}, {"after": 28, "from": 8}]
    assert reached.epochs_to(31) == (11, (8, 8))
