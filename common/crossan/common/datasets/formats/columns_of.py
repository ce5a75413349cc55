"""Which column of a table is which of ours, by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.item_id import named

__all__ = [
    "INTERACTION_NAMES",
    "ITEM_NAMES",
    "PART_NAMES",
    "Chosen",
    "choose_columns",
    "plain_name",
]

_ITEM_IDS = (
    *("item_id", "item", "iid", "product_id", "article_id", "movie_id", "video_id", "news_id"),
    *("track_id", "song_id", "book_id", "recipe_id", "asin", "parent_asin", "sku"),
)
INTERACTION_NAMES: Mapping[str, Sequence[str]] = {
    "user_id": (
        *("user_id", "user", "uid", "customer_id", "customer", "visitor_id", "member_id"),
        *("account_id", "reviewer_id"),
    ),
    "item_id": _ITEM_IDS,
    "timestamp": (
        *("timestamp", "ts", "time", "date", "datetime", "date_time", "epoch", "unix_timestamp"),
        *("unix_time", "time_stamp", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns"),
        *("event_time", "event_timestamp", "event_date", "created_at", "created", "click_time"),
        *("review_time", "unix_review_time", "interaction_time", "rating_timestamp", "viewed_at"),
    ),
}
"""From our name of a column to the names that others give it.

Case, ``_``, ``-`` and blanks do not count.
"""
ITEM_NAMES: Mapping[str, Sequence[str]] = {
    "item_id": (*_ITEM_IDS, "id"),
    "title": (
        *("title", "name", "item_title", "item_name", "product_title", "product_name", "headline"),
        *("movie_title", "movie_name", "video_title", "article_title", "news_title"),
        *("track_name", "song_title", "book_title"),
    ),
    "image": ("image", "image_path", "image_file", "img", "cover", "cover_path", "picture"),
    "video": ("video", "video_path", "video_file"),
    "audio": ("audio", "audio_path", "audio_file", "sound", "sound_path"),
}

PART_NAMES = ("x_label",)
"""The same of a column with the part of each row, which only MMRec's files are searched for."""

_RECBOLE_TYPE = re.compile(r":(token|token_seq|float|float_seq)$")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which columns of one table were taken."""

    columns: Mapping[str, str]
    """From our names to those in the file."""
    ignored: tuple[str, ...]

    def without(self, ours: str) -> Chosen:
        """Return the same with one column left out."""
        columns = {name: theirs for name, theirs in self.columns.items() if name != ours}
        return Chosen(columns, (*self.ignored, self.columns[ours]))


def choose_columns(
    present: Sequence[str],
    path: Path,
    known: Mapping[str, Sequence[str]],
    requested: Mapping[str, str],
    required: Sequence[str],
) -> Chosen:
    """Find our columns among those of a file.

    A name that the user requested counts, then our own name, then the one name
    that others use.

    Parameters
    ----------
    present
        The columns of the file, in its order.
    path
        The file.
    known
        `INTERACTION_NAMES` or `ITEM_NAMES`.
    requested
        From our names to those that ``--column`` gives. One that is not in this
        file may be in another.
    required
        Our names of the columns that must be there.

    Raises
    ------
    UsageError
        A required column is missing, or several could be meant.
    DataError
        A column exists twice.
    """
    columns: dict[str, str] = {}
    for ours, theirs in known.items():
        requested_name = requested.get(ours)
        exact = [
            name
            for name in present
            if requested_name is not None and _is_named(name, requested_name)
        ]
        exact = exact or [name for name in present if plain_name(name) == ours]
        spellings = {_spelled(name) for name in theirs}
        candidates = exact or [
            name
            for name in present
            if _spelled(name) in spellings and name not in requested.values()
        ]
        if len(set(candidates)) > 1:
            raise UsageError(
                f"{path}: expected one column for {ours}, found {', '.join(candidates)}",
                remedy=f"Name it: --column {ours}={candidates[0]}",
            )
        if len(candidates) > 1:
            raise DataError(
                f"{path}, row 1: expected one column {candidates[0]}, found {len(candidates)}"
            )
        if candidates:
            columns[ours] = candidates[0]
        elif ours in required:
            raise UsageError(
                f"{path}: expected a column for {ours} ({', '.join(theirs[:4])}, ...), "
                f"found {_listed(present)}",
                remedy=_remedy(ours, present),
            )
    taken = set(columns.values())
    return Chosen(columns, tuple(name for name in present if name not in taken))


def plain_name(name: str) -> str:
    """Return a column's name without the type that RecBole's atomic files add."""
    return _RECBOLE_TYPE.sub("", name)


def _remedy(ours: str, present: Sequence[str]) -> str:
    if present[0].startswith(("#", "%", "//")):
        return "Remove the lines before the header"
    if len(present) == 1 and re.search(r"\W", present[0]):
        return "Part the columns by a tab, a comma, a semicolon or |"
    return f"Name it: --column {ours}=THEIR_NAME"


def _listed(present: Sequence[str]) -> str:
    shown = ", ".join(named(name) for name in present)
    is_row = any(name.replace(".", "", 1).isdigit() for name in present)
    return shown + (" (the first line must be a header, is it a row?)" if is_row else "")


def _is_named(name: str, requested_name: str) -> bool:
    return requested_name in (name, plain_name(name))


def _spelled(name: str) -> str:
    return re.sub(r"[\s_-]", "", plain_name(name)).lower()
