"""From ids to rows, with an error that names the unknown one and those near it."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.api.errors import UnknownIdError, UsageError
from crossan.cache_schema.item_id import id_fault, named

__all__ = ["rows_of", "sequence_of", "texts_of", "whole_number"]

_LOOKED_THROUGH = 20_000
"""Ids among which the nearest ones are looked for."""
_NEAREST = 3


def texts_of(ids: object, what: str) -> list[str]:
    """Return ids as a list of texts.

    Parameters
    ----------
    ids
        A list, a tuple, or an array of NumPy, Arrow or pandas.
    what
        What they are, for errors: ``"item"`` or ``"user"``.

    Raises
    ------
    UsageError
        It is one text, no sequence, or holds something that is no text. A set is none: what is
        returned for its ids would be in an order that nobody knows.
    """
    for value in (values := sequence_of(ids, f"{what} ids")):
        if not isinstance(value, str):
            raise UsageError(
                f"expected {what} ids as text, got {value!r:.200} of type {type(value).__name__}",
                remedy=f"Ids are text in crossan: '{value}'" if isinstance(value, int) else None,
            )
    return [str(value) for value in values]


def sequence_of(values: object, what: str) -> list[Any]:
    """Return what somebody gave as a sequence as a list.

    Parameters
    ----------
    values
        A list, a tuple, or an array of NumPy, Arrow or pandas.
    what
        What should be in it, for errors: ``"item ids"``.

    Raises
    ------
    UsageError
        It is one text, or has no order.
    """
    # An array of no dimension has __iter__ too, and refuses to be iterated.
    is_one = isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0
    if is_one or isinstance(values, set | frozenset) or not isinstance(values, Iterable):
        raise UsageError(f"expected a sequence of {what}, got {values!r:.200}")
    if hasattr(values, "to_pylist"):
        return list(values.to_pylist())
    return list(values)


def whole_number(value: object, name: str) -> int:
    """Return an argument that counts something, 1 or more.

    Raises
    ------
    UsageError
        It is no whole number, or less than 1.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(f"expected {name} to be a whole number, got {value!r:.200}") from error
    if number < 1:
        raise UsageError(f"expected {name} to be at least 1, got {number}")
    return number


def rows_of(
    ids: object,
    known: npt.NDArray[np.str_],
    what: str,
    where: str,
    gone: npt.NDArray[np.str_] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the rows of some ids, ``(ids,)``.

    Parameters
    ----------
    ids
        As `texts_of` takes them; repeats are allowed.
    known
        All ids, sorted, ``(known,)``.
    what
        What they are, for errors: ``"item"`` or ``"user"``.
    where
        What they are looked for in, for errors.
    gone
        Ids that were there once, for errors.

    Raises
    ------
    UnknownIdError
        One of them is not there.
    """
    texts = texts_of(ids, what)
    if not texts:
        return np.zeros(0, dtype=np.int64)
    for text in texts:
        # Before NumPy gives every id the width of this one to compare them.
        if id_fault(text, f"a {what} id") is not None:
            raise _unknown([text], known, what, where, gone)
    rows = np.searchsorted(known, np.array(texts, dtype=np.str_))
    nearest = known[np.minimum(rows, len(known) - 1)] if len(known) else np.array([""] * len(texts))
    lacking = [text for text, one in zip(texts, nearest.tolist(), strict=True) if one != text]
    if lacking:
        raise _unknown(lacking, known, what, where, gone)
    return rows.astype(np.int64)


def _unknown(
    lacking: Sequence[str],
    known: npt.NDArray[np.str_],
    what: str,
    where: str,
    gone: npt.NDArray[np.str_] | None,
) -> UnknownIdError:
    first = lacking[0]
    shown = named(first)
    more = f" ({len(lacking):,} such ids)" if len(lacking) > 1 else ""
    if gone is not None and first in gone.tolist():
        return UnknownIdError(f"{what} {shown}: was deleted from {where}{more}")
    nearest = difflib.get_close_matches(first[:200], known[:_LOOKED_THROUGH].tolist(), n=_NEAREST)
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    return UnknownIdError(
        f"{what} {shown}: not among the {len(known):,} {what}s of {where}{more}{hint}"
    )
