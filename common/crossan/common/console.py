"""Speaking to people: results on stdout, everything else on stderr, errors as exit codes.

Nothing here imports more than typer and rich, so that ``--help`` stays fast.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from crossan.cache_schema.errors import CrossanError, ResourceError

__all__ = ["Progress", "note", "print_json", "progress", "run_app", "run_command"]

_SECONDS_BETWEEN_PLAIN_LINES = 5.0
_INTERRUPTED_EXIT_CODE = 130
_INTERRUPTED = "interrupted; what was finished is kept, and the same command goes on (crossan-train: with --resume)"


def note(message: str) -> None:
    """Print one line for people on stderr."""
    print(message, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print ``value`` as the one JSON line on stdout that ``--json`` promises."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


class Progress:
    """Count work done and say now and then how fast it goes and how long it will take.

    On a terminal the line is rewritten in place; elsewhere one plain line
    appears every few seconds. Nothing is printed for work under two seconds.

    Parameters
    ----------
    label
        What is being done, for example ``"extract video"``.
    total
        How many units there are in all.
    unit
        Name of one unit in the plural, for example ``"items"``.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._start = time.monotonic()
        self._printed_at = self._start
        self._is_terminal = sys.stderr.isatty()
        self._has_open_line = False

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Add ``count`` finished units and print when it is time to."""
        self._done += count
        now = time.monotonic()
        wait = 0.2 if self._is_terminal else _SECONDS_BETWEEN_PLAIN_LINES
        if now - self._start < 2.0 or now - self._printed_at < wait:
            return
        self._printed_at = now
        self._print(now, detail)

    def close(self) -> None:
        """End a line that is still being rewritten."""
        if self._has_open_line:
            print(file=sys.stderr, flush=True)
            self._has_open_line = False

    def _print(self, now: float, detail: str) -> None:
        rate = self._done / max(now - self._start, 1e-9)
        remaining = (self._total - self._done) / rate if rate > 0 else float("inf")
        line = f"{self._label}: {self._done:,}/{self._total:,} {self._unit}, {rate:,.1f}/s, ETA {_clock(remaining)}"
        if detail:
            line = f"{line}, {detail}"
        if self._is_terminal:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
            self._has_open_line = True
        else:
            note(line)


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Yield a `Progress` and close its line however the block ends."""
    shown = Progress(label, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a Typer app as the program ``name``, turning our errors into exit codes without a traceback.

    SIGTERM is raised as `SystemExit` with code 143, so ``finally`` blocks run.
    """
    signal.signal(signal.SIGTERM, _raise_exit_on_terminate)
    try:
        app(prog_name=name, standalone_mode=True)
    except CrossanError as error:
        note(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        note(_INTERRUPTED)
        sys.exit(_INTERRUPTED_EXIT_CODE)
    except SystemExit as stop:  # Typer turns Ctrl-C inside a command into its exit code
        if stop.code == _INTERRUPTED_EXIT_CODE:
            note(_INTERRUPTED)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        full = disk_full_error(error)
        if full is None:
            raise
        note(f"ResourceError: {full}")
        sys.exit(full.exit_code)
    sys.exit(0)


def run_command(command: Callable[..., Any], name: str) -> NoReturn:
    """Run one function as the whole program ``name``."""
    app = typer.Typer(**app_settings())
    app.command(name=name)(command)
    run_app(app, name)


def app_settings() -> dict[str, Any]:
    """Return the settings every Typer app of ours is made with."""
    return {
        "no_args_is_help": False,
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": None,
    }


def disk_full_error(error: OSError) -> ResourceError | None:
    """Return our error for a full disk or quota, None for any other `OSError`."""
    import errno
    from pathlib import Path

    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    from crossan.common.files import disk_full

    return disk_full(Path(str(error.filename)) if error.filename else Path.cwd())


def _raise_exit_on_terminate(signal_number: int, frame: object) -> NoReturn:
    del frame
    raise SystemExit(128 + signal_number)
