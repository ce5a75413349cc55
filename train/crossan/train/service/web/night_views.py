"""Nights, triggers, datasets and stores, as clients see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from crossan.cache_schema import Modality
from crossan.train.service.nights.datasets import DatasetPlace
from crossan.train.service.nights.rows import NightRow, NightState, TriggerRow
from crossan.train.service.nights.stores import StoreSighting
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.web.views import RunView, Time, time_of

__all__ = ["DatasetView", "NightPage", "NightView", "StoreView", "TriggerView", "WholeNightView"]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class NightView(_View):
    """A night: a chain of runs that ends with a model in production, or with why there is none."""

    id: int
    trigger: str | None
    """None where a person began it."""
    dataset: str
    spec: dict[str, Any]
    reason: str
    """Why it began."""
    state: NightState
    summary: str
    """What it did, in one line; empty until it has ended."""
    created: Time
    created_by: str
    ended: Time | None
    told: Time | None
    """When everyone had its message; None where nobody was to get one, or not all have it."""

    @classmethod
    def of(cls, row: NightRow) -> Self:
        """Return the view of a row."""
        return cls(**_night_fields(row))


class WholeNightView(NightView):
    """A night with its runs."""

    runs: list[RunView]
    """In the order in which they come."""

    @classmethod
    def with_runs(cls, row: NightRow, runs: Sequence[RunRow]) -> Self:
        """Return the view of a night and its runs."""
        return cls(**_night_fields(row), runs=[RunView.of(run) for run in runs])


class NightPage(_View):
    """Some nights, the newest first."""

    nights: list[NightView]
    before: int | None = Field(...)
    """What to ask for the next page with; None on the last one."""


class TriggerView(_View):
    """What begins nights by itself."""

    name: str
    spec: dict[str, Any]
    created: Time
    created_by: str
    next_time: Time | None
    """When it fires next; None where no clock says so."""
    last_time: Time | None
    last_night: int | None
    last_reason: str
    """Why the last night began, or why none did."""

    @classmethod
    def of(cls, row: TriggerRow) -> Self:
        """Return the view of a row."""
        return cls(
            name=row.name,
            spec=row.spec.model_dump(mode="json"),
            created=time_of(row.created) or "",
            created_by=row.created_by,
            next_time=time_of(row.next_time),
            last_time=time_of(row.last_time),
            last_night=row.last_night,
            last_reason=row.last_reason,
        )


class DatasetView(_View):
    """A dataset that specs may name."""

    name: str
    """Name of its folder, by which specs name it."""
    title: str
    """The name that it gives itself."""
    licence: str
    counts: dict[str, int]
    """How many users, items and interactions it has."""
    digest: str
    has_inbox: bool
    """Whether ``data update`` has a folder to read for it."""

    @classmethod
    def of(cls, dataset: DatasetPlace) -> Self:
        """Return the view of a dataset."""
        description = dataset.description
        return cls(
            name=dataset.name,
            title=description.name,
            licence=description.licence,
            counts=dict(description.counts),
            digest=description.digest,
            has_inbox=dataset.inbox is not None,
        )


class HealthView(_View):
    """What a store holds at its newest version."""

    items: int = 0
    ok: int = 0
    absent: int = 0
    """Items without such a medium."""
    missing: int = 0
    """Items whose file is not where the dataset says."""
    quarantined: int = 0
    """Items whose medium could not be read."""
    bytes: int = 0
    licences: dict[str, str | None] = {}
    notes: list[str] = []
    problem: str | None = None
    """Why nothing is known of it, where that is so."""


class StoreView(_View):
    """A store of a dataset."""

    dataset: str
    modality: Modality
    name: str
    """Name of its folder."""
    backbone: str
    fingerprint: str
    version: int
    """The newest; 0 where nothing was written yet."""
    layers: list[int]
    dim: int
    health: HealthView | None
    """None while it is looked up: ask again in a few seconds."""

    @classmethod
    def of(cls, dataset: str, store: StoreSighting, health: Mapping[str, Any] | None) -> Self:
        """Return the view of a store and of what is known of its health."""
        return cls(
            dataset=dataset,
            modality=store.modality,
            name=store.path.name,
            backbone=str(store.identity.backbone.get("id", "")),
            fingerprint=store.fingerprint,
            version=store.version,
            layers=list(store.identity.layers),
            dim=store.identity.dim,
            health=None if health is None else HealthView.model_validate(health),
        )


def _night_fields(row: NightRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "trigger": row.trigger_name,
        "dataset": row.dataset,
        "spec": dict(row.spec),
        "reason": row.reason,
        "state": row.state,
        "summary": row.summary,
        "created": time_of(row.created) or "",
        "created_by": row.created_by,
        "ended": time_of(row.ended),
        "told": time_of(row.told),
    }
