"""Which part every interaction of a user belongs to.

Of ``leave-last-out`` the last one is the test target and the last but one the
validation target. Of ``mmrec-random`` a user's interactions are put in a random
order. With fewer than 10 of them its last is the test target and its last but
one the validation target; of n others the last floor(n / 5) are held out, half
of these, rounded down, for validation and the rest for test. That is the rule of
the notebooks that made MMRec's data sets, from their description.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import numpy.typing as npt

from crossan.common.split import Split

__all__ = ["HELD_OUT", "TEST", "TRAINING", "VALIDATION", "Parts", "part_interactions"]

HELD_OUT = 2
"""Items of every user that no training part holds, at least."""

TRAINING, VALIDATION, TEST = np.int8(0), np.int8(1), np.int8(2)
Parts = npt.NDArray[np.int8]
"""`TRAINING`, `VALIDATION` or `TEST` for each interaction."""

_FEW = 10
"""Users with fewer interactions have one target in each part."""
_ONE_IN = 5
"""Of more, one in so many is held out."""

Int64Array = npt.NDArray[np.int64]


def part_interactions(
    split: Split,
    user_ids: npt.NDArray[np.str_],
    item_ids: npt.NDArray[np.str_],
    users: Int64Array,
    items: Int64Array,
) -> Parts:
    """Return the part of every interaction, ``(interactions,)``.

    Parameters
    ----------
    split
        The rule.
    user_ids, item_ids
        Every user and item, ``(users,)`` and ``(items,)``.
    users, items
        Rows of both for each interaction, ``(interactions,)``, user after user and
        each user's oldest first.
    """
    lengths = np.bincount(users, minlength=len(user_ids))
    order = np.arange(len(users))
    if split.is_random:
        order = _random_order(split.seed, user_ids, item_ids, users, items)
    held_out = np.full(len(user_ids), HELD_OUT)
    in_validation = np.ones(len(user_ids), dtype=np.int64)
    if split.is_random:
        is_long = lengths >= _FEW
        held_out[is_long] = lengths[is_long] // _ONE_IN
        in_validation[is_long] = held_out[is_long] // 2
    # Either way the interactions lie user after user: 1 for the last one of a user.
    from_end = np.cumsum(lengths)[users] - np.arange(len(users))
    parts = np.full(len(users), TRAINING)
    parts[from_end <= held_out[users]] = VALIDATION
    parts[from_end <= (held_out - in_validation)[users]] = TEST
    placed = np.empty_like(parts)
    placed[order] = parts
    return placed


def _random_order(
    seed: int,
    user_ids: npt.NDArray[np.str_],
    item_ids: npt.NDArray[np.str_],
    users: Int64Array,
    items: Int64Array,
) -> Int64Array:
    """Return the rows of the interactions, user after user and each user's at random.

    The order of a user's interactions is one of keys, each made of the seed, the
    user id, the item id, and how often the user had the item before. So it is the
    same on every machine and for every order of the file, and an interaction more
    moves none of the others past each other.
    """
    repeats = _earlier_occurrences(users, items)
    user_keys, item_keys = (
        _keys(seed, kind, ids) for kind, ids in (("u", user_ids), ("i", item_ids))
    )
    keys = _mixed(user_keys[users] + _mixed(item_keys[items] + repeats.astype(np.uint64)))
    return np.lexsort((repeats, items, keys, users)).astype(np.int64)


def _earlier_occurrences(users: Int64Array, items: Int64Array) -> Int64Array:
    """Return how many rows above are of the same user and item, ``(interactions,)``."""
    order = np.lexsort((np.arange(len(users)), items, users))
    is_first = np.ones(len(users), dtype=bool)
    is_first[1:] = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
    starts = np.flatnonzero(is_first)
    repeats = np.empty(len(users), dtype=np.int64)
    repeats[order] = np.arange(len(users)) - starts[np.cumsum(is_first) - 1]
    return repeats


def _keys(seed: int, kind: str, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.uint64]:
    """Return eight bytes of a digest of the seed and each id."""
    # A generator of NumPy would do for one order of the ids, but its numbers are promised for
    # one version alone.
    prefix = f"{seed} {kind} "
    digests = b"".join(sha256((prefix + name).encode()).digest()[:8] for name in ids.tolist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _mixed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return each number with its bits mixed, by the finaliser of SplitMix64.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    Arithmetic is modulo 2^64.
    """
    mixed = keys + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return result
