"""The errors a user can meet, each with the exit code the commands promise.

They live in the lowest layer so that every layer can raise them. Anything that
is not a `CrossanError` is a bug and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "BusyError",
    "ConfigError",
    "CrossanError",
    "DataError",
    "IncompatibleError",
    "RemoteError",
    "ResourceError",
    "StoreIntegrityError",
    "StoreNotFoundError",
    "UsageError",
]


class CrossanError(Exception):
    """Say what was expected, what was found and where, and how to mend it.

    Parameters
    ----------
    message
        First line in lower case without a full stop; further lines are details.
    remedy
        The one command or action that mends it, printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the message and, where there is one, the remedy."""
        return self.message if self.remedy is None else f"{self.message}\n  {self.remedy}"


class UsageError(CrossanError, ValueError):
    """The command names something that does not exist or does not fit."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has a value that it cannot take."""


class StoreNotFoundError(UsageError, FileNotFoundError):
    """There is no store, or no such version of it, under the given name."""


class DataError(CrossanError, ValueError):
    """The input data is bad beyond the allowed share, or does not cover the request."""

    exit_code = 3


class StoreIntegrityError(CrossanError, ValueError):
    """The bytes of a store are not those that its manifest records."""

    exit_code = 4


class IncompatibleError(CrossanError, ValueError):
    """Two things that must share a schema version, recipe or revision do not."""

    exit_code = 5


class ResourceError(CrossanError, OSError):
    """Disk, memory or device did not suffice."""

    exit_code = 6


class BusyError(CrossanError, RuntimeError):
    """Another process holds what this one needs."""

    exit_code = 7


class RemoteError(CrossanError, OSError):
    """A remote refused, or did not answer however often it was tried."""

    exit_code = 8
