"""Readers for worker processes that do what the file's name says; workers import them from here."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus
from crossan.extract.workers import MediumOutcome


def prepare_by_process(title):
    """Give every process other arrays."""
    return {"input_ids": np.array([1, os.getpid() % 1_999])}


@dataclass(frozen=True)
class Reader:
    """Reads ``/any/where/VERB-NUMBER``; ``once`` is a folder in which it remembers what it has done once."""

    once: Path

    def load_decoders(self):
        pass

    def read(self, order):
        verb, _, number = order.path.name.partition("-")
        getattr(self, verb)(order)
        values = np.full((2, 3), int(number), np.float32)
        return {modality: MediumOutcome({"values": values}) for modality in order.modalities}

    def fine(self, order):
        pass

    def slow(self, order):
        time.sleep(0.2)

    def crash(self, order):
        os.abort()

    def killed(self, order):
        mark = self.once / order.path.name
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def burn(self, order):
        while True:
            pass

    def hang(self, order):
        time.sleep(3600)

    def gorge(self, order):
        np.ones(3 << 30, np.uint8)

    def full(self, order):
        raise ResourceError("no space left", remedy="Free some.")

    def bug(self, order):
        raise KeyError("a bug")

    def interrupted(self, order):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Refusing:
    """Finds no medium in any file."""

    def load_decoders(self):
        pass

    def read(self, order):
        return dict.fromkeys(
            order.modalities, MediumOutcome(None, ItemStatus.ABSENT, "nothing there: é漢", ("odd",))
        )
