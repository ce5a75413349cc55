"""The main program of a worker process, which reads items until the job is gone."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import Modality
from crossan.common.children import end_with_parent
from crossan.extract.workers.item import DecodeOrder, ItemReader
from crossan.extract.workers.wire import Arrays, Closed, receive, send

__all__ = ["main"]

_NICE = 5
"""A forward that waits for a core costs more than a decoder that does."""


def main() -> None:
    """Serve the socket that the command line names.

    The first argument is the socket's descriptor, the second the process id of the job.
    """
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _end_with(parent)
    with socket.socket(fileno=descriptor) as connection:
        # A pickle, which is safe because it comes from our own job.
        with Connection(os.dup(descriptor)) as first:
            reader, seconds, memory_bytes = first.recv()
        reader.load_decoders()
        _limit_memory(memory_bytes)
        try:
            send(connection, {"ready": True})
            while True:
                header, _ = receive(connection)
                _limit_seconds(seconds)
                send(connection, *_answer(reader, header))
        except Closed:
            return


def _answer(reader: ItemReader, header: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    begun = time.perf_counter()
    modalities = tuple(Modality(name) for name in header["modalities"])
    order = DecodeOrder(Path(header["path"]), header["digest"], modalities)
    # Any other error is a bug. It ends the process, and the job shows the traceback.
    try:
        outcomes = reader.read(order)
    except ResourceError as error:
        return {"no_resource": [error.message, error.remedy]}, {}
    answers = {
        modality.value: {
            "status": outcome.status.value,
            "reason": outcome.reason,
            "notes": list(outcome.notes),
            "inputs": None if outcome.inputs is None else list(outcome.inputs),
        }
        for modality, outcome in outcomes.items()
    }
    arrays = {
        f"{modality.value}/{name}": array
        for modality, outcome in outcomes.items()
        for name, array in (outcome.inputs or {}).items()
    }
    return {"outcomes": answers, "seconds": time.perf_counter() - begun}, arrays


def _end_with(parent: int) -> None:
    """Die when the job does, and only then."""
    # Ctrl-C and SIGTERM are the job's to answer: it still wants the items in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent(parent)
    os.nice(_NICE)
    # Crashes of decoders are expected, and their core files would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_memory(memory_bytes: int) -> None:
    """Let allocations fail beyond this much more memory than the process has now."""
    # Of data, not of address space, which libraries reserve far beyond what they use.
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    used = next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:")
    )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def _limit_seconds(seconds: float) -> None:
    """Let the system end the process, by SIGXCPU, after this much more computing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # The limit is a whole number of seconds: rounded up, so that no item gets less than promised.
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))
