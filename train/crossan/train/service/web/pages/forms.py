"""What browsers send: the fields of a form, and the specs that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pydantic import ValidationError

from crossan.cache_schema.errors import ConfigError
from crossan.common.config.sources import parse_toml
from crossan.train.service.specs import NightSpec, RunSpec, TriggerSpec
from crossan.train.service.web.problems import first_problem

__all__ = [
    "Fields",
    "first",
    "night_values",
    "parsed_form",
    "run_spec",
    "run_values",
    "trigger_spec",
    "whole_number",
]

SpecT = TypeVar("SpecT", RunSpec, TriggerSpec)
NumberT = TypeVar("NumberT", int, float)
Fields = Mapping[str, Sequence[str]]
"""The values of each field, in the order in which they were sent."""

_MOST_FIELDS = 200
_WHOLE_LIMITS = ("cpus", "gpus")
_LIMITS = (*_WHOLE_LIMITS, "memory_gib", "hours", "silent_minutes")
_TRIGGER_TEXTS = ("name", "kind", "cron", "timezone", "modality")


def parsed_form(body: bytes) -> dict[str, list[str]]:
    """Return the fields of a form as a browser sends it.

    Raises
    ------
    ConfigError
        It is no such form.
    """
    try:
        return parse_qs(
            body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise ConfigError(f"expected a form of at most {_MOST_FIELDS} fields in UTF-8") from None


def first(fields: Fields, name: str) -> str:
    """Return a field's value without blanks around it, empty where it was not sent."""
    values = fields.get(name, [""])
    return values[0].strip()


def whole_number(fields: Fields, name: str) -> int:
    """Return the whole number in a field.

    Raises
    ------
    ConfigError
        It holds none.
    """
    return _number(fields, name, int)


def run_spec(fields: Fields) -> RunSpec:
    """Return the run that a form asks for.

    Raises
    ------
    ConfigError
        A field is missing or has a value that it cannot take.
    """
    return _validated(RunSpec, _run_tree(fields))


def trigger_spec(fields: Fields) -> TriggerSpec:
    """Return the trigger that a form asks for.

    Fields that its kind does not read are left out, whatever they hold.

    Raises
    ------
    ConfigError
        A field is missing or has a value that it cannot take.
    """
    night = _run_tree(fields) | {
        "update": bool(fields.get("update")),
        "extract": list(fields.get("extract", ())),
        "gate": {"margin": _number(fields, "margin", float)},
    }
    kind = first(fields, "kind")
    read = {"cron": ("cron", "timezone"), "store": ("modality",), "log": ()}.get(kind, ())
    tree: dict[str, Any] = {"name": first(fields, "name"), "kind": kind, "night": night}
    tree |= {name: value for name in read if (value := first(fields, name))}
    if kind == "log" and first(fields, "grown_by"):
        tree["grown_by"] = _number(fields, "grown_by", int)
    return _validated(TriggerSpec, tree)


def run_values(fields: Fields | None = None) -> dict[str, str]:
    """Return what the fields of the form of a run hold.

    Parameters
    ----------
    fields
        As they were sent, for a form that is shown again; by default those of a fresh one.
    """
    values = _defaults(RunSpec(dataset="any"))
    if fields is not None:
        values |= {name: _text(fields, name) for name in values if name in fields}
    return values


def night_values(fields: Fields | None = None) -> dict[str, Any]:
    """Return what the fields of the form of a trigger hold; ``fields`` as for `run_values`."""
    fresh = NightSpec(dataset="any")
    values: dict[str, Any] = _defaults(fresh) | {
        "name": "",
        "kind": "cron",
        "cron": "30 2 * * *",
        "timezone": "UTC",
        "modality": "",
        "grown_by": "",
        "margin": f"{fresh.gate.margin:g}",
        "update": fresh.update,
        "extract": (),
    }
    if fields is not None:
        sent = (*_defaults(fresh), *_TRIGGER_TEXTS, "grown_by", "margin")
        values |= {name: _text(fields, name) for name in sent if name in fields}
        # A browser sends nothing for a box without a tick.
        values |= {"update": "update" in fields, "extract": tuple(fields.get("extract", ()))}
    return values


def _text(fields: Fields, name: str) -> str:
    return fields[name][0]


def _defaults(spec: RunSpec) -> dict[str, str]:
    limits = {name: f"{getattr(spec.limits, name):g}" for name in _LIMITS}
    return {
        "dataset": "",
        "recipe": "",
        "settings": "",
        "seed": str(spec.seed),
        "init": spec.init,
        "refit": spec.refit,
        "label": "",
        **limits,
    }


def _run_tree(fields: Fields) -> dict[str, Any]:
    return {
        "dataset": first(fields, "dataset"),
        "recipe": first(fields, "recipe") or None,
        "settings": _settings(first(fields, "settings")),
        "seed": _number(fields, "seed", int),
        "init": first(fields, "init"),
        "refit": first(fields, "refit"),
        "limits": {
            name: _number(fields, name, int if name in _WHOLE_LIMITS else float) for name in _LIMITS
        },
        "label": first(fields, "label"),
    }


def _settings(text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except ValueError as error:
        raise ConfigError(
            f"settings: expected lines as in a config.toml: {error}",
            remedy='Write each as optimiser.lr = 0.001, texts in quotes as model.kind = "sasrec"',
        ) from None


def _number(fields: Fields, name: str, kind: type[NumberT]) -> NumberT:
    text = first(fields, name)
    try:
        return kind(text)
    except (ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name}: expected {what}, found {text[:40] or 'nothing'}") from None


def _validated(kind: type[SpecT], tree: Mapping[str, Any]) -> SpecT:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        _, message = first_problem(error.errors(include_url=False))
        raise ConfigError(message) from None
