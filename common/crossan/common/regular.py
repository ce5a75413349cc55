"""Open the regular files of a real file system, and nothing that waits or never ends."""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from io import BufferedReader
from pathlib import Path

from crossan.cache_schema.errors import DataError

__all__ = ["SpecialFileError", "open_regular"]

_KERNEL_FILE_SYSTEMS = {
    *("autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs"),
    *("devpts", "efivarfs", "functionfs", "fusectl", "mqueue", "nsfs", "pipefs", "proc", "pstore"),
    *("rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sockfs", "sysfs", "tracefs"),
}
"""Their files are made up by the kernel as they are read, and some wait or never end."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class SpecialFileError(DataError):
    """A path names something other than a regular file.

    Parameters
    ----------
    path
        As it was given.
    kind
        What lies there, in words: a folder, a pipe, a socket, a device or a kernel's file.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(f"{path}: expected a regular file, found {kind}")
        self.kind = kind


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, through links, without ever waiting for a writer.

    Raises
    ------
    SpecialFileError
        Not a regular file, or one of ``/proc``, ``/sys`` and the like.
    OSError
        No file, or none that may be read.
    """
    # Before the open, which for some devices is an act in itself.
    try:
        status = path.stat()
    except ValueError:
        # A NUL in the name: no file can have it.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    _require_regular(path, status)
    # O_NONBLOCK, because a pipe may have taken the file's place meanwhile, and opening one waits.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SpecialFileError(path, _KINDS.get(stat.S_IFMT(status.st_mode), "something else"))
    # The files of /proc say that they are regular, and empty: only the file system tells.
    if status.st_dev in _kernel_devices():
        raise SpecialFileError(path, "a file that the kernel makes up")


@cache
def _kernel_devices() -> frozenset[int]:
    """Return the device numbers of the kernel's own file systems."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        # A system without /proc has none of its files either.
        return frozenset()
    devices = set()
    for line in lines:
        # "36 35 0:22 / /proc rw - proc proc rw": the type follows a lone dash (proc(5)).
        mount, _, about = line.partition(" - ")
        if about.split(" ", 1)[0] in _KERNEL_FILE_SYSTEMS:
            major, _, minor = mount.split(" ")[2].partition(":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
