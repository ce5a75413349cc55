"""Parts that other distributions add by entry points."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from crossan.cache_schema.errors import ConfigError

__all__ = [
    "PLUGIN_ERRORS",
    "distribution_of",
    "label_of",
    "load_plugin",
    "plugin_names",
    "require_known",
    "rivals_of",
]

PLUGIN_ERRORS = (
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
"""What importing a module, or calling its function, raises when it was written for something else.

KeyboardInterrupt, SystemExit and MemoryError are not among them: they are not the plug-in's fault.
"""


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
    rivals = rivals_of(points, is_ours=name in taken)
    if rivals:
        raise ConfigError(
            f"{group}: {label_of(points[0])} is also brought by {rivals[0]}",
            remedy=f"pip uninstall {distribution_of(points[0])}",
        )
    try:
        loaded: object = points[0].load()
    except PLUGIN_ERRORS as error:
        raise ConfigError(
            f"{group}: {label_of(points[0])} could not be loaded: {type(error).__name__}: {error}",
            remedy=f"pip install --upgrade {distribution_of(points[0])}",
        ) from error
    return loaded


def rivals_of(points: Sequence[EntryPoint], *, is_ours: bool) -> list[str]:
    """Return who else brings the first of some entry points of one name.

    Two parts of one name would make results depend on which was installed last.

    Parameters
    ----------
    points
        All entry points of the name, at least one.
    is_ours
        Whether we bring a part of this name ourselves.
    """
    return ["crossan itself"] if is_ours else [label_of(point) for point in points[1:]]


def label_of(point: EntryPoint) -> str:
    """Return an entry point as its package declares it, with the name of the package."""
    return f"{point.name} = {point.value} of {distribution_of(point)}"


def distribution_of(point: EntryPoint) -> str:
    """Return the name of the package that brings an entry point."""
    return point.dist.name if point.dist is not None else "an unknown distribution"
