"""Every kind of model of the table, trained for an epoch on the card."""

from __future__ import annotations

from pathlib import Path

from bench_table import MODALITIES, is_trained_by_steps, reads_hidden_states
from card import Card
from commands import crossan
from report import Report
from shape import Shape
from world import make_world, write_world

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.tiny import write_tiny
from crossan.train.settings import ModelSettings
from crossan.train.settings.kinds import model_settings_classes

__all__ = ["Kinds"]

_SMALLER = {"width": 16, "bottleneck_dim": 8, "content_width": 8, "neighbours": 5}
"""Of a dry run, as far as a kind has them."""


_MIXED = ("crossan", "sasrec")
"""The runs that a hybrid of runs is made of."""


class Kinds:
    """A world, and backbones for the kind that has them in its step."""

    def __init__(self, card: Card, shape: Shape, folder: Path, report: Report) -> None:
        self._card, self._shape, self._folder, self._report = card, shape, folder, report

    def train_all(self) -> None:
        """Train every kind for an epoch; note its seconds, and whether it ended well."""
        place = self._folder / "kinds"
        write_world(make_world(self._shape), place)
        failed = {}
        # What is made of runs comes after them.
        for kind, settings in sorted(model_settings_classes().items(), key=_is_of_runs):
            given = ["max_epochs=1"]
            if self._shape.name == "dry run":
                given += [
                    f"model.{name}={value}"
                    for name, value in _SMALLER.items()
                    if name in settings.model_fields
                ]
            try:
                result = self._train(place, kind, given)
            except RuntimeError as error:
                failed[kind] = str(error)[-500:]
                continue
            self._report.figure(f"epoch of {kind}", result["seconds_per_epoch"], "s")
        self._report.require("kinds that could not be trained", failed, {})

    def _train(self, place: Path, kind: str, given: list[str]) -> dict[str, float]:
        if model_settings_classes()[kind].is_of_runs:
            return self._mix(place, kind, given)
        media = model_settings_classes()[kind]().reads_media
        if media:
            given = [*given, f"model.text={self._checkpoint()}", "model.tuning=lora"]
        return crossan(
            *("train", "--dataset", place / "d", "--out", place / kind, "--model", kind),
            *(("--cache", place / "c") if reads_hidden_states(kind) or media else ()),
            *(("--modality", MODALITIES[kind]) if kind in MODALITIES else ()),
            *(("--modality", "text") if media else ()),
            *(("--device", self._card.device) if is_trained_by_steps(kind) else ()),
            *_assigned(given),
        )

    def _mix(self, place: Path, kind: str, given: list[str]) -> dict[str, float]:
        """Make a hybrid of the run with side adapters and the one of ids."""
        of = ",".join(str(place / name) for name in _MIXED)
        return crossan(
            *("train", "--of", of, "--model", kind, "--out", place / kind),
            *("--device", self._card.device),
            *_assigned(given),
        )

    def _checkpoint(self) -> Path:
        folder = self._folder / "fine-tuned"
        if not folder.is_dir():
            write_tiny(folder)
        return folder / Modality.TEXT.value


def _is_of_runs(named: tuple[str, type[ModelSettings]]) -> bool:
    return named[1].is_of_runs


def _assigned(given: list[str]) -> list[str]:
    """Return settings as options of the command."""
    return [part for setting in given for part in ("--set", setting)]
