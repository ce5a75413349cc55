"""What browsers send: the fields of a form, and the specs that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pydantic import ValidationError

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.common.config.sources import parse_toml
from crossan.train.service.specs import NightSpec, RunSpec, TriggerSpec
from crossan.train.service.web.problems import first_problem
from crossan.train.service.web.routes.recommend import Wish

__all__ = [
    "Fields",
    "first",
    "night_spec",
    "night_values",
    "parsed_form",
    "run_spec",
    "run_values",
    "trigger_spec",
    "trigger_values",
    "whole_number",
    "wish",
]

SpecT = TypeVar("SpecT", RunSpec, NightSpec, TriggerSpec, Wish)
NumberT = TypeVar("NumberT", int, float)
Fields = Mapping[str, Sequence[str]]
"""The values of each field, in the order in which they were sent."""

_MOST_FIELDS = 200
_WHOLE_LIMITS = ("cpus", "gpus")
_LIMITS = (*_WHOLE_LIMITS, "memory_gib", "hours", "silent_minutes")
_TRIGGER_TEXTS = ("name", "kind", "cron", "timezone", "modality", "grown_by")
_GATE = ("margin", "cold_margin", "confidence")


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


def night_spec(fields: Fields) -> NightSpec:
    """Return the night that a form asks for.

    Raises
    ------
    ConfigError
        A field is missing or has a value that it cannot take.
    """
    return _validated(NightSpec, _night_tree(fields))


def trigger_spec(fields: Fields) -> TriggerSpec:
    """Return the trigger that a form asks for.

    Fields that its kind does not read are left out, whatever they hold.

    Raises
    ------
    ConfigError
        A field is missing or has a value that it cannot take.
    """
    kind = first(fields, "kind")
    read = {"cron": ("cron", "timezone"), "store": ("modality",), "log": ()}.get(kind, ())
    tree: dict[str, Any] = {"name": first(fields, "name"), "kind": kind}
    tree |= {"night": _night_tree(fields)}
    tree |= {name: value for name in read if (value := first(fields, name))}
    if kind == "log" and first(fields, "grown_by"):
        tree["grown_by"] = _number(fields, "grown_by", int)
    return _validated(TriggerSpec, tree)


def wish(history: str, length: tuple[int, int], mask_history: str) -> Wish:
    """Return what somebody has had, from a field that holds one item id a line, the oldest first.

    Parameters
    ----------
    history
        The field.
    length
        Items of the list, and how many of them are new at least.
    mask_history
        Whether items of the history are left out.

    Raises
    ------
    ConfigError
        There are none, or too many.
    """
    items = [line.strip() for line in history.splitlines() if line.strip()]
    top, new = length
    return _validated(
        Wish, {"history": items, "top": top, "new": new, "mask_history": mask_history}
    )


def run_values(fields: Fields | None = None) -> dict[str, str]:
    """Return what the fields of the form of a run hold.

    Parameters
    ----------
    fields
        As they were sent, for a form that is shown again; by default those of a fresh one.
    """
    return _shown_again(_defaults(RunSpec(dataset="any")), fields)


def night_values(fields: Fields | None = None) -> dict[str, Any]:
    """Return what the fields of the form of a night hold; ``fields`` as for `run_values`."""
    fresh = NightSpec(dataset="any")
    more = {name: f"{getattr(fresh.gate, name):g}" for name in _GATE} | {"alias": fresh.alias}
    values: dict[str, Any] = _shown_again(_defaults(fresh) | more, fields)
    if fields is None:
        return values | {"update": fresh.update, "extract": ()}
    # A browser sends nothing for a box without a tick.
    return values | {"update": "update" in fields, "extract": tuple(fields.get("extract", ()))}


def trigger_values(fields: Fields | None = None) -> dict[str, Any]:
    """Return what the fields of the form of a trigger hold; ``fields`` as for `run_values`."""
    fresh = dict.fromkeys(_TRIGGER_TEXTS, "")
    fresh |= {"kind": "cron", "cron": "30 2 * * *", "timezone": "UTC"}
    return night_values(fields) | _shown_again(fresh, fields)


def _shown_again(values: dict[str, str], fields: Fields | None) -> dict[str, str]:
    """Return values with those of them that were sent in their place."""
    return (
        values
        if fields is None
        else values | {name: fields[name][0] for name in values if name in fields}
    )


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
        **{f"{name}-{modality}": "" for modality in Modality for name in ("store", "version")},
    }


def _run_tree(fields: Fields) -> dict[str, Any]:
    return {
        "dataset": first(fields, "dataset"),
        "recipe": first(fields, "recipe") or None,
        "settings": _settings(first(fields, "settings")),
        "stores": _stores(fields),
        "seed": _number(fields, "seed", int),
        "init": first(fields, "init"),
        "refit": first(fields, "refit"),
        "limits": {
            name: _number(fields, name, int if name in _WHOLE_LIMITS else float) for name in _LIMITS
        },
        "label": first(fields, "label"),
    }


def _night_tree(fields: Fields) -> dict[str, Any]:
    return _run_tree(fields) | {
        "update": bool(fields.get("update")),
        "extract": list(fields.get("extract", ())),
        "gate": {name: _number(fields, name, float) for name in _GATE if name in fields},
        **({"alias": first(fields, "alias")} if "alias" in fields else {}),
    }


def _stores(fields: Fields) -> list[dict[str, Any]]:
    """Return the stores that were chosen, at their newest versions where none was given."""
    choices: list[dict[str, Any]] = []
    for modality in Modality:
        fingerprint, version = (first(fields, f"{one}-{modality}") for one in ("store", "version"))
        if fingerprint:
            number = _number(fields, f"version-{modality}", int) if version else None
            choice = {"modality": modality, "fingerprint": fingerprint, "version": number}
            choices.append(choice)
        elif version:
            raise ConfigError(
                f"version-{modality}: expected no version of a store that is not chosen,"
                f" found {version[:40]}",
                remedy=f"Choose the {modality} store, or leave its version empty",
            )
    return choices


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
