"""What the system refuses to write: one error that names the file, whatever its number."""

import errno
import os
from pathlib import Path

import pytest

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.files import (
    create_exclusively,
    fsync_folder,
    move,
    remove_durably,
    replace_durably,
    write_durably,
)
from crossan.common.refusals import (
    CANNOT_WRITE,
    blaming,
    can_write,
    make_folder,
    refuse_dangling,
    require_writable,
)


@pytest.mark.parametrize("number", sorted(CANNOT_WRITE), ids=errno.errorcode.get)
def test_a_refusal_names_the_file_and_keeps_its_number(number, tmp_path):
    with (
        pytest.raises(ResourceError, match=r"journal\.log") as refused,
        blaming(tmp_path / "journal.log"),
    ):
        raise OSError(number, os.strerror(number))
    assert (refused.value.errno, refused.value.exit_code) == (number, 6)
    assert refused.value.filename == str(tmp_path / "journal.log")


@pytest.mark.parametrize("write", [replace_durably, create_exclusively, write_durably])
def test_where_nothing_can_be_made_it_is_6(write):
    # The kernel says that the file is not there, whatever is to be made in this folder.
    with pytest.raises(ResourceError, match="cannot write /proc/new: nothing can be made there"):
        write(Path("/proc/new"), b"1")
    for folder in (Path("/proc/new"), Path("/proc/new/below")):
        with pytest.raises(ResourceError, match=f"cannot write {folder}: "):
            make_folder(folder)


@pytest.mark.parametrize("write", [replace_durably, create_exclusively, write_durably])
def test_a_folder_removed_meanwhile_is_6_and_named(write, tmp_path):
    with pytest.raises(ResourceError, match=rf"a/b/new: {tmp_path} has no a in it"):
        write(tmp_path / "a" / "b" / "new", b"1")
    with pytest.raises(ResourceError, match="removed meanwhile"):
        fsync_folder(tmp_path / "a")
    (tmp_path / "old").touch()
    with pytest.raises(ResourceError, match=rf"a/new: {tmp_path} has no a in it"):
        move(tmp_path / "old", tmp_path / "a" / "new")


def test_what_another_process_has_moved_or_removed_is_told_from_a_refusal(tmp_path):
    with pytest.raises(FileNotFoundError) as gone:
        move(tmp_path / "old", tmp_path / "new")
    assert not isinstance(gone.value, ResourceError)
    remove_durably(tmp_path / "old")
    remove_durably(tmp_path / "a" / "old")


def test_the_inner_of_two_blocks_names_the_file(tmp_path):
    with (
        pytest.raises(ResourceError, match="inner"),
        blaming(tmp_path / "outer"),
        blaming(tmp_path / "inner"),
    ):
        raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize("write", [replace_durably, create_exclusively, write_durably])
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_the_file_the_user_knows_is_named_and_nothing_is_left(write, call, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(f"crossan.common.files.os.{call}", refuse)
    with pytest.raises(ResourceError) as refused:
        write(tmp_path / "result.json", b"12345")
    monkeypatch.undo()
    assert f"no space left while writing {tmp_path}/result.json: " in refused.value.message
    left = [path.name for path in tmp_path.iterdir()]
    # A new file under its own name is the caller's to remove: nobody else can know it.
    assert left == ([] if write is not write_durably or call == "open" else ["result.json"])


def test_a_refused_rename_keeps_both(tmp_path, monkeypatch):
    (tmp_path / "old").write_text("before")

    def refuse(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("os.replace", refuse)
    monkeypatch.setattr("os.rename", refuse)
    with pytest.raises(ResourceError, match=r"cannot write .*old: Stale"):
        replace_durably(tmp_path / "old", b"after")
    with pytest.raises(ResourceError, match=r"cannot write .*new: Stale"):
        move(tmp_path / "old", tmp_path / "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "before")]


def test_a_link_that_leads_nowhere_is_named_with_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path / "link" / "deeper"):
        for check in (refuse_dangling, make_folder, require_writable):
            with pytest.raises(UsageError, match=r"link leads to .*/nowhere, which is not there"):
                check(path)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UsageError, match=r"round leads to .*/round, which is not there"):
        make_folder(tmp_path / "round")
    (tmp_path / "nowhere").mkdir()
    refuse_dangling(tmp_path / "link")
    make_folder(tmp_path / "link" / "deeper")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(ResourceError, match="expected a folder"):
            make_folder(path)
        with pytest.raises(ResourceError, match="expected a folder") as refused:
            require_writable(path, "--out runs/x")
        assert f"{tmp_path}/file is a file" in refused.value.message
        assert not can_write(path)
    assert can_write(tmp_path)
    assert can_write(tmp_path / "not" / "yet" / "there")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ResourceError, match=r"--cache c: .* cannot be written to"):
        require_writable(tmp_path / "c", "--cache c")


def test_names_that_no_system_takes_are_6(tmp_path):
    with pytest.raises(ResourceError, match="File name too long"):
        make_folder(tmp_path / ("x" * 300))
