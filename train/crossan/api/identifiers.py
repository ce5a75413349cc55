"""From ids to rows, with an error that names the unknown one and those near it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crossan.api.errors import UnknownIdError, UsageError
from crossan.cache_schema.item_id import id_fault, shortened

__all__ = ["rows_of", "texts_of"]

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
        It is one text, no sequence, or holds something that is no text.
    """
    if isinstance(ids, str) or not hasattr(ids, "__iter__"):
        raise UsageError(f"expected a sequence of {what} ids, got {ids!r:.200}")
    values = ids.to_pylist() if hasattr(ids, "to_pylist") else list(ids)
    for value in values:
        if not isinstance(value, str):
            raise UsageError(
                f"expected {what} ids as text, got {value!r:.200} of type {type(value).__name__}",
                remedy=f"Ids are text in crossan: '{value}'" if isinstance(value, int) else None,
            )
    return [str(value) for value in values]


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
    found = known[np.minimum(rows, len(known) - 1)] if len(known) else np.array([""] * len(texts))
    lacking = [text for text, one in zip(texts, found.tolist(), strict=True) if one != text]
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
    shown = shortened(first)[1:-1]
    more = f" ({len(lacking):,} such ids)" if len(lacking) > 1 else ""
    if gone is not None and first in gone.tolist():
        return UnknownIdError(f"{what} {shown}: was deleted from {where}{more}")
    nearest = difflib.get_close_matches(first[:200], known[:_LOOKED_THROUGH].tolist(), n=_NEAREST)
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    return UnknownIdError(
        f"{what} {shown}: not among the {len(known):,} {what}s of {where}{more}{hint}"
    )
