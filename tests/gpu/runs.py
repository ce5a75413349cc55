"""Whole trainings by ``crossan train``: the same numbers wherever the features lie, and the seconds of an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from card import Card
from commands import crossan, interrupted, weights_of
from report import Report
from shape import DRY, Shape
from world import make_world, write_world

from support.sparse import write_sparse_place

__all__ = ["Runs"]

_STOPPED = 128 + 15
"""Exit code of a command that SIGTERM ended."""
_MEMORY_GOAL_GB, _EPOCH_GOAL_S = 3.0, 0.8


class Runs:
    """Trainings of a world that lies in a folder."""

    def __init__(self, card: Card, shape: Shape, folder: Path, report: Report) -> None:
        self._card, self._shape, self._folder, self._report = card, shape, folder, report

    def check_residences(self) -> None:
        """Train from the card's memory, from RAM and from the stores: the weights must be the same."""
        small = self._small()
        seen = {}
        for residence in ("device", "host", "streamed"):
            run = small / residence
            self._train(small, run, *_few_epochs(), "--residence", residence)
            seen[residence] = weights_of(run)
        for residence in ("host", "streamed"):
            name = f"weights of a run with --residence {residence}, and with device"
            self._report.require(name, seen[residence], seen["device"])

    def check_repeats(self) -> None:
        """Train twice, and once more with a stop in the middle: the weights must be the same."""
        small = self._small()
        for name in ("once", "again"):
            self._train(small, small / name, *_few_epochs())
        once = weights_of(small / "once")
        self._report.require("weights of a run, trained twice", weights_of(small / "again"), once)
        code = interrupted(*self._words(small, small / "stopped", *_few_epochs()), step=5)
        self._report.require("exit code of a stopped run", code, _STOPPED)
        self._train(small, small / "stopped", *_few_epochs(), "--resume")
        name = "weights of a run that was stopped and resumed"
        self._report.require(name, weights_of(small / "stopped"), once)

    def measure_epochs(self) -> None:
        """Measure an epoch with its validation at every batch size, and the peak of memory."""
        place = self._whole()
        for users in self._shape.batch_sizes:
            result = self._train(
                place,
                place / f"run-{users}",
                *self._sizes(users),
                "--set",
                f"max_epochs={self._shape.epochs}",
            )
            label = f"epoch of {self._shape.name}, {users:,} users a step, with validation"
            self._report.figure(label, result["seconds_per_epoch"], "s", _EPOCH_GOAL_S)
            self._note_memory(label, result)

    def _note_memory(self, label: str, result: dict[str, Any]) -> None:
        goal = _MEMORY_GOAL_GB if self._card.is_cuda else None
        peak = result["peak_memory_bytes"] / 1e9
        self._report.figure(f"{label}: peak memory", peak, "GB", goal)

    def measure_residences(self) -> None:
        """Measure an epoch with features in RAM and in their stores, at the largest batch."""
        place, users = self._whole(), max(self._shape.batch_sizes)
        for residence in ("host", "streamed"):
            result = self._train(
                place,
                place / f"run-{residence}",
                *self._sizes(users),
                *("--set", "max_epochs=2", "--residence", residence),
            )
            label = f"epoch, {users:,} users a step, --residence {residence}"
            self._report.figure(label, result["seconds_per_epoch"], "s")

    def measure_streaming(self) -> None:
        """Measure an epoch over a catalogue whose states do not fit into the RAM they may take."""
        shape = self._shape
        place = self._folder / "streamed"
        write_sparse_place(
            place, shape.streamed_items, shape.streamed_users, 4, shape.layers, shape.dim
        )
        result = self._train(
            place,
            place / "run",
            *self._sizes(max(shape.batch_sizes)),
            *("--set", "max_epochs=1", "--residence", "streamed"),
            *("--max-ram", shape.streamed_ram),
        )
        label = f"epoch of {shape.streamed_items:,} items, streamed with {shape.streamed_ram}"
        self._report.figure(label, result["seconds_per_epoch"], "s")
        self._note_memory(label, result)

    def _whole(self) -> Path:
        """Return the folder of the world that epochs are measured on."""
        whole = self._folder / "whole"
        if not whole.is_dir():
            write_world(make_world(self._shape), whole)
        return whole

    def _small(self) -> Path:
        """Return the folder of the small world that numbers are compared on."""
        small = self._folder / "small"
        if not small.is_dir():
            write_world(make_world(DRY), small)
        return small

    def _train(self, place: Path, out: Path, *more: object) -> dict[str, Any]:
        return crossan(*self._words(place, out, *more))

    def _words(self, place: Path, out: Path, *more: object) -> list[object]:
        places = ("--dataset", place / "d", "--cache", place / "c", "--out", out)
        return ["train", *places, "--device", self._card.device, *more]

    def _sizes(self, users: int) -> list[str]:
        given = (f"batch_size={users}", f"model.bottleneck_dim={self._shape.bottleneck}")
        return [part for setting in given for part in ("--set", setting)]


def _few_epochs() -> list[str]:
    given = ("model.bottleneck_dim=8", "batch_size=16", "max_epochs=4", "model.compute=bfloat16")
    return [part for setting in given for part in ("--set", setting)]
