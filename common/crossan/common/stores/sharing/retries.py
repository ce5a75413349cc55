"""Trying again what a network or a server failed at."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from crossan.cache_schema.errors import CrossanError, RemoteError

__all__ = ["bucket_errors", "try_again_and_again", "web_errors"]

_MOST_TRIES = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0

Result = TypeVar("Result")
Errors = tuple[type[BaseException], ...]


def web_errors() -> tuple[Errors, Errors]:
    """Return the errors that another try changes nothing about, and those of which one may."""
    return (PermissionError,), (OSError,)


def bucket_errors() -> tuple[Errors, Errors]:
    """Return the same of the library obstore."""
    from obstore import exceptions

    final = (
        exceptions.PermissionDeniedError,
        exceptions.UnauthenticatedError,
        exceptions.InvalidPathError,
        exceptions.NotSupportedError,
        exceptions.NotFoundError,
        FileNotFoundError,
        PermissionError,
    )
    return final, (exceptions.BaseError, OSError)


def try_again_and_again(
    call: Callable[[], Result],
    *,
    what: str,
    where: str,
    errors: tuple[Errors, Errors],
    sleep: Callable[[float], object],
) -> Result:
    """Return what a call returns, which may fail nine times before.

    Between two tries is exponential back-off with full jitter, from 0.1 to 5 s.

    Parameters
    ----------
    call
        Asks the server once.
    what
        What it does, for messages.
    where
        The address, for messages.
    errors
        Those that end it at once, and those after which it is tried again.
    sleep
        Called with the seconds to wait.

    Raises
    ------
    RemoteError
        Ten tries failed, or one failed for good.
    """
    final, passing = errors
    wait = _FIRST_WAIT_S
    for number in range(1, _MOST_TRIES + 1):
        try:
            return call()
        except CrossanError:  # says already what is wrong, and some of them are an OSError
            raise
        except final as error:
            raise RemoteError(
                f"{where}: cannot {what}: {_first_line(error)}",
                remedy="Check the address, and the credentials such as AWS_ACCESS_KEY_ID",
            ) from error
        except passing as error:
            if number == _MOST_TRIES:
                raise RemoteError(
                    f"{where}: could not {what} in {number} tries: {_first_line(error)}",
                    remedy="Run the same command again",
                ) from error
            # Full jitter: clients that failed together do not come back together.
            sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
            wait = min(2 * wait, _LONGEST_WAIT_S)
    raise AssertionError("unreachable")


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
