"""Which queued runs may begin, as far as their datasets and their turn go."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from crossan.train.service.queue.rows import State, Step
from crossan.train.service.queue.slots import Usage

__all__ = ["Activity", "Candidate", "Patience", "activity_of", "candidates", "newcomers"]

WRITERS = frozenset({Step.UPDATE, Step.EXTRACT})
"""Steps that write a dataset or its stores, which nobody else may read meanwhile."""

PATIENCE_SECONDS = 600.0
"""For so long others may pass a run whose part is not free."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What choosing needs to know of a run that has not ended."""

    id: int
    night_id: int | None
    dataset: str
    step: Step
    state: State
    part: Usage
    has_started: bool

    @property
    def is_writer(self) -> bool:
        """Whether its step writes its dataset or a store of it."""
        return self.step in WRITERS


_COLUMNS = "id, night_id, dataset, step, state, cpus, memory_gib, gpus, started"


def candidates(connection: sqlite3.Connection) -> list[Candidate]:
    """Return the runs that have not ended: first those to be tried again, then by their number."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM runs"  # noqa: S608 - our own text
        " WHERE state IN (?, ?, ?, ?) ORDER BY attempt = 0, id",
        (State.WAITING, State.QUEUED, State.RUNNING, State.STOPPING),
    )
    return [_candidate(row) for row in rows]


def newcomers(connection: sqlite3.Connection, above: int) -> list[Candidate]:
    """Return the queued runs with a number above another, by their number."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM runs"  # noqa: S608 - our own text
        " WHERE state = ? AND id > ? ORDER BY id",
        (State.QUEUED, above),
    )
    return [_candidate(row) for row in rows]


def _candidate(row: sqlite3.Row) -> Candidate:
    return Candidate(
        id=row["id"],
        night_id=row["night_id"],
        dataset=row["dataset"],
        step=Step(row["step"]),
        state=State(row["state"]),
        part=Usage(row["cpus"], row["memory_gib"], row["gpus"]),
        has_started=row["started"] is not None,
    )


class Activity:
    """What goes on with each dataset.

    A night that writes a dataset or its stores has it for itself: until it has ended no other night
    writes there, and nobody else reads while it writes.

    Parameters
    ----------
    connection
        Of the database.
    runs
        Those that have not ended, as `candidates` returns them.
    """

    def __init__(self, connection: sqlite3.Connection, runs: Iterable[Candidate]) -> None:
        self._writing: dict[str, set[int]] = {}
        self._under_way: dict[str, set[int]] = {}
        self._patient: dict[str, set[int]] = {}
        nights: dict[int, str] = {}
        for run in runs:
            if run.has_started:
                self.begin(run)
            if run.night_id is not None:
                nights[run.night_id] = run.dataset
        # Between two of its steps nothing of a night has started and not ended, and yet it goes on.
        for night_id, dataset in nights.items():
            has_begun = connection.execute(
                "SELECT 1 FROM runs WHERE night_id = ? AND started IS NOT NULL LIMIT 1", (night_id,)
            ).fetchone()
            if has_begun:
                self._under_way.setdefault(dataset, set()).add(night_id)

    def begin(self, run: Candidate) -> None:
        """Count a run among those that go on."""
        self._under_way.setdefault(run.dataset, set()).add(_party(run))
        if run.is_writer:
            self._writing.setdefault(run.dataset, set()).add(_party(run))

    def hold(self, run: Candidate) -> None:
        """Let nobody new on to the dataset of a run that has waited too long to write it."""
        self._patient.setdefault(run.dataset, set()).add(_party(run))

    def allows(self, run: Candidate) -> bool:
        """Whether a queued run may begin as far as its dataset goes."""
        ours = {_party(run)}
        under_way = self._under_way.get(run.dataset, set())
        if run.is_writer:
            return not under_way - ours
        is_new = not under_way & ours
        held_for = self._patient.get(run.dataset, set()) if is_new else set()
        return not (self._writing.get(run.dataset, set()) | held_for) - ours


def _party(run: Candidate) -> int:
    """Return who has a dataset for a run, which is its night, or minus its number for a lone one."""
    return -run.id if run.night_id is None else run.night_id


def activity_of(connection: sqlite3.Connection) -> tuple[list[Candidate], Activity]:
    """Return the runs that have not ended, and what goes on with their datasets."""
    runs = candidates(connection)
    return runs, Activity(connection, runs)


class Patience:
    """How long runs have been passed by others, on the clock that nobody sets."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def note_passed(self, run_id: int, now: float) -> bool:
        """Note that a run's part is not free, and return whether its patience has ended."""
        return now - self._since.setdefault(run_id, now) > PATIENCE_SECONDS

    def has_ended(self, now: float) -> bool:
        """Return whether the patience of some run has ended."""
        # Runs are noted as time goes by, so the first one has waited for longest.
        longest = next(iter(self._since.values()), now)
        return now - longest > PATIENCE_SECONDS

    def forget(self, run_id: int) -> None:
        """Count a run as passed no more."""
        self._since.pop(run_id, None)

    def keep_only(self, run_ids: Iterable[int]) -> None:
        """Forget all runs but these."""
        kept = set(run_ids)
        self._since = {run_id: since for run_id, since in self._since.items() if run_id in kept}
