"""The rates of every step, by hand and beside a loop over all steps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from crossan.train.loop.adamw import AdamW, Group
from crossan.train.loop.schedule import Schedule, named_rates
from crossan.train.settings import OptimiserSettings

BASE = {"lr": 0.5, "id_lr": 0.25}


def rates(epoch, step=0, drops=0, steps_per_epoch=4, **course):
    return Schedule(OptimiserSettings(**course), steps_per_epoch).rates(BASE, epoch, step, drops)


def test_without_a_course_the_rates_are_those_that_were_set():
    assert rates(1) == rates(77, 3) == BASE


def test_warm_up_rises_from_step_to_step():
    # Two epochs of four steps: after the first step an eighth of the way is done.
    risen = [rates(epoch, step, warmup_epochs=2)["lr"] for epoch in (1, 2, 3) for step in range(4)]
    assert risen == [0.5 * share / 8 for share in (1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8)]


def test_a_cosine_falls_to_its_floor_and_stays():
    course = {"cosine_epochs": 4, "cosine_floor": 0.2}
    assert rates(1, **course)["lr"] == 0.5
    assert rates(3, **course)["lr"] == pytest.approx(0.5 * 0.6)  # halfway: (1 + 0.2) / 2
    assert rates(5, **course)["lr"] == pytest.approx(0.5 * 0.2)
    assert rates(50, **course)["lr"] == pytest.approx(0.5 * 0.2)


def test_after_a_warm_up_the_cosine_begins_at_its_height():
    course = {"warmup_epochs": 1, "cosine_epochs": 3, "cosine_floor": 0.2}
    assert rates(2, **course)["lr"] == 0.5
    assert rates(3, **course)["lr"] == pytest.approx(0.5 * 0.6)


def test_drops_multiply_whatever_else_there_is():
    course = {"drop_factor": 0.5, "lr_decay": 0.25}
    assert rates(26, drops=2, **course)["lr"] == pytest.approx(0.5 * 0.25**0.5 * 0.25)


def test_item_ids_begin_at_their_own_rate_and_come_to_the_one_that_was_set():
    course = {"id_lr_start": 1.25, "id_lr_epochs": 2}
    assert [rates(epoch, **course)["id_lr"] for epoch in (1, 2, 3, 9)] == [1.25, 0.75, 0.25, 0.25]
    assert rates(1, 2, **course) == {"lr": 0.5, "id_lr": 1.0}
    assert rates(1, drops=1, drop_factor=0.5, **course)["id_lr"] == 0.625


@settings(deadline=None)
@given(
    st.integers(1, 5),
    st.floats(0, 3),
    st.none() | st.integers(4, 9),
    st.floats(0.01, 1),
    st.floats(0.1, 1),
    st.integers(0, 2),
)
def test_every_step_has_the_rate_of_a_slow_walk(steps, warmup, cosine, floor, decay, drops):
    course = Schedule(
        OptimiserSettings(
            warmup_epochs=warmup, cosine_epochs=cosine, cosine_floor=floor, lr_decay=decay
        ),
        steps,
    )
    walked = 0
    for epoch in range(1, 13):
        for step in range(steps):
            now, after = walked / steps, (walked + 1) / steps
            scale = decay ** ((epoch - 1) / 50) * 0.1**drops
            if after < warmup:
                scale *= after / warmup
            if cosine is not None and now > warmup:
                part = (now - warmup) / (cosine - warmup)
                height = math.cos(math.pi * part) / 2 + 0.5 if part < 1 else 0
                scale *= floor + (1 - floor) * height
            fast = course.rates(BASE, epoch, step, drops)
            assert fast["lr"] == pytest.approx(0.5 * scale, rel=1e-9)
            walked += 1


def test_the_rates_of_an_optimiser_are_set_where_a_recorded_step_reads_them():
    table, weight = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [
        Group(params=[table], lr=0.25, name="id_lr"),
        Group(params=[weight], lr=0.5, name="lr"),
    ]
    optimiser = AdamW(groups, 0.0)
    table.grad, weight.grad = torch.ones(2), torch.ones(2)
    optimiser.step()
    before = [optimiser._rate_of(number, torch.device("cpu")) for number in range(2)]
    Schedule(OptimiserSettings(id_lr_start=1.25, warmup_epochs=1), 4).apply(optimiser, 1, 1, 0)
    assert named_rates(optimiser) == {"id_lr": pytest.approx(1.2 / 2), "lr": 0.25}
    after = [optimiser._rate_of(number, torch.device("cpu")) for number in range(2)]
    assert [id(one) for one in after] == [id(one) for one in before]
    assert [one.item() for one in after] == [pytest.approx(0.6), 0.25]


@pytest.mark.parametrize(
    ("course", "match"),
    [
        ({"warmup_epochs": 3, "cosine_epochs": 3}, "warmup_epochs below cosine_epochs=3"),
        ({"drop_epochs": 3}, "no drop_epochs without plateau_drops"),
        ({"drop_after": (3, 2)}, "drop_after to be epochs from 1 on, in order"),
        ({"drop_after": (0,)}, "drop_after to be epochs from 1 on, in order"),
        ({"drop_after": (3,), "plateau_drops": 1}, "drop_after or plateau_drops, not both"),
    ],
)
def test_a_course_that_cannot_be_is_refused(course, match):
    with pytest.raises(ValidationError, match=match):
        OptimiserSettings(**course)
