"""Running a command as a program: its errors become exit codes without a traceback."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from crossan.cache_schema.errors import CrossanError, ResourceError
from crossan.common.console.commands import add_command, app_settings
from crossan.common.console.errors import as_usage_error, print_error
from crossan.common.console.lasting import lost_output, make_streams_last
from crossan.common.console.messages import note

__all__ = ["Version", "resource_error", "run_app", "run_command"]

_INTERRUPTED_EXIT_CODE = 130
_INTERRUPTED = (
    "interrupted; what was finished is kept, and the same command goes on"
    " (crossan-train: with --resume)"
)


def _print_version(is_given: bool) -> None:
    if is_given:
        from importlib.metadata import version

        print(version("crossan"))
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=_print_version,
        is_eager=True,
        expose_value=False,
        help="Print the version.",
    ),
]


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a Typer app as the program ``name``.

    Our errors end it with their exit codes, without a traceback; a wrong
    command line with 2. SIGTERM is raised as `SystemExit` with code 143, so
    ``finally`` blocks run.
    """
    with _exit_codes():
        sys.exit(typer.main.get_command(app).main(prog_name=name, standalone_mode=False) or 0)


def run_command(command: Callable[..., Any], name: str) -> NoReturn:
    """Run one function as the whole program ``name``, as `run_app` does."""
    app = typer.Typer(**(app_settings() | {"add_completion": True}))
    add_command(app, name)(command)
    program = typer.main.get_command(app)
    program.params.append(_version_option())
    with _exit_codes():
        sys.exit(program.main(prog_name=name, standalone_mode=False) or 0)


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn what ends a program into its exit code, and print it without a traceback."""
    signal.signal(signal.SIGTERM, _raise_exit_on_terminate)
    make_streams_last()
    try:
        # typer turns Ctrl-C inside a command into its exit code, and returns that of `typer.Exit`
        yield
    except CrossanError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except typer.TyperException as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # whose help is printed already
            print_error(as_usage_error(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        note(_INTERRUPTED)
        sys.exit(_INTERRUPTED_EXIT_CODE)
    except SystemExit as stop:  # what a command raised itself, its signals among them
        if stop.code == _INTERRUPTED_EXIT_CODE:
            note(_INTERRUPTED)
        if not stop.code:
            _require_printed()
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        ours = resource_error(error)
        if ours is None:
            raise
        print_error(ours)
        sys.exit(ours.exit_code)


def _require_printed() -> None:
    """End with the exit code of a full disk where a command's result was not printed in whole."""
    failure = lost_output()
    if failure is not None:
        print_error(
            ResourceError(f"stdout: the result is not printed in whole: {failure.strerror}")
        )
        sys.exit(ResourceError.exit_code)


def resource_error(error: OSError | MemoryError | RuntimeError) -> ResourceError | None:
    """Return our error for one that the user can mend, None for any other.

    The disk, a quota or the memory is full, or the system refuses a path: no
    right to it, a read-only disk, a file where a folder is needed or the other
    way round. So is a folder that was removed while the command ran, and what
    somebody else has put where a new file or folder was to be made. The memory
    is that of the machine or of a device.
    """
    from pathlib import Path

    from crossan.common.memory import first_line, ran_out_of_memory
    from crossan.common.refusals import CANNOT_WRITE, disk_full

    if ran_out_of_memory(error):
        return ResourceError(f"the memory is full: {first_line(error)}")
    if not isinstance(error, OSError):
        return None
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return disk_full(Path(str(error.filename)) if error.filename else Path.cwd())
    if isinstance(error, FileNotFoundError | FileExistsError):
        return _changed_meanwhile(error)
    # Without a path it is about something else, for example a socket or another process.
    if error.errno in CANNOT_WRITE and error.filename:
        return ResourceError(f"{error.filename}: the system refuses this path: {error.strerror}")
    return None


def _changed_meanwhile(error: FileNotFoundError | FileExistsError) -> ResourceError | None:
    """Return the error for a path whose surroundings changed, None where a file is missing.

    What a command expects to be there it checks itself: a file missing from a folder that is
    there is a mistake of ours, and keeps its traceback.
    """
    from pathlib import Path

    try:
        Path.cwd()
    except FileNotFoundError:
        return ResourceError(
            "the working folder is not there any more", remedy="Change to a folder that is there"
        )
    if not isinstance(error.filename, str):
        return None
    if isinstance(error, FileExistsError):
        return ResourceError(
            f"{error.filename2 or error.filename}: expected nothing there yet, found a file or"
            " folder that another process has put there",
            remedy="Move it away, then run the same command again",
        )
    folder = Path(error.filename).parent
    if folder.exists():
        return None
    return ResourceError(f"{error.filename}: the folder {folder} is not there any more")


def _takes_version(version: Version = False) -> None:
    """Stand for any command: typer makes the option from a function that has it."""


def _version_option() -> Any:  # noqa: ANN401 - a class that typer does not export
    app = typer.Typer(add_completion=False)
    app.command()(_takes_version)
    return typer.main.get_command(app).params[0]


def _raise_exit_on_terminate(signal_number: int, frame: object) -> NoReturn:
    del frame
    raise SystemExit(128 + signal_number)
