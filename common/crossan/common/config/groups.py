"""What classes a field that holds a group of settings may have."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from crossan.common.config.base import Kinds, Settings

__all__ = ["Group", "group_of", "root_group"]


@dataclass(frozen=True, slots=True)
class Group:
    """The classes that a group of settings may have, and which it has where nobody says."""

    classes: Mapping[str, type[Settings]]
    """Class by kind; a single class under the empty kind where there is no choice."""

    by: str | None = None
    """Name of the setting that holds the kind, None where there is no choice."""

    default: Settings | None = None
    """The group where nothing is given, None where it must be given or is optional."""

    may_be_none: bool = False
    """Whether the group may be left out altogether."""

    is_tagged: bool = False
    """Whether pydantic puts the kind between the group's name and the setting's when it
    says where an error is."""

    def default_kind(self) -> str | None:
        """Return the kind where none is given, None where one must be."""
        if self.by is None:
            return ""
        return None if self.default is None else str(getattr(self.default, self.by))


def root_group(settings_class: type[Settings]) -> Group:
    """Return the outermost class as a group without a choice."""
    return Group({"": settings_class})


def group_of(field: FieldInfo) -> Group | None:
    """Return the group that a field holds, None where it holds a value.

    Raises
    ------
    TypeError
        The field is a union of settings classes that names no field to tell them by.
    """
    parts = list(_parts(field.annotation))
    classes = [part for part in parts if isinstance(part, type) and issubclass(part, Settings)]
    if not classes or any(part is _OTHER for part in parts):
        return None
    # pydantic takes marks off the outermost `Annotated` and keeps them in the field.
    marks = [part for part in (*field.metadata, *parts) if isinstance(part, Kinds)]
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    chosen = default if isinstance(default, Settings) else None
    may_be_none = type(None) in parts
    if marks:
        return Group(marks[0].table(), marks[0].by, chosen, may_be_none)
    if len(classes) == 1:
        return Group({"": classes[0]}, None, chosen, may_be_none)
    by = next((name for part in (field, *parts) if (name := _discriminator(part))), None)
    if by is None:
        raise TypeError(
            "expected Field(discriminator=...) beside a union of settings classes, got"
            f" {' | '.join(one.__name__ for one in classes)}"
        )
    by_kind = {kind: one for one in classes for kind in _literals(one.model_fields[by])}
    return Group(by_kind, by, chosen, may_be_none, is_tagged=True)


_OTHER = object()
"""Stands for a part of an annotation that is no settings class and no mark."""


def _parts(annotation: object) -> Iterator[object]:
    """Yield classes, marks and `None` of an annotation, and `_OTHER` for anything else."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        yield from _parts(inner)
        yield from (mark for mark in marks if isinstance(mark, Kinds | FieldInfo))
    elif origin in {Union, types.UnionType}:
        for member in get_args(annotation):
            yield from _parts(member)
    elif isinstance(annotation, type) and issubclass(annotation, Settings | types.NoneType):
        yield annotation
    else:
        yield _OTHER


def _discriminator(part: object) -> str | None:
    name: Any = part.discriminator if isinstance(part, FieldInfo) else None
    return name if isinstance(name, str) else None


def _literals(field: FieldInfo) -> tuple[str, ...]:
    if get_origin(field.annotation) is not Literal:
        raise TypeError(f"expected a Literal to tell settings classes by, got {field.annotation}")
    return get_args(field.annotation)
