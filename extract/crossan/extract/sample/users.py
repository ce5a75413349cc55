"""The sample's users: sequences that wander between topics, and end now and then at an item nobody trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from crossan.extract.sample.topics import TOPIC_COUNT, SampleItem

__all__ = ["make_interactions"]

_USER_COUNT = 1_500
_STAY = 0.8
"""Probability that the next item has the topic of the one before; else the topic after it."""
_COLD_ENDING = 0.35
"""Share of users whose last item is cold."""
_START_MS = 1_700_000_000_000


def make_interactions(items: Sequence[SampleItem], seed: int) -> pa.Table:
    """Return ``user_id``, ``item_id``, ``timestamp``; no user meets an item twice."""
    random = np.random.default_rng([seed, 1])
    warm = [
        [item for item in items if item.topic == topic and not item.is_cold]
        for topic in range(TOPIC_COUNT)
    ]
    cold = [
        [item for item in items if item.topic == topic and item.is_cold]
        for topic in range(TOPIC_COUNT)
    ]
    users: list[str] = []
    chosen: list[str] = []
    times: list[int] = []
    for user in range(_USER_COUNT):
        sequence = _walk(warm, cold, random)
        start = _START_MS + int(random.integers(0, 10**9))
        users += [f"u{user:04d}"] * len(sequence)
        chosen += [item.item_id for item in sequence]
        times += [start + 60_000 * place for place in range(len(sequence))]
    return pa.table({"user_id": users, "item_id": chosen, "timestamp": pa.array(times, pa.int64())})


def _walk(
    warm: Sequence[Sequence[SampleItem]],
    cold: Sequence[Sequence[SampleItem]],
    random: np.random.Generator,
) -> list[SampleItem]:
    length = 3 + int(
        random.geometric(0.18)
    )  # some too short for the protocol, some longer than it keeps
    topic = int(random.integers(TOPIC_COUNT))
    met: list[SampleItem] = []
    for place in range(min(length, 24)):
        if place:
            topic = topic if random.random() < _STAY else (topic + 1) % TOPIC_COUNT
        is_end = place == min(length, 24) - 1
        pool = (
            cold[topic]
            if is_end and length >= 5 and random.random() < _COLD_ENDING
            else warm[topic]
        )
        fresh = [item for item in pool if item not in met]
        if not fresh:
            break
        weights = 1.0 / (1.0 + np.arange(len(fresh)) / 6)  # the first of a topic are its favourites
        met.append(fresh[int(random.choice(len(fresh), p=weights / weights.sum()))])
    return met
