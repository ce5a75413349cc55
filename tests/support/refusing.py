"""A file system that refuses to be written from a chosen call on."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager
from pathlib import Path

NUMBERS = [
    errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE, errno.EPERM,
    errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
]  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ON_PATHS = ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "utime")
_ON_DESCRIPTORS = ("write", "fsync", "ftruncate")


class Refusals:
    """The calls so far that write below a folder, and which of them are refused.

    Parameters
    ----------
    root
        The folder; calls elsewhere are let through.
    first, last
        Numbers of the first and last call to refuse, from 1 on.
    number
        What the system answers, see `errno`.
    """

    def __init__(self, root, first, last, number):
        self.root, self.first, self.last, self.number = str(root), first, last, number
        self.count = 0
        self._descriptors = set()

    def _pass(self, shown):
        self.count += 1
        if self.first <= self.count <= self.last:
            raise OSError(self.number, os.strerror(self.number), shown)

    def on_path(self, call):
        def checked(path, *rest, **named):
            if self._is_below(path):
                self._pass(path)
            return call(path, *rest, **named)

        return checked

    def on_descriptor(self, call):
        def checked(descriptor, *rest):
            if descriptor in self._descriptors:
                self._pass(None)
            return call(descriptor, *rest)

        return checked

    def on_open(self, call):
        def checked(path, flags, *rest, **named):
            is_ours = bool(flags & _WRITING) and self._is_below(path)
            if is_ours:
                self._pass(path)
            descriptor = call(path, flags, *rest, **named)
            (self._descriptors.add if is_ours else self._descriptors.discard)(descriptor)
            return descriptor

        return checked

    def on_file(self, call):
        def checked(path, mode="r", *rest, **named):
            if set(mode) & set("wax+") and self._is_below(path):
                self._pass(path)
            return call(path, mode, *rest, **named)

        return checked

    def _is_below(self, path):
        return isinstance(path, str | os.PathLike) and str(Path(path).absolute()).startswith(
            self.root
        )


@contextmanager
def refusing(monkeypatch, root, first, last=10**9, number=errno.EROFS):
    """Refuse calls of this process that write below a folder; yield the `Refusals`."""
    refusals = Refusals(Path(root).absolute(), first, last, number)
    with monkeypatch.context() as patch:
        for name in _ON_PATHS:
            patch.setattr(os, name, refusals.on_path(getattr(os, name)))
        for name in _ON_DESCRIPTORS:
            patch.setattr(os, name, refusals.on_descriptor(getattr(os, name)))
        patch.setattr(os, "open", refusals.on_open(os.open))
        patch.setattr(io, "open", refusals.on_file(io.open))
        yield refusals
