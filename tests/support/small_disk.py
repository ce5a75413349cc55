"""A small file system in memory, which can be full or refuse to be written."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest


class SmallDisk:
    """A mounted file system of a few MiB."""

    def __init__(self, folder):
        self.folder = folder

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)

    def fill(self):
        """Take all the room that is left."""
        with (self.folder / "filling").open("ab", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self):
        (self.folder / "filling").unlink()


@pytest.fixture
def small_disk(tmp_path):
    """Return a `SmallDisk` of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system in memory takes root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a file system in memory here: {mounted.stderr.decode()}")
    yield SmallDisk(folder)
    # Lazily: a process that a failed test left may hold it.
    subprocess.run(["umount", "-l", folder], check=True)
