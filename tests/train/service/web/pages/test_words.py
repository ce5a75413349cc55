"""Times, lengths and numbers in words."""

import math

import pytest

from crossan.train.service.web.pages import words

NOW = 1_795_000_000.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"), (-3, "now"), (42, "42 s ago"), (-42, "in 42 s"), (59.4, "59 s ago"), (59.6, "1 min ago"),
        (3599, "1 h ago"), (3600, "1 h ago"), (3 * 3600, "3 h ago"), (-14 * 3600, "in 14 h"), (47.6 * 3600, "2 days ago"),
        (2 * 86400, "2 days ago"), (13.9 * 86400, "14 days ago"), (15 * 86400, "3 Nov 2026"),
    ],
)  # fmt: skip
def test_how_far_a_time_lies_from_now(seconds, text):
    assert words.ago(NOW - seconds, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (-1, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (599, "9 min 59 s"), (601, "10 min"),
        (3600, "1 h"), (4800, "1 h 20 min"), (47 * 3600, "47 h"), (48 * 3600, "2 d"), (50 * 3600, "2 d 2 h"),
    ],
)  # fmt: skip
def test_how_long_something_took(seconds, text):
    assert words.length(seconds) == text


def test_exact_times_are_in_utc():
    assert words.exact(NOW) == "2026-11-18 11:06:40 UTC"
    assert words.iso(NOW) == "2026-11-18T11:06:40Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (True, "yes"), (False, "no"), (1234567, "1,234,567"), (0.0, "0.0000"), (0.06414, "0.0641"), (1.23e-7, "1.2e-07"),
        (-0.5, "-0.5000"), (5000.0, "5,000"), (math.nan, "nan"), (math.inf, "inf"), ("crossan", "crossan"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert words.figure(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes(count, text):
    assert words.size(count) == text


def test_nested_settings_become_pairs_without_what_is_empty():
    values = {
        "model": {"kind": "crossan", "width": 64},
        "lr": 0.001,
        "update": True,
        "extract": ["text", "image"],
        "stores": [{"modality": "text", "version": None}],
        "label": "",
        "recipe": None,
        "tags": [],
    }
    assert words.flat(values) == [
        ("model.kind", "crossan"),
        ("model.width", "64"),
        ("lr", "0.001"),
        ("update", "yes"),
        ("extract", "text, image"),
        ("stores.modality", "text"),
    ]
