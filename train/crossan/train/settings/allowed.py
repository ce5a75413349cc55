"""Which values a setting takes, in words."""

from __future__ import annotations

import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from crossan.common.config import OneOf, Settings

__all__ = ["allowed_values"]

_NAMES: dict[object, str] = {
    bool: "true, false",
    int: "whole number",
    float: "number",
    str: "text",
}


def allowed_values(field: FieldInfo) -> str:
    """Return the values that a setting takes, for example ``whole number, 1 to 4``."""
    for mark in field.metadata:
        if isinstance(mark, OneOf):
            return ", ".join([*mark.names(), *(["MODULE:NAME"] if mark.may_be_code else [])])
    return ", ".join(filter(None, (_kind_of_value(field.annotation), _range(field.metadata))))


def _kind_of_value(annotation: Any) -> str:  # noqa: ANN401 - annotations have no common type
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind_of_value(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if origin in {Union, types.UnionType}:
        members = [one for one in get_args(annotation) if one is not types.NoneType]
        return " or ".join(map(_kind_of_value, members))
    if origin is tuple:
        return f"list of {_plural(get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(member.value) for member in annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "table"
    # A setting of another package may have any type; shown as code, it hides no other setting.
    is_plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if is_plain else str(annotation).removeprefix("typing.")


def _plural(annotation: Any) -> str:  # noqa: ANN401 - annotations have no common type
    name = _kind_of_value(annotation)
    return {"text": "texts", "table": "tables"}.get(
        name, f"{name}s" if annotation in _NAMES else name
    )


def _range(marks: list[Any]) -> str:
    """Return ``1 to 4`` where both ends are included, else each bound in words."""
    # pydantic keeps each bound as a mark of its own, which has one of these attributes.
    bounds = {
        name: next((getattr(mark, name) for mark in marks if hasattr(mark, name)), None)
        for name in ("ge", "gt", "le", "lt")
    }
    if bounds["ge"] is not None and bounds["le"] is not None:
        return f"{_number(bounds['ge'])} to {_number(bounds['le'])}"
    words = {"ge": "{} or more", "gt": "above {}", "le": "up to {}", "lt": "below {}"}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return ", ".join(words[name].format(_number(bound)) for name, bound in given.items())


def _number(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
