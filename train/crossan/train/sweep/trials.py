"""Trials of a sweep, with their names, settings and arguments."""

from __future__ import annotations

from dataclasses import dataclass

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import UsageError
from crossan.common.config import settings_with, toml_value
from crossan.train.settings import AdapterSettings, RunSettings
from crossan.train.sweep.points import Point

__all__ = ["Trial", "label_of", "point_digest", "require_sweepable", "trial_settings"]

_OTHER_TARGETS = (
    "its values rank other targets or among other items, so their figures cannot be compared"
)
_FIXED = {
    "seed": "give seeds with --seeds",
    "mask_history": "its values are other measures, not other models",
    "checkpoint": "it changes no figure",
    "data.dataset": _OTHER_TARGETS,
    "data.min_items": _OTHER_TARGETS,
    "data.max_items": _OTHER_TARGETS,
    "data.drop_items": _OTHER_TARGETS,
    "data.split": _OTHER_TARGETS,
    "data.split_seed": _OTHER_TARGETS,
}
"""Settings that cannot be an axis, and why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One point with one seed."""

    point: Point
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder, the same for the same point and seed in every sweep."""
        return f"{point_digest(self.point)}-seed{self.seed}"

    @property
    def run_path(self) -> str:
        """Its run folder, relative to that of the sweep."""
        return f"runs/{self.name}"

    def assignments(self) -> list[str]:
        """Return the arguments that turn the base settings into those of the trial."""
        arguments = []
        for name, value in self.point.items():
            arguments += ["--set", f"{name}={toml_value(value)}"]
        return [*arguments, "--seed", str(self.seed)]


def point_digest(point: Point) -> str:
    """Return eight digits that distinguish points."""
    return digest_of(dict(point))[:8]


def label_of(point: Point) -> str:
    """Return the point as people read it, with floats to four digits."""
    parts = [
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={toml_value(value)}"
        for name, value in point.items()
    ]
    return ", ".join(parts) or "(base settings)"


def require_sweepable(name: str) -> None:
    """Raise `UsageError` if a setting cannot be an axis."""
    for fixed, why in _FIXED.items():
        if name == fixed or name.startswith(f"{fixed}."):
            raise UsageError(f"--grid {name}: cannot be swept: {why}")


def trial_settings(base: RunSettings, trial: Trial) -> RunSettings:
    """Return the checked settings of a trial.

    Raises
    ------
    ConfigError
        A name or value is wrong.
    UsageError
        The compute type is left to a probe.
    """
    values = {**trial.point, "seed": trial.seed}
    settings = settings_with(
        base, values, {name: f"{name}={toml_value(value)}" for name, value in values.items()}
    )
    # Trials of one sweep that chose differently would not be comparable.
    if isinstance(settings.model, AdapterSettings) and settings.model.compute == "auto":
        raise UsageError(
            "model.compute=auto: expected float32 or bfloat16 in a sweep,"
            " as trials side by side disturb the probe",
            remedy="--set model.compute=float32",
        )
    return settings
