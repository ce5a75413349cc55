"""Comparisons of runs, each made once by a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import BusyError, ConfigError, CrossanError, ResourceError
from crossan.train.service.queue.rows import State, Step, get_run
from crossan.train.service.server import Service

__all__ = ["Comparisons", "require_comparable"]

_SECONDS = 120.0
_MOST_KEPT = 64
_MOST_LINES = 6
"""Lines of a refusal that are passed on."""
_CLASS = re.compile(r"^\w+Error: ")
_TRAINED = {Step.TRAIN, Step.REFIT}


def require_comparable(service: Service, numbers: Sequence[int]) -> dict[int, Path]:
    """Return the run folders of some runs.

    Raises
    ------
    UsageError
        There is no such run.
    ConfigError
        There are fewer than two, or one is no training that has succeeded.
    """
    if len(numbers) < 2:
        raise ConfigError("run: expected two different runs or more")
    folders = {}
    for number in numbers:
        run = service.database.read(partial(get_run, run_id=number))
        if run.step not in _TRAINED or run.state is not State.SUCCEEDED:
            raise ConfigError(
                f"run {number}: expected a training that has succeeded, found {run.step}"
                f" {run.state}"
            )
        folders[number] = service.folder.output(number)
    return folders


class Comparisons:
    """Comparisons that were made. One is made at a time, others wait for it.

    Used by the thread of the server's loop alone.

    Parameters
    ----------
    most_waiting
        How many may be asked for at once, the one that is made among them.
    """

    def __init__(self, most_waiting: int = 8) -> None:
        self._most_waiting = most_waiting
        self._kept: OrderedDict[tuple[int, ...], dict[str, Any]] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def of(self, folders: Mapping[int, Path]) -> dict[str, Any]:
        """Return the comparison of some run folders, by the numbers of their runs.

        Raises
        ------
        BusyError
            Too many wait.
        ResourceError
            It takes too long.
        CrossanError
            The command refused, with its message.
        """
        key = tuple(folders)
        if key not in self._kept:
            if self._waiting >= self._most_waiting:
                raise BusyError(
                    f"compare: {self._waiting} comparisons wait", remedy="Ask again in a minute"
                )
            self._waiting += 1
            try:
                async with self._turn:
                    if key not in self._kept:
                        self._kept[key] = await _compared(folders)
            finally:
                self._waiting -= 1
        self._kept.move_to_end(key)
        comparison = self._kept[key]
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return comparison


async def _compared(folders: Mapping[int, Path]) -> dict[str, Any]:
    arguments = [f"run {number}={folder}" for number, folder in folders.items()]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crossan", "compare", *arguments, "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        printed, said = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        raise ResourceError(
            f"compare: expected an answer within {_SECONDS:g} s, found none",
            remedy=f"crossan compare {' '.join(arguments)}",
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise _refusal(said.decode(errors="replace"), folders)
    comparison = json.loads(printed, parse_constant=lambda _: None)
    if not isinstance(comparison, dict):
        raise CrossanError("compare: expected an object, found something else")
    return comparison


def _refusal(said: str, folders: Mapping[int, Path]) -> ConfigError:
    """Return what the command said as an error, with runs named by their numbers."""
    for number, folder in folders.items():
        said = said.replace(str(folder), f"run {number}")
    lines = [line.strip() for line in said.strip().splitlines()] or ["it said nothing"]
    # The first line begins with the name of the error's class.
    message = "\n".join([_CLASS.sub("", lines[0]), *lines[1:_MOST_LINES]])
    return ConfigError(f"compare: {message}")
