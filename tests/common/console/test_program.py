"""What people and scripts see: exit codes without a traceback, progress with an ETA."""

import errno
import os
import sys
from pathlib import Path

import pytest
import typer

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    CrossanError,
    DataError,
    IncompatibleError,
    ResourceError,
    StoreIntegrityError,
    StoreNotFoundError,
)
from crossan.common import console
from crossan.common.console import (
    Column,
    Progress,
    explains_options,
    live,
    note,
    print_table,
    print_text,
    progress,
    run_command,
)


def run(command, monkeypatch, arguments=()):
    monkeypatch.setattr("sys.argv", ["prog", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(command, "prog")
    return stopped.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 2),
        (StoreNotFoundError, 2),
        (DataError, 3),
        (StoreIntegrityError, 4),
        (IncompatibleError, 5),
        (ResourceError, 6),
        (BusyError, 7),
    ],
)
def test_our_errors_become_exit_codes_without_a_traceback(error, code, monkeypatch, capsys):
    def command() -> None:
        raise error("expected this, found that", remedy="Run: mend it")

    assert run(command, monkeypatch) == code
    assert (
        capsys.readouterr().err == f"{error.__name__}: expected this, found that\n  Run: mend it\n"
    )


def test_an_error_of_ours_is_also_the_fitting_builtin():
    assert issubclass(StoreNotFoundError, FileNotFoundError)
    assert issubclass(ConfigError, ValueError)
    assert str(CrossanError("what")) == "what"


def test_anything_else_is_a_bug_and_keeps_its_traceback(monkeypatch):
    def command() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(KeyError, match="a bug"):
        run_command(command, "prog")


def test_interruption_is_130(monkeypatch, capsys):
    def command() -> None:
        raise KeyboardInterrupt

    assert run(command, monkeypatch) == 130
    assert "interrupted; what was finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    "number",
    [
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EFBIG,
        errno.EIO,
        errno.ESTALE,
        errno.EMFILE,
    ],
)
def test_a_path_that_the_system_refuses_is_6_and_named(number, monkeypatch, capsys):
    def command() -> None:
        raise OSError(number, os.strerror(number), "some/where")

    assert run(command, monkeypatch) == 6
    assert capsys.readouterr().err == (
        f"ResourceError: some/where: the system refuses this path: {os.strerror(number)}\n"
    )


def test_a_folder_in_the_place_of_a_file_is_6(monkeypatch, capsys, tmp_path):
    def command() -> None:
        tmp_path.read_text()

    assert run(command, monkeypatch) == 6
    assert str(tmp_path) in capsys.readouterr().err


def test_a_folder_that_was_removed_meanwhile_is_6(monkeypatch, capsys, tmp_path):
    def command() -> None:
        (tmp_path / "gone" / "file").write_text("x")

    assert run(command, monkeypatch) == 6
    assert capsys.readouterr().err == (
        f"ResourceError: {tmp_path}/gone/file: the folder {tmp_path}/gone is not there any more\n"
    )


def test_a_working_folder_that_was_removed_is_6(monkeypatch, capsys, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    def command() -> None:
        Path("x").absolute()

    assert run(command, monkeypatch) == 6
    assert "the working folder is not there any more" in capsys.readouterr().err


def test_what_somebody_else_has_put_where_a_folder_was_to_be_made_is_6(
    monkeypatch, capsys, tmp_path
):
    def command() -> None:
        tmp_path.mkdir()

    assert run(command, monkeypatch) == 6
    assert f"{tmp_path}: expected nothing there yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "a socket"),
        PermissionError(errno.EPERM, "no process"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
    ],
)
def test_an_os_error_that_is_no_refusal_of_a_path_keeps_its_traceback(error, monkeypatch):
    def command() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(OSError, match=error.strerror):
        run_command(command, "prog")


def test_memory_that_does_not_suffice_is_6(monkeypatch, capsys):
    def command() -> None:
        raise MemoryError("unable to allocate 2.24 GiB")

    assert run(command, monkeypatch) == 6
    assert "the memory is full: unable to allocate 2.24 GiB" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        OSError(errno.ENOMEM, "can't allocate memory"),
    ],
)
def test_so_is_what_torch_and_the_system_say_of_it(error, monkeypatch, capsys):
    def command() -> None:
        raise error

    assert run(command, monkeypatch) == 6
    said = capsys.readouterr().err
    assert "ResourceError: the memory is full: " in said
    assert "can't allocate memory" in said


def test_another_error_of_torch_keeps_its_traceback(monkeypatch):
    def command() -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("sys.argv", ["prog"])
    with pytest.raises(RuntimeError, match="odd"):
        run_command(command, "prog")


def test_a_full_disk_is_6_and_says_how_much_is_free(monkeypatch, capsys, tmp_path):
    def command() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    assert run(command, monkeypatch) == 6
    assert "bytes free on its disk; what was published before is kept" in capsys.readouterr().err


def test_a_wrong_flag_is_2(monkeypatch, capsys):
    def command(name: str = typer.Option("x")) -> None:
        del name

    assert run(command, monkeypatch, ["--nmae", "y"]) == 2
    assert capsys.readouterr().err == (
        "UsageError: --nmae: no such option; did you mean '--name'?\n  Run: prog --help\n"
    )


def test_success_is_0_and_json_is_the_last_line_of_stdout(monkeypatch, capsys):
    def command() -> None:
        console.note("for people")
        console.print_json({"größe": 1})

    assert run(command, monkeypatch) == 0
    captured = capsys.readouterr()
    assert captured.out == '{"größe": 1}\n'
    assert captured.err == "for people\n"


def test_progress_says_rate_and_eta_after_two_seconds(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 10.0, 11.0])
    monkeypatch.setattr(live, "monotonic", lambda: next(clock))
    shown = Progress("extract text", 100, "items")
    shown.advance(5)  # one second in: quiet
    shown.advance(15)  # 20 items in 10 s: 2 a second, 80 left
    shown.advance(1)  # too soon after the last line
    shown.close()
    assert capsys.readouterr().err == "extract text: 20/100 items, 2.0/s, ETA 0:40\n"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--size", "3"], "--size: no such option; try three: 3"),
        (["--size=3"], "--size: no such option; try three: 3"),
        (["--size"], "--size: no such option; try three: None"),
        (["--size", "--fast"], "--size: no such option; try three: None"),
        (["--is_fast"], "--is_fast: no such option; did you mean '--is-fast'?"),
        (["--zzz"], "--zzz: no such option"),
    ],
)
def test_a_command_explains_an_option_that_it_does_not_have(typed, message, monkeypatch, capsys):
    def explain(option, value):
        return f"try three: {value}" if option in {"--size", "--is_fast"} else None

    @explains_options(explain)
    def command(is_fast: bool = False) -> None:
        pass

    assert run(command, monkeypatch, typed) == 2
    assert capsys.readouterr().err == f"UsageError: {message}\n  Run: prog --help\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_closed_stream_is_no_reason_to_fail(name, is_refused, monkeypatch):
    def command() -> None:
        note("for people")
        print_table([Column("item")], [["i1"]])
        print_text("a result")
        with progress("work", 1, "items") as shown:
            shown.advance(1)
        if is_refused:
            raise DataError("expected this, found that")

    monkeypatch.setattr(sys, name, None)
    assert run(command, monkeypatch) == (3 if is_refused else 0)
    getattr(sys, name).close()
