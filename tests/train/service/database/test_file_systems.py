"""Which file systems the database may lie on."""

from __future__ import annotations

from collections import namedtuple

import psutil
import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.database import Database
from crossan.train.service.database.file_systems import file_system_of

Mount = namedtuple("Mount", "mountpoint fstype")


def test_the_nearest_mount_above_a_folder_counts(tmp_path):
    mounts = {"/": "ext4", str(tmp_path): "xfs", str(tmp_path / "a"): "nfs4"}
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    assert file_system_of(tmp_path / "a" / "b", mounts) == "nfs4"
    assert file_system_of(tmp_path / "link", mounts) == "nfs4"
    assert file_system_of(tmp_path / "ab", mounts) == "xfs"
    assert file_system_of(tmp_path.parent, mounts) == "ext4"
    assert file_system_of(tmp_path, {}) == ""


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "9p", "fuse.sshfs", "fuse"]
)
def test_a_database_on_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    mounts = [Mount("/", "ext4"), Mount(str(tmp_path), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(UsageError, match=f"expected a folder on a disk of this machine, found one on {kind}") as caught:  # fmt: skip
        Database(tmp_path / "d")
    assert (
        caught.value.remedy
        == "Name a folder on a local disk for it: crossan serve --set local=FOLDER"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"])
def test_a_database_on_a_disk_of_this_machine_is_not(tmp_path, monkeypatch, kind):
    mounts = [Mount("/", "nfs"), Mount(str(tmp_path), kind)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    Database(tmp_path / "d").close()
    assert (tmp_path / "d").stat().st_size > 0
