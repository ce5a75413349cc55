"""Runs one attempt and outlives the server that started it: ``python -I -S shim.py FOLDER``.

A script of its own, which needs the standard library alone and imports little of it, since one
stands beside each running program. It reads ``job.json`` of the attempt's folder, keeps the limits
in it, and writes ``outcome.json`` once no process of the attempt lives any more.
"""

# pathlib and typing are slow to import, and one shim stands beside each running program.
# ruff: noqa: PTH100, PTH110, PTH116, PTH118, PTH120, PTH123

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crossan.train.service.executors import attempt_files, process_tree
else:
    # A script does not see its package, which imports much. Last on the path, no file of ours
    # hides a module of Python's.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import attempt_files
    import process_tree

_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_MOST_OUTPUT = 64 * 2**20
"""Bytes of output that are kept."""
_TAIL = 16 * 2**10
"""Bytes of the end of the output that the error message is taken from."""
_LINGER_SECONDS = 1.0
"""What a program leaves behind may end by itself for so long, as helpers of multiprocessing do."""
_LOOK_SECONDS = 0.5


class Shim:
    """One attempt, from its first process to its last.

    Parameters
    ----------
    folder
        The attempt's folder.
    job
        What ``job.json`` holds.
    """

    def __init__(self, folder: str, job: dict[str, Any]) -> None:
        self._folder, self._job = folder, job
        self._log = os.open(
            os.path.join(folder, "output.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666
        )
        os.dup2(self._log, 2)  # where a traceback of this script goes
        self._wakeup, wakeup_end = os.pipe()
        self._output, self._output_end = os.pipe()
        for descriptor in (self._wakeup, wakeup_end, self._output):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakeup_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._stop("cancelled"))
        self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        self._kept = self._dropped = self._peak = 0
        self._tail = b""
        self._reason = ""
        self._exit_code: int | None = None
        self._memory = process_tree.Memory()
        self._kill_at = float("inf")
        self._beat_seen = 0
        self._started = self._last_sign = self._next_look = time.monotonic()
        self._program = 0

    def run(self) -> None:
        """Start the program, watch it until nothing of it lives, and write how it ended."""
        try:
            self._program = _start(self._job["argv"], self._output_end)
        except OSError as error:
            self._exit_code = 127
            os.write(self._output_end, f"error: no process can be started: {error}\n".encode())
        os.close(self._output_end)
        if self._program and self._reason:
            os.kill(self._program, signal.SIGTERM)  # asked to stop while it was starting
        while self._reap():
            now = time.monotonic()
            is_killing = now >= self._kill_at
            if is_killing:
                process_tree.kill_descendants()
            self._poll.poll(20 if is_killing else 1000 * max(0.0, self._next_look - now) + 1)
            self._read_wakeups()
            self._read_output()
            if now >= self._next_look:
                self._next_look = now + _LOOK_SECONDS
                self._look(now)
        self._read_output()
        if self._dropped:
            self._note_dropped()
        self._write_outcome(time.monotonic() - self._started)

    def _reap(self) -> bool:
        """Take the exit codes of all that ended, and return whether a process is left.

        Whatever descends from this process becomes its child once its parent has ended, so without
        children there are no descendants either.
        """
        try:
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    return True
                if process == self._program:
                    self._exit_code = os.waitstatus_to_exitcode(status)
                    self._kill_at = min(self._kill_at, time.monotonic() + _LINGER_SECONDS)
        except ChildProcessError:
            return False

    def _stop(self, reason: str, *, at_once: bool = False) -> None:
        """Have the attempt end for a reason, the first one given."""
        if self._reason or self._exit_code is not None:
            return
        self._reason = reason
        # After SIGTERM a training writes a checkpoint, for which it gets some time.
        self._kill_at = time.monotonic() + (0.0 if at_once else self._job["grace_seconds"])
        if self._program and not at_once:
            os.kill(self._program, signal.SIGTERM)

    def _look(self, now: float) -> None:
        """Compare the attempt with its limits."""
        if os.path.exists(os.path.join(self._folder, "stop")):
            self._stop("cancelled")
        if self._exit_code is not None or self._reason:
            return
        # Times are compared with themselves alone: the clock may be set while a run goes on.
        try:
            beat = os.stat(os.path.join(self._folder, "heartbeat")).st_mtime_ns
        except OSError:
            beat = 0
        if beat != self._beat_seen:
            self._beat_seen, self._last_sign = beat, now
        limit = self._job["memory_bytes"]
        memory = self._memory.look(limit)
        self._peak = max(self._peak, memory)
        if memory > limit:
            self._stop("too much memory", at_once=True)
        elif now - self._started > self._job["seconds"]:
            self._stop("too long")
        elif now - self._last_sign > self._job["silent_seconds"]:
            self._stop("silent")

    def _read_wakeups(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakeup, 1000)

    def _read_output(self) -> None:
        """Move what the program printed to the log, and drop what is past its bound."""
        while self._output >= 0:
            try:
                text = os.read(self._output, 2**18)
            except BlockingIOError:
                return
            if not text:
                # Every process has closed its end; some may live all the same.
                self._poll.unregister(self._output)
                os.close(self._output)
                self._output = -1
                return
            self._last_sign = time.monotonic()
            self._tail = (self._tail + text)[-_TAIL:]
            kept = text[: max(0, _MOST_OUTPUT - self._kept)]
            self._append(kept)
            self._kept += len(kept)
            self._dropped += len(text) - len(kept)

    def _append(self, text: bytes) -> None:
        """Add to the log; a full disk ends no program."""
        written = 0
        try:
            while written < len(text):
                written += os.write(self._log, text[written:])
        except OSError:
            self._dropped += len(text) - written

    def _note_dropped(self) -> None:
        self._append(
            b"\n[crossan: %d bytes of output were not kept; the last ones follow]\n" % self._dropped
        )
        self._append(self._tail)

    def _write_outcome(self, seconds: float) -> None:
        has_failed = self._exit_code != 0 or bool(self._reason)
        outcome = {
            "reason": self._reason or "exited",
            "exit_code": self._exit_code,
            "seconds": round(seconds, 3),
            "peak_memory_bytes": self._peak,
            "message": attempt_files.error_lines(self._tail) if has_failed else "",
        }
        # Nobody else knows how the attempt ended: wait for room on a full disk.
        while True:
            try:
                attempt_files.write_once(
                    os.path.join(self._folder, "outcome.json"), json.dumps(outcome)
                )
                return
            except FileNotFoundError:
                return  # the whole folder is gone, and nobody waits for it
            except OSError:
                time.sleep(1.0)


def _start(argv: list[str], output: int) -> int:
    """Start the program in the environment of this process, and return its process id."""
    # Before the program has begun, this script's handler would take SIGTERM, and lose it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = os.fork()
        if process == 0:
            _become(argv, output, mask)
        return process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _become(argv: list[str], output: int, mask: set[int | signal.Signals]) -> None:
    """Be the program, and never come back."""
    try:
        os.setsid()  # a program that signals its process group means its own processes
        # Python ignores some signals, and a program would go on to ignore them.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        # Where the machine runs out of memory, a program ends rather than the server.
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
        os.execvp(argv[0], argv)  # noqa: S606 - one of our commands, without a shell
    except OSError as error:
        os.write(2, f"error: {argv[0]} cannot be started: {error}\n".encode())
    finally:
        os._exit(127)


def main(folder: str) -> None:
    """Detach from the server, take the attempt, and run it.

    Only the first process that takes it may run it. The server takes an attempt in the same way
    once it gives it up, so a shim that was late cannot start a second program.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    start = int(process_tree.read_stat(os.getpid())[19])
    identity = json.dumps({"pid": os.getpid(), "start": start, "boot": boot})
    with open(os.path.join(folder, "job.json")) as file:
        job = json.load(file)
    os.chdir(folder)
    shim = Shim(folder, job)
    if not attempt_files.write_once(os.path.join(folder, "shim.json"), identity):
        return
    with suppress(OSError):  # the server has ended meanwhile: it finds shim.json when it is back
        os.write(1, identity.encode())
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, 0)
    os.dup2(empty, 1)
    shim.run()
    os._exit(0)  # at once: whoever reads the outcome expects nothing of the attempt to live


if __name__ == "__main__":
    main(sys.argv[1])
