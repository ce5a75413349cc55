"""Whole trainings by ``crossan train``: the same numbers wherever the features lie, and the seconds of an epoch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from card import Card
from commands import crossan, differing_weights, interrupted, steps_by, unfinished, weights_of
from report import Report
from shape import DRY, Shape
from torch import Tensor
from world import make_world, write_world

from crossan.cache_schema.errors import ResourceError
from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.loop.recorder import Repeater
from support.sparse import write_sparse_place

__all__ = ["Runs"]

_STOPPED = 128 + 15
"""Exit code of a command that SIGTERM ended."""
_MEMORY_GOAL_GB, _EPOCH_GOAL_S, _PREDICTION_GOAL = 3.0, 0.8, 0.1
_SUMMED_OTHERWISE = 1e-3
"""Of all weights after a few epochs in float32, relative: sums in another order, step after step."""


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

    def check_recording(self) -> None:
        """Train by recorded steps, and by the same steps launched anew: the weights must agree.

        On a CPU, which records nothing, steps filled up to the same shapes stand for recorded ones.
        They are held to those of the shapes that batches have, without dropout: its draws depend
        on shapes.
        """
        small, dropout = self._small(), 0.1 if self._card.is_cuda else 0.0
        given = (
            *_few_epochs(),
            "--set",
            "model.compute=float32",
            "--set",
            f"model.dropout={dropout}",
        )
        if self._card.is_cuda:
            recorded = self._train(small, small / "recorded", *given)
            self._train(small, small / "launched", *given, "--no-recording")
            self._report.require("steps of a run on a card", recorded["steps"], "recorded")
        else:
            with steps_by(Repeater()):
                self._train(small, small / "recorded", *given)
            launched = self._train(small, small / "launched", *given)
            self._report.require("steps of a run on a CPU", launched["steps"], "eager")
        apart = differing_weights(small / "recorded", small / "launched")
        name = "weights of a run by recorded steps, and with --no-recording"
        self._report.check(name, apart, _SUMMED_OTHERWISE)
        is_same = weights_of(small / "recorded") == weights_of(small / "launched")
        self._report.figure(f"{name}: the same bits", is_same, "")

    def check_shortage(self) -> None:
        """Train a step that does not fit: exit 6, and the message says what was predicted."""
        place, users = self._whole(), self._shape.users
        words = self._words(
            place, place / "too-large", *self._sizes(users), "--set", "max_epochs=1"
        )
        with self._card.limited(self._shape.limited_bytes), self._failing_step():
            code, message = unfinished(*words, "--residence", "device")
        self._report.require("exit code where memory runs out", code, ResourceError.exit_code)
        says_step = f"out of memory in a step of {users:,} users" in message
        self._report.require("where memory runs out, the step is named", says_step, True)
        says_peak = "predicted: " in message
        self._report.require("where memory runs out, the prediction is said", says_peak, True)
        if not (says_step and says_peak):
            self._report.texts["Message where memory ran out"] = message

    def _failing_step(self) -> AbstractContextManager[object]:
        """Return a block whose first step finds no memory, where none can be made scarce."""
        if self._card.is_cuda:
            return nullcontext()
        encode, errors = SequenceEncoder.packed, [torch.OutOfMemoryError("injected")]

        def packed(encoder: SequenceEncoder, *arguments: Any) -> Tensor:
            if errors:
                raise errors.pop()
            return encode(encoder, *arguments)

        return patch.object(SequenceEncoder, "packed", packed)

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
                "--predict-memory",
            )
            label = f"epoch of {self._shape.name}, {users:,} users a step, with validation"
            self._report.figure(label, result["seconds_per_epoch"], "s", _EPOCH_GOAL_S)
            self._note_memory(label, result)

    def _note_memory(self, label: str, result: dict[str, Any]) -> None:
        """Note the peak of memory, and how far the prediction was from it.

        On a CPU both are of this process, which has done much else: no goal is set there.
        """
        on_card = self._card.is_cuda
        peak, predicted = result["peak_memory_bytes"], result["predicted_memory_bytes"]
        memory_goal, prediction_goal = (
            (_MEMORY_GOAL_GB, _PREDICTION_GOAL) if on_card else (None, None)
        )
        self._report.figure(f"{label}: peak memory", peak / 1e9, "GB", memory_goal)
        apart = abs(predicted / peak - 1)
        self._report.figure(
            f"{label}: share by which it was mispredicted", apart, "", prediction_goal
        )

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
            *("--max-ram", shape.streamed_ram, "--predict-memory"),
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
        shape = ("model.width=64", f"model.bottleneck_dim={self._shape.bottleneck}")
        given = (f"batch_size={users}", *shape)
        return [part for setting in given for part in ("--set", setting)]


def _few_epochs() -> list[str]:
    given = ("model.bottleneck_dim=8", "batch_size=16", "max_epochs=4", "model.compute=bfloat16")
    return [part for setting in given for part in ("--set", setting)]
