"""What a client may ask for: closed specs, without paths, commands, code or environment."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from crossan.cache_schema.modality import Modality
from crossan.common.config import Settings

__all__ = [
    "PRODUCTION",
    "GateSpec",
    "Label",
    "Limits",
    "Name",
    "NightSpec",
    "RunSpec",
    "StoreChoice",
    "TriggerSpec",
]

PRODUCTION = "production"
"""The alias of the model that answers."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Name of a dataset, an alias or a trigger: no dot, no slash, so it is never a path."""
Label = Annotated[str, StringConstraints(max_length=200)]
"""Any text; it is shown, and nothing else is done with it."""


class Limits(Settings):
    """What a run may use, and for how long."""

    cpus: int = Field(default=1, ge=1, le=1024)
    """Cores."""

    memory_gib: float = Field(default=4.0, gt=0, le=65536)
    """Memory of all its processes, in GiB."""

    gpus: int = Field(default=0, ge=0, le=64)
    """GPUs."""

    hours: float = Field(default=12.0, gt=0, le=24 * 31)
    """Hours until an attempt is ended."""

    silent_minutes: float = Field(default=15.0, gt=0, le=24 * 60)
    """Minutes without a heartbeat or a line of output after which an attempt counts as hung."""


class StoreChoice(Settings):
    """One store, where a cache holds several of a modality, or not the newest version of it."""

    modality: Modality

    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12,64}$")]
    """Its fingerprint, or the first twelve digits or more of it."""

    version: int | None = Field(default=None, ge=1)
    """By default the newest when the run begins."""


class RunSpec(Settings):
    """One training to queue."""

    dataset: Name
    """Name of a dataset folder below one of the service's roots."""

    recipe: Annotated[str, StringConstraints(max_length=100)] | None = None
    """Name of a recipe that ``settings`` change. By default none."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the run, nested or dotted, but none that is a path or names code."""

    stores: tuple[StoreChoice, ...] = Field(default=(), max_length=8)
    """Stores to read. By default the one of each modality that the cache holds."""

    seed: int = Field(default=0, ge=0, lt=2**32)

    init: Literal["none", "production"] = "none"
    """What training starts from: random weights, or those of the model in production."""

    refit: Literal["none", "validation", "all"] = "none"
    """What is trained on once the judged training has ended: see ``crossan-train --refit``."""

    limits: Limits = Limits()

    label: Label = ""


class GateSpec(Settings):
    """When a new model may take the place of the one in production."""

    margin: float = Field(default=0.002, ge=0, le=1)
    """How much lower its test NDCG@10 may be, as a difference of the two."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the bootstrap interval of that difference, whose upper end must not lie below
    minus the margin."""

    cold_margin: float = Field(default=0.005, ge=0, le=1)
    """The same for users whose target no training part holds."""


class NightSpec(RunSpec):
    """A chain: update, extract, train, evaluate, gate, refit, promote."""

    init: Literal["none", "production"] = "production"

    refit: Literal["none", "validation", "all"] = "all"

    update: bool = True
    """Whether ``data update`` reads the dataset's folder in the inbox first."""

    extract: tuple[Modality, ...] = Field(default=(), max_length=4)
    """Modalities whose stores are brought up to date."""

    gate: GateSpec = GateSpec()

    alias: Name = PRODUCTION
    """Alias that moves when the gate holds."""


class TriggerSpec(Settings):
    """When a night begins by itself."""

    name: Name

    kind: Literal["cron", "store", "log"]
    """cron at the times of ``cron``; store when a store of the dataset has a new version; log when
    its interactions have grown by ``grown_by``."""

    cron: Annotated[str, StringConstraints(max_length=100)] | None = None
    """Five fields, as crontab(5) has them, for example ``30 2 * * *``."""

    timezone: Annotated[str, StringConstraints(max_length=64)] = "UTC"
    """Time zone of ``cron``, by its name in the IANA database."""

    modality: Modality | None = None
    """Modality of the store, for ``store``. By default any."""

    grown_by: int | None = Field(default=None, ge=1)
    """Interactions, for ``log``."""

    night: NightSpec

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> Self:
        needed = {"cron": self.cron, "store": "", "log": self.grown_by}[self.kind]
        if needed is None:
            name = "cron" if self.kind == "cron" else "grown_by"
            raise ValueError(f"expected {name} with kind={self.kind}, found none")
        unread = {
            "cron": self.cron is not None and self.kind != "cron",
            "grown_by": self.grown_by is not None and self.kind != "log",
            "modality": self.modality is not None and self.kind != "store",
        }
        for name, is_unread in unread.items():
            if is_unread:
                raise ValueError(f"expected no {name} with kind={self.kind}, which reads none")
        return self
