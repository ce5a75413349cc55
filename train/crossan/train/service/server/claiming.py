"""A data folder that one server at a time works in."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from crossan.cache_schema.errors import BusyError, CrossanError
from crossan.common.claim import claim, refresh, release

__all__ = ["FolderClaim"]

_LOG = logging.getLogger("crossan.service")
_SECONDS = 3600.0
"""Between two signs that the server works; others wait for a day without one."""


class FolderClaim:
    """The claim of this process on a data folder, until `stop`.

    Parameters
    ----------
    folder
        The data folder.

    Raises
    ------
    BusyError
        Another server works in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="claim", daemon=True)
        try:
            claim(folder, "serves")
        except BusyError:
            raise BusyError(
                f"--data {folder}: another server works in this folder",
                remedy=f"crossan runs ls --data {folder}",
            ) from None

    def start(self) -> None:
        """Go on to show others that this process works."""
        self._thread.start()

    def stop(self) -> None:
        """Let others have the folder."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        release(self._folder)

    def _refresh(self) -> None:
        while not self._end.wait(_SECONDS):
            try:
                refresh(self._folder)
            except (CrossanError, OSError) as error:
                _LOG.error("the claim on the data folder could not be renewed: %s", error)
