"""The base of every settings class, and a mark for fields whose class is chosen by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from crossan.common.code_names import names_code
from crossan.common.plugins import require_known

__all__ = ["Kinds", "OneOf", "Settings"]


class Settings(BaseModel):
    """One group of settings, frozen and without room for unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def upgraded(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a source under the names of today.

        Override it in the class that is given to `load_settings` to go on reading
        names of an earlier version. It is called before names are checked, once
        for each file, once for all variables and once for the command line.

        Parameters
        ----------
        tree
            Values nested by group, a copy that may be changed.

        Raises
        ------
        ValueError
            The old names contradict each other; the message is shown behind the source.
        """
        return tree

    @classmethod
    def defaults_of_kind(cls, group: str, kind: object) -> Mapping[str, object]:
        """Return what a kind sets outside its group where nobody names it, by dotted name.

        Override it in the class that is given to `load_settings` where kinds do so. A
        file that holds such a value loses it where another kind is chosen over it.

        Parameters
        ----------
        group
            Dotted name of a group whose class is chosen by kind.
        kind
            The kind.
        """
        del group, kind
        return {}


@dataclass(frozen=True, slots=True)
class Kinds:
    """Mark a field whose settings class is looked up by kind when a value comes.

    A discriminated union of pydantic does the same for classes that are known
    when the file is written; this is for classes that other packages add::

        model: Annotated[ModelSettings, Kinds(model_classes)] = CrossanSettings()

    Parameters
    ----------
    table
        Returns the class of every kind; called anew for each use. A mapping that loads a class
        when it is looked up is good: only the kind in question is looked up, all of them are
        only when a name is wrong.
    by
        Name of the field that holds the kind, in every one of the classes.
    """

    table: Callable[[], Mapping[str, type[Settings]]]
    by: str = "kind"

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return pydantic's plan, to choose the class and to dump what the chosen class has."""
        del source, handler
        # "any" dumps the fields of the value's own class; pydantic would dump those of the
        # annotated class only, and so lose every setting that a kind adds to it.
        return core_schema.no_info_plain_validator_function(
            self._validated, serialization=core_schema.simple_ser_schema("any")
        )

    def _validated(self, value: object) -> Settings:
        classes = self.table()
        kind = value.get(self.by) if isinstance(value, Mapping) else getattr(value, self.by, None)
        settings_class = classes.get(kind) if isinstance(kind, str) else None
        if settings_class is None:
            raise ValueError(f"expected {self.by} as one of {', '.join(classes)}")
        return settings_class.model_validate(value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """Mark a text that is one of some names, to which other packages may add.

    For names that are known when the file is written, `Literal` does the same.

    Parameters
    ----------
    names
        Returns the names; called anew for each value that comes.
    may_be_code
        Whether the name of code of the user's own will do, ``package.module:Name``. Nothing is
        imported here.
    """

    names: Callable[[], Sequence[str]]
    may_be_code: bool = False

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return pydantic's plan, to check the name after its type."""
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def _known(self, name: str) -> str:
        if self.may_be_code and names_code(name):
            return name
        return require_known(name, self.names())
