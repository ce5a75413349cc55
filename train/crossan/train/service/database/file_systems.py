"""Whether a folder lies on a file system that SQLite's write-ahead log can use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

from crossan.cache_schema.errors import UsageError

__all__ = ["file_system_of", "require_local"]

_REMOTE = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
}  # fmt: skip


def require_local(folder: Path) -> None:
    """Refuse a folder on a network file system.

    The write-ahead log needs memory that all its processes share, and locks that hold, which
    such a file system gives to one machine at most.

    Raises
    ------
    UsageError
        It lies on one.
    """
    mounts = {
        partition.mountpoint: partition.fstype for partition in psutil.disk_partitions(all=True)
    }
    kind = file_system_of(folder, mounts)
    if kind in _REMOTE or kind.startswith("fuse"):
        raise UsageError(
            f"--data {folder}: expected a folder on a disk of this machine, found one on {kind}:"
            " SQLite's write-ahead log is not safe there",
            remedy="Name a folder on a local disk for it: crossan serve --set local=FOLDER",
        )


def file_system_of(folder: Path, mounts: Mapping[str, str]) -> str:
    """Return the type of the file system that a folder lies on, empty where nothing tells.

    Parameters
    ----------
    folder
        An existing folder.
    mounts
        The type of the file system at each mount point.
    """
    real = folder.resolve()
    for candidate in (real, *real.parents):
        if str(candidate) in mounts:
            return mounts[str(candidate)]
    return ""
