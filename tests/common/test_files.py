"""Low-level file promises."""

import errno

import pytest

from crossan.common.files import blaming


def test_a_full_disk_gets_the_name_of_its_file(tmp_path):
    def write_to_a_descriptor():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="journal.log"), blaming(tmp_path / "journal.log"):
        write_to_a_descriptor()


def test_a_name_already_there_is_kept(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(FileExistsError, match="other"), blaming(tmp_path / "journal.log"):
        (tmp_path / "other").mkdir()
