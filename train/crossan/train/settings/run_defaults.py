"""What a kind of model sets for a whole run, where nobody names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.train.settings.kinds import model_settings_classes
from crossan.train.settings.models import ModelSettings

__all__ = ["is_read", "run_defaults_of", "with_default"]


def run_defaults_of(kind: object) -> Mapping[str, Any]:
    """Return the defaults, by dotted name, that a value of ``model.kind`` gives to a whole run."""
    classes = model_settings_classes()
    if not isinstance(kind, str) or kind not in classes:
        return {}
    settings_class = classes[kind]
    if not issubclass(settings_class, ModelSettings):
        return {}
    # The only objective that such a model knows.
    objective = {"objective.kind": "triples"} if settings_class.learns_from == "triples" else {}
    return {**objective, **settings_class.run_defaults}


def is_read(name: str, tree: Mapping[str, Any]) -> bool:
    """Whether a default is read beside what a tree of settings names."""
    if name != "objective.debias":
        return True
    objective = tree.get("objective", {})
    of = objective.get("kind") if isinstance(objective, Mapping) else objective.kind
    return of in {None, "in-batch"}


def with_default(tree: dict[str, Any], path: list[str], value: object) -> dict[str, Any]:
    """Return a tree of settings in which a setting has a value, the tree's where it names one."""
    first, *rest = path
    if not rest:
        return {first: value, **tree}
    group = tree.get(first, {})
    if not isinstance(group, dict):
        return tree  # settings, all of which are named
    return {**tree, first: with_default(group, rest, value)}
