"""Files of foreign origin, read whole and checked before anything uses them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from crossan.cache_schema.canonical import LARGEST_FILE, parse_json
from crossan.cache_schema.errors import CrossanError, ResourceError
from crossan.common.refusals import CANNOT_WRITE

__all__ = ["json_value", "read_bounded", "read_json", "require_shape"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_MOST_PROBLEMS = 5
_MOST_SHOWN = 60
"""Characters of a name or value that a message shows."""


def read_bounded(path: Path, refused: type[CrossanError], most: int = LARGEST_FILE) -> bytes:
    """Return the bytes of a regular file that may be anything.

    A pipe or a device, which may block or never end, is refused unread.

    Parameters
    ----------
    path
        The file.
    refused
        What is raised where it is no such file.
    most
        Bytes that it may have.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is nothing at the path.
    ResourceError
        The system refuses to read it.
    CrossanError
        Of the class ``refused``: it is no regular file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        size = _size_of_regular(descriptor, path, refused)
        if size > most:
            raise refused(f"{path}: expected at most {most:,} bytes, found {size:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # No more than it had when it was opened: some files of the system never end, and a
            # writer may append to this one.
            return file.read(size) or b""
    except CrossanError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def read_json(path: Path, refused: type[CrossanError]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the JSON value that a file holds.

    Parameters
    ----------
    path
        The file.
    refused
        What is raised where it is no JSON.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is nothing at the path.
    ResourceError
        The system refuses to read it.
    CrossanError
        Of the class ``refused``: it is not JSON as `parse_json` takes it.
    """
    return json_value(read_bounded(path, refused), str(path), refused)


def json_value(data: bytes, where: str, refused: type[CrossanError]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the JSON value of some bytes, which ``where`` names in the error."""
    try:
        return parse_json(data)
    except ValueError as error:
        raise refused(f"{where}: expected one JSON object, found something else: {error}") from None


def require_shape(
    value: object, model: type[ModelT], where: str, refused: type[CrossanError]
) -> ModelT:
    """Return a value as an object of a pydantic class.

    Parameters
    ----------
    value
        What JSON can hold.
    model
        The class.
    where
        Name of the file, for the message.
    refused
        What is raised where the value does not fit.

    Raises
    ------
    CrossanError
        Of the class ``refused``. All that is wrong is named, up to five fields.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [_in_words(problem) for problem in error.errors(include_url=False)]
    more = len(problems) - _MOST_PROBLEMS
    listed = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; {more:,} more" if more > 0 else "")
    raise refused(f"{where}: not as crossan writes it: {listed}")


def _size_of_regular(descriptor: int, path: Path, refused: type[CrossanError]) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
        raise refused(f"{path}: expected a file, found {kind}")
    return status.st_size


def _unreadable(path: Path, error: OSError) -> OSError:
    """Return our error where the system refuses to read, and the one it gave for nothing there."""
    if error.errno not in CANNOT_WRITE - {errno.ENOTDIR}:
        return error
    return ResourceError(f"{path}: cannot be read: {error.strerror}")


def _in_words(problem: Any) -> str:  # noqa: ANN401 - pydantic's dict
    field = ".".join(map(str, problem["loc"])) or "the file"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{field:.{_MOST_SHOWN}}: {message}, found {problem['input']!r:.{_MOST_SHOWN}}"
