"""What the clock of a job says of its stages."""

import pytest

from crossan.extract.job.stages import StageClock


def test_the_rate_reached_is_the_jobs_beside_that_of_the_forwards_alone():
    clock = StageClock(2, computing=10.0, forwarding=9.0, reading=12.0)
    stages = clock.to_dict(360)
    whole, forward, reading = (
        stages[stage]["items_per_second"] for stage in ("computing", "forward", "reading")
    )
    assert (whole, forward, reading) == (36.0, 40.0, 60.0)  # 360 in 10 s, in 9 s, by 2 in 12 s
    assert clock.device_rate_reached == 0.9 == whole / forward


def test_a_rate_is_never_above_that_of_the_forwards_and_none_without_work():
    assert StageClock(0, computing=1.0, forwarding=1.0001).device_rate_reached == 1.0
    assert StageClock(0).device_rate_reached is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # On a card the launch takes no time, and who waits for the writer waits for the device.
        ({"launching": 0.5, "awaiting_writer": 9, "awaiting_device": 9.4, "writing": 0.6}, "forward"),
        ({"launching": 0.5, "awaiting_writer": 9, "awaiting_device": 0.6, "writing": 9.4}, "writing"),
        ({"launching": 0.5, "awaiting_inputs": 9, "awaiting_device": 0.6}, "reading"),
        # On the CPU the launch computes, and the writer finds the states complete.
        ({"launching": 9, "awaiting_writer": 0.5, "writing": 2}, "forward"),
    ],
)  # fmt: skip
def test_the_bottleneck_is_what_the_launching_thread_waits_for(seconds, expected):
    assert StageClock(2, computing=10.0, **seconds).bottleneck == expected


def test_waiting_for_the_writer_is_shared_between_device_and_disk():
    clock = StageClock(1, awaiting_writer=8.0, awaiting_device=3.0, writing=1.0)
    assert clock.to_text() == "bottleneck forward (75% of the time)"  # 6 s of 8
