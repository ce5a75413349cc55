"""Answers from the version that the alias ``production`` names, whatever moves or dies meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from crossan.cache_schema.errors import (
    CrossanError,
    IncompatibleError,
    ResourceError,
    UsageError,
)
from crossan.common.refusals import make_folder
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.recommender.wire import WireError
from crossan.train.service.registry import Registry
from crossan.train.service.serving.latency import Latency, Stopwatch
from crossan.train.service.serving.process import PROGRAM, RecommenderProcess, remove_left_behind
from crossan.train.service.specs import PRODUCTION

__all__ = ["Serving", "UnavailableError"]

_LOOK_SECONDS, _LOOK_SECONDS_WHILE_STARTING = 0.5, 0.05
_PATIENCE_SECONDS = 5.0
"""For which a request waits for a model that is being loaded."""
_ANSWER_SECONDS = 30.0
"""After which a recommender that has not answered counts as hung."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
"""Seconds before a recommender that did not start is started again."""
_ERRORS: dict[int, type[CrossanError]] = {2: UsageError, 5: IncompatibleError}


class UnavailableError(ResourceError):
    """No model answers right now."""


class Serving:
    """Asks the process that has the model in production.

    A new version is loaded beside the one that answers, and takes over once it can answer. The one
    before stays loaded, so that a rollback takes over at once.

    Parameters
    ----------
    registry, folder
        Of the service.
    program
        What answers.
    """

    def __init__(
        self,
        registry: Registry,
        folder: ServiceFolder,
        *,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._registry, self._sockets, self._program = registry, folder.sockets, program
        self._changed = threading.Condition()
        self._current: RecommenderProcess | None = None
        self._before: RecommenderProcess | None = None
        self._starting: RecommenderProcess | None = None
        self._leaving: list[RecommenderProcess] = []
        self._wanted: int | None = None
        self._problem: str | None = None
        self._pause, self._start_at = _FIRST_PAUSE, 0.0
        self._wake, self._is_stopped = threading.Event(), False
        self._stopwatch = Stopwatch()
        self._thread = threading.Thread(target=self._follow, name="serving", daemon=True)

    def start(self) -> None:
        """Begin to follow the alias."""
        make_folder(self._sockets)
        self._sockets.chmod(0o700)
        remove_left_behind(self._sockets)
        self._registry.on_move(self._wake.set)
        self._wanted = self._version_wanted()
        self._thread.start()

    def stop(self) -> None:
        """End all processes."""
        self._is_stopped = True
        self._wake.set()
        self._thread.join()
        with self._changed:
            processes = [self._current, self._before, self._starting, *self._leaving]
            self._current = self._before = self._starting = None
            self._leaving.clear()
            self._changed.notify_all()
        for process in processes:
            if process is not None:
                process.end()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the model in production.

        Parameters
        ----------
        request
            ``user`` or ``history``, ``top``, ``mask_history`` (``all`` or ``none``), and ``new``,
            0 where it is left out.

        Returns
        -------
        dict
            ``version`` of the model, ``items`` (``item_id``, ``title``, ``score``), and ``unknown``
            items of the history.

        Raises
        ------
        UsageError
            No such user, or no item that the model knows.
        IncompatibleError
            The model cannot answer such a request.
        UnavailableError
            No model is in production, or it does not answer.
        """
        begin = time.monotonic()
        try:
            answer = self._ask(request, begin + _PATIENCE_SECONDS)
        except UnavailableError:
            self._stopwatch.add_failure()
            raise
        self._stopwatch.add(time.monotonic() - begin)
        error = answer.get("error")
        if error is not None:
            kind = _ERRORS.get(error.get("exit_code"), ResourceError)
            raise kind(error["message"], remedy=error["remedy"])
        return answer

    def loaded(self) -> int | None:
        """Return the version that answers, None where none does."""
        current = self._current
        return None if current is None else current.version

    def problem(self) -> str | None:
        """Return why the version in production is not the one that answers, None where it is."""
        return self._problem

    def latency(self) -> Latency:
        """Return how long answers took so far."""
        return self._stopwatch.read()

    def about(self) -> dict[str, Any]:
        """Return what the process that answers says of itself: items, users, state of the data.

        Raises
        ------
        UnavailableError
            None answers.
        """
        return self._ask({"about": True}, time.monotonic())

    def _ask(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        tried: RecommenderProcess | None = None
        while True:
            process = self._held(tried, deadline)
            try:
                return process.ask(request, _ANSWER_SECONDS)
            except WireError:
                # It has died, and another one takes over. No request changes anything, so it may
                # be asked again.
                tried = process
                self._wake.set()
            except TimeoutError:
                process.end(at_once=True)
                self._wake.set()
                raise UnavailableError(
                    f"the model in production did not answer within {_ANSWER_SECONDS:g} seconds",
                    remedy="Send the request again in a few seconds",
                ) from None
            finally:
                process.let_go()

    def _held(self, tried: RecommenderProcess | None, deadline: float) -> RecommenderProcess:
        """Return the process that answers, once there is one that was not tried."""
        with self._changed:
            while (current := self._current) is None or current is tried:
                if self._wanted is None or self._is_stopped:
                    raise UnavailableError(
                        "no model is in production",
                        remedy="Promote one: crossan models ls, then crossan models promote",
                    )
                if not self._changed.wait(deadline - time.monotonic()):
                    problem = self._problem or f"version {self._wanted} is being loaded"
                    raise UnavailableError(
                        f"the model in production does not answer: {problem}",
                        remedy="Send the request again in a few seconds, or go back to the version"
                        " before: crossan models rollback",
                    )
            current.hold()
            return current

    def _follow(self) -> None:
        while not self._is_stopped:
            try:
                self._step()
            except CrossanError as error:
                self._fail(error.message)
            is_starting = self._starting is not None
            self._wake.wait(_LOOK_SECONDS_WHILE_STARTING if is_starting else _LOOK_SECONDS)
            self._wake.clear()

    def _step(self) -> None:
        """Bring what runs one step closer to what the alias names."""
        wanted = self._version_wanted()
        if wanted != self._wanted:
            self._pause, self._start_at = _FIRST_PAUSE, 0.0
        self._wanted = wanted
        self._drop_dead()
        current, before, starting = self._current, self._before, self._starting
        if starting is not None and starting.version != wanted:
            starting.end()
            self._starting = starting = None
        if wanted is None or (current is not None and current.version == wanted):
            if wanted is None:
                self._take_over(None)
            self._problem = None
        elif before is not None and before.version == wanted:
            self._take_over(before)
        elif starting is not None:
            if starting.is_ready():
                self._starting = None
                self._take_over(starting)
        elif time.monotonic() >= self._start_at:
            model = self._registry.verify(wanted)
            self._starting = RecommenderProcess(
                self._sockets, model.served_run, wanted, self._program
            )
        self._end_idle()

    def _version_wanted(self) -> int | None:
        alias = self._registry.alias(PRODUCTION)
        return None if alias is None else alias.version

    def _take_over(self, process: RecommenderProcess | None) -> None:
        """Have all requests from now on answered by a process; those under way end where they are."""
        with self._changed:
            # Before the process is seen to answer: whoever sees that sees no problem either.
            self._problem, self._pause, self._start_at = None, _FIRST_PAUSE, 0.0
            last, self._current = self._current, process
            if self._before is not None and self._before is not process:
                self._leaving.append(self._before)
            self._before = last
            self._changed.notify_all()

    def _drop_dead(self) -> None:
        """Forget processes that have ended by themselves."""
        for process in (self._current, self._before, self._starting):
            if process is None or process.is_alive:
                continue
            reason = process.last_words() or "it was killed"
            with self._changed:
                if process is self._current:
                    self._current = None
                elif process is self._before:
                    self._before = None
                else:
                    self._starting = None
                    self._fail(f"version {process.version} does not start: {reason}")
            process.end(at_once=True)

    def _fail(self, problem: str) -> None:
        """Remember what is wrong, and wait before the next try."""
        self._problem = problem
        self._start_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _end_idle(self) -> None:
        for process in list(self._leaving):
            if process.is_idle:
                self._leaving.remove(process)
                process.end()
