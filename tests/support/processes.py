"""Watching a command and its processes from outside: who they are, what they hold, and what they ask the kernel for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

_PERIOD_S = 0.05
_CALLS = "open,openat,openat2,creat,connect,bind,socket,sendto,sendmsg,execve"


def process_ids():
    """Return the ids of all processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def descendants(process):
    """Return the process ids of all living children of a process, and of theirs, parents first."""
    children = {}
    for one in process_ids():
        state, parent = _state_and_parent(one)
        if state not in ("", "Z"):
            children.setdefault(parent, []).append(one)
    found = [process]
    for known in found:
        found += children.get(known, [])
    return found[1:]


def is_alive(process):
    """Whether a process runs: one that has ended and was not waited for does not."""
    return _state_and_parent(process)[0] not in ("", "Z")


def _state_and_parent(process):
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # gone
        return "", 0
    return fields[0], int(fields[1])


def command_line(process):
    """Return what a process was started with, empty where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


class Watch:
    """Looks at a process and its descendants twenty times a second.

    ``tree_bytes`` is the most memory all of them had at once, shared pages
    divided among those that share them; ``process_bytes`` the most that one
    of them ever had; ``held_s`` says for how long at a stretch one process had
    a file below ``folder`` open, by path.
    """

    def __init__(self, process, folder):
        self._process, self._folder = process, str(folder)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._since = {}
        self.tree_bytes = self.process_bytes = 0
        self.held_s = Counter()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()

    def _look(self):
        while not self._is_over.wait(_PERIOD_S):
            processes = [self._process, *descendants(self._process)]
            self.tree_bytes = max(
                self.tree_bytes,
                sum(_kilobytes(one, "smaps_rollup", "Pss") for one in processes) * 1024,
            )
            most = max(_kilobytes(one, "status", "VmHWM") for one in processes) * 1024
            self.process_bytes = max(self.process_bytes, most)
            held = {
                (one, path)
                for one in processes
                for path in open_files(one)
                if path.startswith(self._folder)
            }
            self._note_held(held)

    def _note_held(self, held):
        now = time.monotonic()
        self._since = {key: self._since.get(key, now) for key in held}
        for (_, path), since in self._since.items():
            self.held_s[path] = max(self.held_s[path], now - since)


def open_files(process):
    """Return the paths that a process has open, none where it is gone."""
    try:
        return [str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:  # the process or a descriptor is gone: the next look will tell
        return []


def _kilobytes(process, file, name):
    try:
        found = re.search(
            rf"^{name}:\s*(\d+) kB", Path(f"/proc/{process}/{file}").read_text(), re.MULTILINE
        )
    except OSError:
        return 0
    return int(found[1]) if found else 0


def traced(command, log):
    """Return ``command`` so that what it and its children open, start and send lands in ``log``."""
    program = shutil.which("strace")
    assert program
    return [
        program,
        "-f",
        "--seccomp-bpf",
        "-y",
        "-s",
        "200",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(log),
        "--",
        *command,
    ]


def can_trace():
    """Whether strace is installed and this machine lets it trace."""
    program = shutil.which("strace")
    if program is None:
        return False
    tried = subprocess.run(
        [program, "-f", "--seccomp-bpf", "-e", "trace=openat", "true"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def read_trace(log):
    """Return what a trace says: opened files and failed attempts as paths, the rest as whole lines.

    Returns
    -------
    dict
        ``opened``: real paths, symbolic links followed; ``missed``: paths as
        asked for, relative ones joined to their folder; ``network``: lines of
        sockets and addresses other than local ones; ``started``: programs by path.
    """
    found = {"opened": set(), "missed": set(), "network": [], "started": []}
    unfinished = {}
    for line in Path(log).read_text(errors="replace").splitlines():
        process, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            unfinished[process] = call.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>", call)
        if resumed:
            call = unfinished.pop(process, "") + call[resumed.end() :]
        _note_call(call, line, found)
    return found


def _note_call(call, line, found):
    name = call.partition("(")[0]
    if name in ("open", "openat", "openat2", "creat"):
        real = re.search(r"\) = \d+<(.*)>$", call)
        asked = re.search(r'\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', call)
        if real:
            found["opened"].add(real[1].removesuffix(" (deleted)"))
        elif asked:
            found["missed"].add(os.path.normpath(Path(asked[1] or "/", asked[2])))
        else:
            found["network"].append(line)  # a form we cannot read must not pass for harmless
    elif name == "execve":
        found["started"] += re.findall(r'^execve\("([^"]*)".* = 0$', call)
    elif name == "socket":
        found["network"] += [] if "(AF_UNIX" in call else [line]
    elif name in ("connect", "bind", "sendto", "sendmsg"):
        is_local = (
            "sa_family=AF_UNIX" in call
            or "<UNIX" in call
            or ("<socket:" in call and "sa_family" not in call)
        )
        found["network"] += [] if is_local else [line]
