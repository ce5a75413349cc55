"""``python -m crossan.train.service.recommender SOCKET RUN --version N``."""

from __future__ import annotations

import argparse
import os
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import note
from crossan.train.service.recommender.batching import Batches
from crossan.train.service.recommender.listening import listen
from crossan.train.service.recommender.opening import Answering, open_answering
from crossan.train.service.recommender.watching import DataOfRun

_WATCH_SECONDS = 1.0
_RETRY_SECONDS = 30.0
"""Until data that could not be opened are tried again, should they not have changed."""


class _Recommender:
    """One run, opened anew beside whenever its data have changed."""

    def __init__(self, run: Path, version: int) -> None:
        self._run, self._version = run, version
        self._data = DataOfRun(run)
        self._current: Answering = open_answering(run, self._data.state())
        self._problem: str | None = None
        self._batches = Batches(lambda: self._current)
        threading.Thread(target=self._follow, name="watch", daemon=True).start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request of `crossan.train.service.serving`."""
        if request.get("about"):
            current = self._current
            return {
                "version": self._version,
                "items": len(current.item_rows),
                "users": current.histories.user_count,
                "state": current.state,
                "problem": self._problem,
            }
        return {"version": self._version, **self._batches.answer(request)}

    def _follow(self) -> None:
        """Open the run on its data as they are now, whenever they have changed."""
        tried, tried_at = self._current.state, time.monotonic()
        while True:
            time.sleep(_WATCH_SECONDS)
            try:
                state = self._data.state()
                is_new = state != self._current.state
                is_due = state != tried or time.monotonic() - tried_at > _RETRY_SECONDS
                if is_new and is_due:
                    tried, tried_at = state, time.monotonic()
                    # Whoever is answered meanwhile is answered by the old one, and it is let go
                    # once nobody is.
                    self._current = open_answering(self._run, state)
                    note(f"version {self._version}: reads the data as they are now")
                if not is_new or is_due:
                    self._problem = None
            except CrossanError as error:
                if self._problem != error.message:
                    note(f"version {self._version}: answers from earlier data: {error}")
                self._problem = error.message
            except Exception:  # noqa: BLE001 - whatever it is, the opened state goes on to answer
                traceback.print_exc()


def _end_with_parent(parent: int) -> None:
    """End this process where the server that started it has ended."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(0)


def main() -> None:
    """Answer until the server ends this process, or ends itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--version", type=int, required=True)
    arguments = parser.parse_args()
    parent = os.getppid()
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    listen(arguments.socket, _Recommender(arguments.run, arguments.version).answer)


if __name__ == "__main__":
    try:
        main()
    except CrossanError as error:
        # The last line of the log is what the server tells of a recommender that does not start.
        note(error.message if error.remedy is None else f"{error.message}\n  {error.remedy}")
        raise SystemExit(error.exit_code) from None
