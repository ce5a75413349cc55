"""Which settings of a run a client may not give, told from the settings classes themselves.

A setting whose values are closed is a number, a switch, a name out of a list, or several of these.
Any other may hold free text, which could be a path, an address or the name of code. It is refused
whatever it is called, so that a setting which is added one day is refused from its first day.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from crossan.common.code_names import names_code
from crossan.common.config import OneOf, Settings, settings_in

__all__ = ["code_in", "leaves", "open_settings"]

_CLOSED_CLASSES = (bool, int, float, types.NoneType)
_SEQUENCES = {tuple, list, frozenset, set}


@cache  # of classes, which do not change while a server runs; the walk takes half of a submission
def open_settings(settings_class: type[Settings]) -> frozenset[str]:
    """Return the dotted names of settings that may hold free text, in any of the kinds."""
    return frozenset(
        setting.name
        for setting in settings_in(settings_class)
        if not _is_closed(setting.field.annotation, setting.field.metadata)
    )


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested or dotted settings, each with its dotted name."""
    for name, value in tree.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{full}.")
        else:
            yield full, value


def code_in(value: object) -> str | None:
    """Return the first text in a value that names code, None where none does."""
    if isinstance(value, str):
        return value if names_code(value) else None
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return next((name for one in value if (name := code_in(one))), None)
    return None


def _is_closed(annotation: Any, marks: Any = ()) -> bool:  # noqa: ANN401 - annotations have no type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if any(isinstance(mark, OneOf) for mark in marks):
        return True
    if origin is Annotated:
        return _is_closed(arguments[0], arguments[1:])
    if origin is Literal:
        return True
    if origin in {Union, types.UnionType} or origin in _SEQUENCES:
        return all(_is_closed(one) for one in arguments if one is not Ellipsis)
    return isinstance(annotation, type) and (
        annotation in _CLOSED_CLASSES or issubclass(annotation, Enum)
    )
