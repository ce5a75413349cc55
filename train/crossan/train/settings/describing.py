"""Every setting of a run, as the settings classes themselves describe it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic_core import to_jsonable_python

from crossan.cache_schema.errors import UsageError
from crossan.common.config import Setting, Settings, group_of, nearest, settings_in, toml_value
from crossan.train.settings.allowed import allowed_values
from crossan.train.settings.paper import Paper
from crossan.train.settings.run import RunSettings
from crossan.train.settings.run_defaults import run_defaults_of

__all__ = [
    "Description",
    "Section",
    "as_records",
    "default_text",
    "describe_settings",
    "model_kinds",
]

_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Description:
    """One setting for people."""

    name: str
    """Dotted name, as ``--set`` takes it."""

    default: Any
    """The default as JSON has it, None where there is none."""

    is_required: bool
    """Whether it must be given."""

    allowed: str
    """The values that it takes."""

    meaning: str
    """Its docstring, on one line."""

    paper: Paper | None
    """What the paper says of it, None where it says nothing."""

    models: tuple[str, ...] = ()
    """The kinds of model that have it, empty outside the group of the model."""


@dataclass(frozen=True, slots=True)
class Section:
    """The settings of one group."""

    name: str
    """The group's dotted name, empty for settings outside every group."""

    meaning: str
    """What the group is about, empty where its kinds differ in that."""

    settings: tuple[Description, ...]

    kinds: tuple[tuple[str, str], ...] = ()
    """Each kind of the group and what it is, where settings of several kinds are in it."""

    def models_text(self, described: Description) -> str:
        """Return the kinds of model that have one of the settings, ``all`` for all of them."""
        kinds = tuple(kind for kind, _ in self.kinds)
        return "all" if described.models == kinds else ", ".join(described.models)


def describe_settings(model: str | None = None, run: type[Settings] = RunSettings) -> list[Section]:
    """Return every setting of a run, by group.

    Parameters
    ----------
    model
        The kind of model whose settings are described, without those of other
        kinds. With None each setting stands once, with the kinds that have it.
    run
        The settings class of a run.

    Raises
    ------
    UsageError
        There is no model of this kind.
    """
    kinds = list(model_kinds(run))
    if model is not None and model not in kinds:
        close = nearest(model, kinds)
        hint = f"; did you mean '{close}'?" if close else ""
        raise UsageError(
            f"{model}: expected one of {', '.join(kinds)}{hint}", remedy="Run: crossan settings"
        )
    by_group: dict[str, list[Setting]] = {}
    for setting in settings_in(run):
        if model is None or _models_of(setting) in {(), (model,)}:
            by_group.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    return [
        Section(
            name,
            _meaning_of_group(settings),
            _described(settings, model, run),
            tuple(model_kinds(run).items()) if name == _MODEL and model is None else (),
        )
        for name, settings in by_group.items()
    ]


def model_kinds(run: type[Settings] = RunSettings) -> dict[str, str]:
    """Return what each kind of model is, the first sentence of its settings class."""
    group = group_of(run.model_fields[_MODEL])
    assert group is not None
    return {kind: _kind_text(kind, one) for kind, one in group.classes.items()}


def default_text(described: Description) -> str:
    """Return the default as TOML has it, or in words where there is none."""
    if described.is_required:
        return "required"
    return "not given" if described.default is None else toml_value(described.default)


def as_records(sections: Iterable[Section]) -> list[dict[str, Any]]:
    """Return what ``--json`` prints of every setting."""
    return [
        {
            "name": described.name,
            "default": described.default,
            "required": described.is_required,
            "values": described.allowed,
            "paper": None if described.paper is None else asdict(described.paper),
            "models": list(described.models),
            "meaning": described.meaning,
        }
        for section in sections
        for described in section.settings
    ]


def _models_of(setting: Setting) -> tuple[str, ...]:
    return tuple(kind for by, kind in setting.kinds if by.rpartition(".")[0] == _MODEL)


def _meaning_of_group(settings: Sequence[Setting]) -> str:
    owners = {setting.owner for setting in settings}
    return _first_sentence(settings[0].owner) if len(owners) == 1 else ""


def _described(
    settings: Iterable[Setting], model: str | None, run: type[Settings]
) -> tuple[Description, ...]:
    """Return the settings of a group, those that kinds share once."""
    merged: list[Description] = []
    for setting in settings:
        described = _description(setting, model, run)
        # Compared, not hashed: the default of another package's setting may be a dict.
        known = [replace(other, models=()) for other in merged]
        if described not in known:
            merged.append(described)
            known.append(described)
        number = known.index(described)
        models = merged[number].models + _models_of(setting)
        merged[number] = replace(described, models=models)
    return tuple(merged)


def _description(setting: Setting, model: str | None, run: type[Settings]) -> Description:
    field = setting.field
    is_required = field.is_required()
    default = None if is_required else field.get_default(call_default_factory=True)
    default = run_defaults_of(model).get(setting.name, default)
    allowed = allowed_values(field)
    group = group_of(run.model_fields[_MODEL])
    if group is not None and setting.name == f"{_MODEL}.{group.by}":
        # In a kind's own class the setting that chooses the kind has one value, which is also its
        # default; for the user it has those of all kinds, and the default is the group's.
        allowed = ", ".join(group.classes) if model is None else model
        default = group.default_kind() if model in {None, group.default_kind()} else None
        is_required = default is None
    paper = next((mark for mark in field.metadata if isinstance(mark, Paper)), None)
    return Description(
        name=setting.name,
        default=to_jsonable_python(default),
        is_required=is_required,
        allowed=allowed,
        meaning=_meaning(setting),
        paper=paper,
    )


def _meaning(setting: Setting) -> str:
    """Return a setting's docstring, that of a parent class where its own class repeats none."""
    last = setting.name.rpartition(".")[2]
    parents = [one for one in setting.owner.__mro__ if issubclass(one, Settings)]
    fields = [one.model_fields[last] for one in parents if last in one.model_fields]
    return _one_line(next((field.description for field in fields if field.description), ""))


def _kind_text(kind: str, settings_class: type[Settings]) -> str:
    """Return what a kind of model is, and what it sets for a run where nothing is named."""
    text = _first_sentence(settings_class)
    defaults = [f"`{name}={toml_value(value)}`" for name, value in run_defaults_of(kind).items()]
    return f"{text}; by default {', '.join(defaults)}" if defaults else text


def _first_sentence(settings_class: type[Settings]) -> str:
    summary = inspect.cleandoc(settings_class.__doc__ or "").partition("\n\n")[0]
    return _one_line(summary).removesuffix(".")


def _one_line(text: str | None) -> str:
    """Return a docstring on one line, its code in single backticks as people type it."""
    return re.sub(r"`+", "`", " ".join((text or "").split()))
