"""The stores of hidden states and how they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossan.train.service.web.night_views import StoreView
from crossan.train.service.web.pages.rendering import View

__all__ = ["StoreRow", "stores_page"]


@dataclass(frozen=True, slots=True)
class StoreRow:
    """What the page says of one store."""

    store: StoreView
    state: str
    """Which mark stands before the words."""
    condition: str
    """The words."""

    @classmethod
    def of(cls, store: StoreView) -> StoreRow:
        """Return what the page says of a store."""
        return cls(store, *_condition(store))

    @property
    def is_looked_at(self) -> bool:
        """Return whether its health comes in a moment."""
        return bool(self.store.version) and self.store.health is None

    @property
    def layers(self) -> str:
        """Return its layers, as a range where they are one."""
        layers = self.store.layers
        if len(layers) > 2 and layers == list(range(layers[0], layers[0] + len(layers))):
            return f"{layers[0]} to {layers[-1]}"
        return ", ".join(str(one) for one in layers)

    @property
    def licences(self) -> list[tuple[str, str]]:
        """Return the licences of what went into it, each with its source."""
        health = self.store.health
        licences = {} if health is None else health.licences
        return [(name, value or "unknown") for name, value in licences.items()]


def stores_page(view: View, stores: Sequence[StoreView]) -> str:
    """Return the page of all stores."""
    return view.render("stores", rows=[StoreRow.of(one) for one in stores])


def _condition(store: StoreView) -> tuple[str, str]:
    if not store.version:
        return "waiting", "empty"
    if store.health is None:
        return "waiting", "being checked"
    if store.health.problem is not None:
        return "failed", "unreadable"
    counts = {"missing files": store.health.missing, "quarantined items": store.health.quarantined}
    problems = [name for name, count in counts.items() if count]
    return ("incomplete", ", ".join(problems)) if problems else ("sound", "sound")
