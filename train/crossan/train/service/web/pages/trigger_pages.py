"""The triggers, and what is asked before one goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossan.train.service.nights.rows import NightRow, TriggerRow
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.trigger_words import rule_of
from crossan.train.service.web.pages.words import flat

__all__ = ["remove_page", "triggers_page"]

_NEXT_WORDS = {
    "cron": "not set yet",
    "store": "when a store changes",
    "log": "when there are enough",
}


def triggers_page(
    view: View, triggers: Sequence[TriggerRow], nights: Mapping[int, NightRow]
) -> str:
    """Return the page of all triggers.

    Parameters
    ----------
    view
        Who looks.
    triggers
        By their names.
    nights
        The last night of each, by its number.
    """
    return view.render(
        "triggers",
        triggers=[
            {
                "trigger": one,
                "rule": rule_of(one.spec),
                "dataset": one.spec.night.dataset,
                "next_words": _NEXT_WORDS[one.spec.kind],
                "did": _did(one, nights),
                "spec": flat(one.spec.night.model_dump(mode="json")),
            }
            for one in triggers
        ],
    )


def remove_page(view: View, trigger: TriggerRow) -> str:
    """Return the question whether a trigger is to go."""
    return view.render(
        "confirm",
        heading=f"Remove the trigger {trigger.name}?",
        lines=[f"No night begins {rule_of(trigger.spec)} any more. What its nights did stays."],
        columns=[],
        rows=[],
        action=f"/triggers/{trigger.name}/remove",
        fields=[],
        button=f"Remove {trigger.name}",
        is_danger=True,
        back="/triggers",
    )


def _did(trigger: TriggerRow, nights: Mapping[int, NightRow]) -> str:
    """Return what a trigger did last: what its night did, else why none began."""
    night = None if trigger.last_night is None else nights.get(trigger.last_night)
    if night is None:
        return trigger.last_reason
    return night.summary or f"{night.reason}; the night is {night.state}"
