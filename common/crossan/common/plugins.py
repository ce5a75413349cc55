"""Parts that other distributions add by entry points."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from crossan.cache_schema.errors import ConfigError

__all__ = ["load_plugin", "plugin_names", "require_known"]

_BROKEN = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
)
"""What importing a module raises when it was written for something else."""


@cache
def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names that other distributions add to a group, sorted, loading none of them."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def require_known(name: str, known: Sequence[str]) -> str:
    """Return the name of a part if there is one of this name.

    Raises
    ------
    ValueError
        There is none; the message names the nearest.
    """
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ValueError(f"expected one of {', '.join(known)}{hint}")
    return name


def load_plugin(group: str, name: str, taken: Collection[str]) -> object:
    """Load the part of this name.

    Parameters
    ----------
    group
        The entry-point group, for example ``"crossan.models"``.
    name
        One of `plugin_names`.
    taken
        Names of our own parts, which no other distribution may use.

    Raises
    ------
    ConfigError
        The part cannot be loaded, or two parts share the name.
    """
    points = list(entry_points(group=group, name=name))
    others = ["crossan itself"] if name in taken else [_label(point) for point in points[1:]]
    if others:
        raise ConfigError(
            f"{group}: {_label(points[0])} is also brought by {others[0]}",
            remedy=f"pip uninstall {_distribution(points[0])}",
        )
    try:
        loaded: object = points[0].load()
    except _BROKEN as error:
        raise ConfigError(
            f"{group}: {_label(points[0])} could not be loaded: {type(error).__name__}: {error}",
            remedy=f"pip install --upgrade {_distribution(points[0])}",
        ) from error
    return loaded


def _label(point: EntryPoint) -> str:
    return f"{point.name} = {point.value} of {_distribution(point)}"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown distribution"
