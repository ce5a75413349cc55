"""Make the sample's users, whose sequences wander between topics.

Now and then one ends at an item that nobody trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from crossan.extract.sample.topics import TOPIC_COUNT, SampleItem

__all__ = ["make_interactions"]

_USER_COUNT = 1_500
_STAY = 0.8
"""Probability that the next item has the topic of the one before; else it has the one after it."""
_COLD_ENDING = 0.35
"""Share of users whose last item is cold, of those with five items or more."""
_LONGEST = 24
_START_MS = 1_700_000_000_000


def make_interactions(items: Sequence[SampleItem], seed: int) -> pa.Table:
    """Return the interactions as ``user_id``, ``item_id`` and ``timestamp``.

    No user meets an item twice.
    """
    random = np.random.default_rng([seed, 1])
    warm = [
        [item for item in items if item.topic == topic and not item.is_cold]
        for topic in range(TOPIC_COUNT)
    ]
    cold = [
        [item for item in items if item.topic == topic and item.is_cold]
        for topic in range(TOPIC_COUNT)
    ]
    user_ids: list[str] = []
    item_ids: list[str] = []
    times: list[int] = []
    for user in range(_USER_COUNT):
        sequence = _walk(warm, cold, random)
        start = _START_MS + int(random.integers(0, 10**9))
        user_ids += [f"u{user:04d}"] * len(sequence)
        item_ids += [item.item_id for item in sequence]
        times += [start + 60_000 * position for position in range(len(sequence))]
    timestamps = pa.array(times, pa.int64())
    return pa.table({"user_id": user_ids, "item_id": item_ids, "timestamp": timestamps})


def _walk(
    warm: Sequence[Sequence[SampleItem]],
    cold: Sequence[Sequence[SampleItem]],
    random: np.random.Generator,
) -> list[SampleItem]:
    """Return one user's items in order."""
    # Some are too short for the protocol and some longer than it keeps: both cases must be met.
    drawn_length = 3 + int(random.geometric(0.18))
    length = min(drawn_length, _LONGEST)
    topic = int(random.integers(TOPIC_COUNT))
    met: list[SampleItem] = []
    for position in range(length):
        if position and random.random() >= _STAY:
            topic = (topic + 1) % TOPIC_COUNT
        is_last = position == length - 1
        is_cold = is_last and drawn_length >= 5 and random.random() < _COLD_ENDING
        pool = cold[topic] if is_cold else warm[topic]
        fresh = [item for item in pool if item not in met]
        if not fresh:
            break
        # The first of a topic are its favourites, so that popularity has something to learn.
        weights = 1.0 / (1.0 + np.arange(len(fresh)) / 6)
        met.append(fresh[int(random.choice(len(fresh), p=weights / weights.sum()))])
    return met
