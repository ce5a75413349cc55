"""The list of nights, and the page of one."""

from __future__ import annotations

from collections.abc import Sequence

from crossan.train.service.nights.rows import NightRow
from crossan.train.service.queue.rows import RunRow, Step
from crossan.train.service.web.pages.figures import verdict_of
from crossan.train.service.web.pages.overview import RunningRun
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.words import flat

__all__ = ["night_page", "nights_page"]


def nights_page(view: View, nights: Sequence[NightRow], last: int | None) -> str:
    """Return the list of nights.

    Parameters
    ----------
    view
        Who looks.
    nights
        The newest first.
    last
        Number of the last one where there are older ones.
    """
    return view.render("nights", nights=nights, last=last)


def night_page(
    view: View, night: NightRow, steps: Sequence[RunRow], running: Sequence[RunningRun] = ()
) -> str:
    """Return the page of a night.

    Parameters
    ----------
    view
        Who looks.
    night
        Its row.
    steps
        Its runs, in the order in which they run.
    running
        Those of them that go on.
    """
    gate = next((run for run in steps if run.step is Step.GATE), None)
    return view.render(
        "night",
        night=night,
        steps=steps,
        running=running,
        verdict=None if gate is None else verdict_of(gate.result),
        unjudged="" if gate is None else gate.reason,
        spec=flat(night.spec),
    )
