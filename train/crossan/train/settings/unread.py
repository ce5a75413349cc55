"""Settings that a run has and that nothing of it reads.

A value other than the default that nothing reads is refused where a run begins, or said there. It
is refused where it lacks another setting of its group, as ``cosine_floor`` without
``cosine_epochs``: both are one choice. It is said where other kinds of model read it, as some do
``adapter_lr``, or other tunings of backbones: one file of settings and one sweep may serve several
of them. `crossan.train.settings.readers` is the table.

What the classes themselves refuse is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import Settings, toml_value
from crossan.train.settings.readers import RULES, Rule
from crossan.train.settings.run import RunSettings
from crossan.train.settings.run_defaults import run_defaults_of

__all__ = ["REMEDY", "Unread", "need_of", "require_read", "unread_settings"]

REMEDY = "Give what it needs as well, or train without it: crossan-train --allow-unread"


@dataclass(frozen=True, slots=True)
class Unread:
    """A setting that a run has and that nothing of it reads."""

    name: str
    """Dotted name."""

    value: object

    needs: str
    """What would read it."""

    is_refused: bool
    """Whether no run begins with it, unless the user allows that."""

    def __str__(self) -> str:
        """Return the setting, and what it needs."""
        # From Python a setting may be None, which TOML has no value for.
        value = "None" if self.value is None else toml_value(self.value)
        return f"{self.name}={value} is not read: it needs {self.needs}"


def unread_settings(run: RunSettings) -> list[Unread]:
    """Return the settings that have another value than their default and that nothing reads."""
    return [
        Unread(name, getattr(*_owner_of(run, name)), rule.needs, rule.is_refused)
        for name, rule in _unread_names(run).items()
        if not _is_default(run, name)
    ]


def need_of(run: RunSettings, name: str) -> str | None:
    """Return what a setting needs to be read, None where the run reads it."""
    rule = _unread_names(run).get(name)
    return None if rule is None else rule.needs


def require_read(run: RunSettings) -> None:
    """Refuse the settings that no run should begin with, as nothing reads them.

    Raises
    ------
    ConfigError
        There are some; all are named.
    """
    refused = [str(unread) for unread in unread_settings(run) if unread.is_refused]
    if refused:
        raise ConfigError("\n  ".join(refused), remedy=REMEDY)


def _unread_names(run: RunSettings) -> dict[str, Rule]:
    """Return every setting that nothing reads, with the first rule that says so."""
    names: dict[str, Rule] = {}
    for rule in RULES:
        if not rule.are_read(run):
            for name in _settings_of(run, rule.names):
                names.setdefault(name, rule)
    return names


def _settings_of(run: RunSettings, names: Sequence[str]) -> Iterator[str]:
    """Yield the settings of a rule that the run has; its kind of model may lack some."""
    for name in names:
        owner, last = _owner_of(run, name)
        if last not in type(owner).model_fields:
            continue
        value = getattr(owner, last)
        if isinstance(value, Settings):
            yield from (f"{name}.{field}" for field in type(value).model_fields)
        else:
            yield name


def _owner_of(run: RunSettings, name: str) -> tuple[Settings, str]:
    """Return the group that a setting is in, and the last part of its name."""
    *groups, last = name.split(".")
    owner: Settings = run
    for group in groups:
        owner = getattr(owner, group)
    return owner, last


def _is_default(run: RunSettings, name: str) -> bool:
    """Whether a setting has the value that it has where nobody names it."""
    owner, last = _owner_of(run, name)
    of_field = type(owner).model_fields[last].get_default(call_default_factory=True)
    of_kind = run_defaults_of(run.model.kind).get(name, of_field)
    return getattr(owner, last) in (of_field, of_kind)
