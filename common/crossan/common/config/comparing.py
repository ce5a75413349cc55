"""What differs between two settings objects."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from crossan.common.config.base import Settings
from crossan.common.config.writing import dotted, plain

__all__ = ["settings_differences"]


def settings_differences(
    before: Settings, now: Settings, *, but: Collection[str] = ()
) -> list[str]:
    """Return a line for every setting that is not the same.

    A line reads ``name: ... there, ... asked``. Of a group with another kind
    only names that both kinds have are compared: the rest follows from the kind.

    Parameters
    ----------
    before, now
        Settings of one class.
    but
        Top-level names that may differ, and names of single settings, such as ``a.b``.
    """
    recorded, requested = (dict(dotted(plain(one))) for one in (before, now))
    other_kinds = tuple(_other_kinds(before, now, ""))
    return [
        f"{name}: {recorded.get(name)} there, {requested.get(name)} asked"
        for name in sorted(recorded.keys() | requested.keys())
        if recorded.get(name) != requested.get(name)
        and not {name, name.partition(".")[0]} & {*but}
        and ((name in recorded and name in requested) or not name.startswith(other_kinds))
    ]


def _other_kinds(before: Settings, now: Settings, prefix: str) -> Iterator[str]:
    """Yield how the names begin of every group that has another class now."""
    for name in type(before).model_fields.keys() & type(now).model_fields.keys():
        one, other = getattr(before, name), getattr(now, name)
        if isinstance(one, Settings) and isinstance(other, Settings):
            if type(one) is not type(other):
                yield f"{prefix}{name}."
            yield from _other_kinds(one, other, f"{prefix}{name}.")
