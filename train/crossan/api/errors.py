"""The errors that a caller may want to catch."""

from __future__ import annotations

from crossan.cache_schema.errors import ConfigError, CrossanError, DataError, UsageError

__all__ = ["ConfigError", "CrossanError", "DataError", "UnknownIdError", "UsageError"]


class UnknownIdError(UsageError, KeyError):
    """An item or a user of this id is not there.

    The message names it and the nearest ones that are. It is a `KeyError` too.
    """
