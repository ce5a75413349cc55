import pytest

from crossan.train.service.web.rates import Rates


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_passes_and_the_next_waits_for_its_turn():
    rates = Rates(4, 3, Clock())

    assert [rates.wait_seconds("a") for _ in range(3)] == [0, 0, 0]
    assert rates.wait_seconds("a") == pytest.approx(0.25)


def test_a_bucket_fills_at_its_rate_and_no_further_than_its_burst():
    clock = Clock()
    rates = Rates(4, 3, clock)
    for _ in range(3):
        rates.wait_seconds("a")

    clock.now += 0.5
    assert [rates.wait_seconds("a") for _ in range(2)] == [0, 0]
    assert rates.wait_seconds("a") > 0
    clock.now += 1000
    assert [rates.wait_seconds("a") for _ in range(3)] == [0, 0, 0]
    assert rates.wait_seconds("a") > 0


def test_waiting_as_long_as_told_suffices():
    clock = Clock()
    rates = Rates(3, 1, clock)
    rates.wait_seconds("a")

    clock.now += rates.wait_seconds("a") + 1e-9

    assert rates.wait_seconds("a") == 0


def test_one_caller_leaves_the_others_their_own():
    rates = Rates(1, 1, Clock())
    rates.wait_seconds("a")

    assert rates.wait_seconds("a") > 0
    assert rates.wait_seconds("b") == 0
