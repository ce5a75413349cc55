"""Streams that outlast whoever reads them, so that the work is done in any case."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["lost_output", "make_streams_last"]

_NOBODY_READS = {errno.EBADF, errno.ECONNRESET, errno.ENXIO, errno.EPIPE}
"""What a write answers where nobody is there to read, which is no failure of ours."""


class _LastingFile(io.RawIOBase):
    """A descriptor whose writes never fail.

    After the first that the system refuses, the descriptor leads to nowhere.

    Parameters
    ----------
    descriptor
        Of stdout or stderr; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_terminal = os.isatty(descriptor)
        self.failure: OSError | None = None
        """The error by which output was lost, None where nobody was there to read it."""

    def writable(self) -> bool:
        """Return that it can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what the system takes, or drop it where it takes no more."""
        view = memoryview(data)
        count = len(view)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                # Another process has made the pipe that we share one that does not wait.
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._go_nowhere(error)
                break
        return count

    def _go_nowhere(self, error: OSError) -> None:
        # A terminal that is gone answers EIO, as a broken disk does.
        is_gone = self._is_terminal and error.errno == errno.EIO
        if not is_gone and error.errno not in _NOBODY_READS:
            self.failure = error
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, self._descriptor)
        os.close(null)


def make_streams_last() -> None:
    """Let this process's stdout and stderr take every character and every write.

    What an encoding lacks is written as an escape. A stream that was closed at
    the start, or that loses its reader, leads to nowhere.
    """
    _open_closed_descriptors()
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream: TextIO | None = getattr(sys, name)
        is_standard = stream is getattr(sys, f"__{name}__")
        if stream is None or is_standard:
            lasting = _lasting(number, stream)
            setattr(sys, name, lasting)
            if is_standard:
                setattr(sys, f"__{name}__", lasting)
        elif isinstance(stream, io.TextIOWrapper):
            # Somebody's own, such as a test's: its writes are theirs.
            stream.reconfigure(errors="backslashreplace")


def lost_output() -> OSError | None:
    """Return the error by which a part of stdout was lost, None where all of it was taken.

    A reader that went away, as ``head`` does, has lost nothing that it wanted.
    """
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.failure if isinstance(raw, _LastingFile) else None


def _open_closed_descriptors() -> None:
    """Open what the process was started without, as by ``>&-``, for nothing.

    Otherwise the next file that is opened would get the number of a standard
    stream, and what any library prints would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)


def _lasting(descriptor: int, stream: TextIO | None) -> TextIO:
    # Python has None in the place of a stream whose descriptor was closed.
    if stream is not None:
        stream.flush()
    raw = _LastingFile(descriptor)
    # PYTHONUNBUFFERED asks for streams without a buffer, as logs of containers do.
    is_unbuffered = getattr(stream, "write_through", False)
    buffer: Any = raw if is_unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is None or getattr(stream, "line_buffering", False),
        write_through=is_unbuffered,
    )
