"""The health of stores, which a process of ours looks up: the server itself loads no NumPy."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crossan.cache_schema import sha256_hex
from crossan.cache_schema.errors import CrossanError, ResourceError
from crossan.common.files import replace_unsynced
from crossan.common.refusals import make_folder
from crossan.train.service.nights.stores import StoreSighting

__all__ = ["StoreHealth"]

_logger = logging.getLogger(__name__)
_SECONDS = 120.0
_PROBLEM_CHARACTERS = 500


class StoreHealth:
    """What ``crossan cache info`` says of each version of each store, looked up once.

    Parameters
    ----------
    folder
        Where it is kept between restarts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._looked_up: set[str] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store-health")

    def of(self, store: StoreSighting) -> Mapping[str, Any] | None:
        """Return what is known of a store at its newest version.

        None says that a process looks it up now: ask again in a few seconds.
        """
        name = f"{sha256_hex(f'{store.path} {store.version} {store.digest}'.encode())}.json"
        file = self._folder / name
        try:
            known: dict[str, Any] = json.loads(file.read_bytes())
        except (OSError, ValueError):
            with self._lock:
                if name not in self._looked_up:
                    self._looked_up.add(name)
                    self._pool.submit(self._look_up, store.path, file)
            return None
        return known

    def stop(self) -> None:
        """End once the look in hand has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look_up(self, store: Path, file: Path) -> None:
        try:
            health = store_info(store)
            make_folder(self._folder)
            replace_unsynced(file, json.dumps(health).encode())
        except (CrossanError, OSError) as error:
            _logger.warning("the health of %s is not known: %s", store, error)
        finally:
            with self._lock:
                self._looked_up.discard(file.name)


def store_info(store: Path) -> dict[str, Any]:
    """Return what ``crossan cache info`` says of a store, or why it says nothing.

    Raises
    ------
    ResourceError
        The process could not be started, or took too long.
    """
    command = [sys.executable, "-P", "-m", "crossan", "cache", "info", str(store), "--json"]
    try:
        finished = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ResourceError(f"{store}: could not be looked at: {error}") from None
    if finished.returncode != 0:
        # Where it lies is nothing that every reader of the list has to know.
        problem = finished.stderr.strip().replace(str(store), store.name)
        return {"problem": problem[-_PROBLEM_CHARACTERS:]}
    info: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return info
