"""The first page: what is in production, what runs, what waits, and what the last nights did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from crossan.train.service.nights.rows import NightRow, TriggerRow
from crossan.train.service.queue.rows import ENDED, RunRow, State
from crossan.train.service.queue.slots import Usage
from crossan.train.service.registry import Alias, Model
from crossan.train.service.web.pages.figures import headline
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.traces import Progress
from crossan.train.service.web.pages.words import length

__all__ = ["Overview", "Production", "RunningRun", "Slot", "overview_page", "slots_of"]

_MOST_WAITING = 12


@dataclass(frozen=True, slots=True)
class Slot:
    """How much of one resource running runs use together."""

    name: str
    used: float
    total: float

    @property
    def percent(self) -> int:
        """Return the used part in percent."""
        return round(100 * min(self.used / self.total, 1)) if self.total else 0


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run that goes on, with how far it has come."""

    run: RunRow
    progress: Progress | None
    last_line: str
    """Of its log, empty where it has written nothing."""


@dataclass(frozen=True, slots=True)
class Production:
    """The model that answers."""

    model: Model
    alias: Alias
    loaded: int | None
    """Version that answers now, None while none does."""
    problem: str | None = None
    """Why another one answers, or none."""

    @property
    def figures(self) -> list[tuple[str, object]]:
        """Return what it is known by."""
        return headline(self.model.card)


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the first page shows."""

    slots: Sequence[Slot] = ()
    running: Sequence[RunningRun] = ()
    waiting: Sequence[RunRow] = ()
    """Queued runs and those that wait for another, the next one first."""
    ended: Sequence[RunRow] = ()
    nights: Sequence[NightRow] = ()
    """The newest first."""
    triggers: Sequence[TriggerRow] = ()
    production: Production | None = None
    others_waiting: int = field(default=0)
    """Runs that wait beside those of ``waiting``."""
    steps: Sequence[RunRow] = ()
    """Runs of the newest night, in the order in which they run."""


def overview_page(view: View, overview: Overview) -> str:
    """Return the first page."""
    timed = [one for one in overview.triggers if one.next_time is not None]
    upcoming = min(timed, key=lambda one: one.next_time or 0.0, default=None)
    shown = list(overview.waiting)[:_MOST_WAITING]
    latest = next(iter(overview.nights), None)
    return view.render(
        "overview",
        production=overview.production,
        latest=latest,
        under_way=_under_way(overview.steps, view.now),
        slots=overview.slots,
        upcoming=upcoming,
        running=overview.running,
        queue=shown,
        queue_more=len(overview.waiting) - len(shown) + overview.others_waiting,
        nights=overview.nights,
        ended=overview.ended,
    )


def _under_way(steps: Sequence[RunRow], now: float) -> str:
    """Return how far a night has come, empty where all its steps have ended."""
    position = next((at for at, run in enumerate(steps, 1) if run.state not in ENDED), None)
    if position is None:
        return ""
    run = steps[position - 1]
    step = f"Step {position} of {len(steps)}, {run.step}"
    if run.state in (State.RUNNING, State.STOPPING) and run.started is not None:
        return f"{step}, {run.state} for {length(now - run.started)}"
    return f"{step}, waits for its turn"


def slots_of(used: Usage, total: Usage) -> list[Slot]:
    """Return how much of each resource running runs use, without GPUs where there are none.

    Parameters
    ----------
    used, total
        What the queue has given, and all that there is.
    """
    slots = [
        Slot("Cores", used.cpus, total.cpus),
        Slot("Memory, GiB", used.memory_gib, round(total.memory_gib, 1)),
    ]
    return [*slots, Slot("GPUs", used.gpus, total.gpus)] if total.gpus else slots
