"""Settings of a sweep that its trials do not read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crossan.cache_schema.errors import ConfigError
from crossan.common.console import note
from crossan.train.settings import RunSettings
from crossan.train.settings.unread import REMEDY, Unread, need_of, unread_settings

__all__ = ["settle_unread"]


def settle_unread(axes: Iterable[str], trials: Sequence[RunSettings], *, may_refuse: bool) -> None:
    """Refuse what no trial reads, as one training would, and say what only some of them read.

    Parameters
    ----------
    axes
        The settings that differ between trials.
    trials
        The settings of every trial.
    may_refuse
        Whether the trials have every value of every axis; else all is only said.

    Raises
    ------
    ConfigError
        No trial reads an axis, so all its values train the same; or a setting lacks in every trial
        what it needs.
    """
    for axis in axes:
        needs = [need_of(trial, axis) for trial in trials]
        if may_refuse and None not in needs:
            raise ConfigError(
                f"{axis}: expected an axis that some trial reads, found none: it needs {needs[0]}",
                remedy="Give what it needs, or an axis that is read",
            )
    unread = [{one.name: one for one in unread_settings(trial)} for trial in trials]
    everywhere = _in_all(unread)
    refused = [str(one) for one in everywhere if one.is_refused]
    if refused and may_refuse:
        raise ConfigError("\n  ".join(refused), remedy=REMEDY)
    for one in everywhere:
        note(str(one))
    partly = {name for of_trial in unread for name in of_trial} - {one.name for one in everywhere}
    if partly:
        note(f"read by some of the trials alone: {', '.join(sorted(partly))}")


def _in_all(unread: Sequence[dict[str, Unread]]) -> list[Unread]:
    """Return what every trial leaves unread, with the value that the first has."""
    first, *others = unread
    return [one for name, one in first.items() if all(name in other for other in others)]
