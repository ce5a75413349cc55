"""A program on a terminal of its own, and what it wrote there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def run_in_terminal(arguments, *, columns=80, stdout=None, **environment):
    """Run a command whose stdin, stdout and stderr are a terminal; return exit code and output.

    Parameters
    ----------
    stdout
        A file that gets stdout instead of the terminal.
    environment
        Variables beside those of this process; TERM is xterm, and no other asks for colours or
        forbids them.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
    }
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=kept | {"TERM": "xterm"} | environment,
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(), written.decode()


def run_script_in_terminal(script, **how):
    """Run Python text on a terminal; return its output once it has ended well."""
    code, written = run_in_terminal([sys.executable, "-c", script], **how)
    assert code == 0, written
    return written


def lines_of(written):
    """Return the lines of an output without colours; one drawn anew counts each time."""
    return [line for line in re.split(r"[\r\n]+", _SEQUENCES.sub("", written)) if line.strip()]
