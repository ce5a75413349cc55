"""The run folder, which records what a run read, how it went and what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.common.claim import OWNER_FILE, claim, is_claimed, refresh, release
from crossan.common.config import settings_differences, to_toml
from crossan.common.files import remove_durably, replace_durably
from crossan.common.refusals import blaming, make_folder, require_no_file
from crossan.common.stores import FeatureStore
from crossan.common.stores.pins import LOCK_FILE, pin_version
from crossan.train.record import shapes
from crossan.train.record.analysis import ANALYSIS_FILE
from crossan.train.record.checkpoint import (
    BEST,
    Checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
    settle,
)
from crossan.train.record.kept_epochs import keep_epoch
from crossan.train.record.locked_stores import open_locked
from crossan.train.record.may_change import may_change
from crossan.train.record.reading import (
    RANKS_FILE,
    RESULT_FILE,
    SWEEP_FILE,
    VALIDATION_FILE,
    read_result,
    read_settings,
    read_validation,
)
from crossan.train.record.spec import Spec, earlier_specs, provenance
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import Tower

__all__ = ["RANKS_FILE", "SWEEP_FILE", "RunFolder"]

_TORN = re.compile(r"\.[a-z_.]+\.[0-9]+\.[0-9a-f]{8}")
"""Name of what a killed process had not finished writing (`crossan.common.files`)."""

_DIVERGENCE, _INITIAL = "divergence.json", "init.json"


class RunFolder:
    """The folder of one training, in which every file is written whole.

    Parameters
    ----------
    path
        The folder; made by `begin`, expected by everything else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(
        self, settings: RunSettings, spec: Spec, *, may_resume: bool, may_differ: bool = False
    ) -> None:
        """Claim the folder for these settings on this spec.

        Parameters
        ----------
        settings, spec
            What fixes the run's numbers; recorded in ``config.toml`` and ``env.json``.
        may_resume
            Whether a run in the folder is resumed.
        may_differ
            Whether it may be resumed on another spec.

        Raises
        ------
        UsageError
            It is not empty and ``may_resume`` is not set, or it holds a run of other settings.
        IncompatibleError
            It holds a run of another spec and ``may_differ`` is not set.
        BusyError
            Another process trains in it.
        ResourceError
            There is a file in its place, or the system refuses it.
        """
        settings = settings.anywhere()
        environment: dict[str, Any] = {"spec": spec, **provenance()}
        environment["folder"] = str(self.path.absolute())
        if self.holds_run() and may_resume:
            self.require_same(settings)
            recorded = shapes.read_record(self.path / "env.json", shapes.Environment) or {}
            environment["earlier"] = earlier_specs(self.path, recorded, spec, may_differ=may_differ)
        elif self.path.exists() and not self._is_vacant():
            require_no_file(self.path, f"--out {self.path}")
            way_on = "Go on with it: --resume, or choose" if self.holds_run() else "Choose"
            raise UsageError(
                f"--out {self.path}: expected an empty folder, found files in it",
                remedy=f"{way_on} another: --out {self.path}-2",
            )
        make_folder(self.path)
        claim(self.path, "trains")
        for entry in self.path.iterdir():
            if _TORN.fullmatch(entry.name):
                remove_durably(entry)
        # In this order: a folder with a config.toml holds a run, and a run has an env.json.
        self._write("env.json", json.dumps(environment, indent=2) + "\n")
        self._write("config.toml", to_toml(settings))
        with blaming(self.path / _DIVERGENCE):
            (self.path / _DIVERGENCE).unlink(missing_ok=True)
        settle(self.path / "checkpoints")

    def hold(self, settings: RunSettings) -> None:
        """Claim the folder of a run of these settings, and change nothing in it."""
        self.require_same(settings)
        claim(self.path, "trains")

    def release(self, owner: str | None = None) -> None:
        """Let other processes have the folder.

        Nothing happens where it is not ours. With ``owner``, a process known to be
        dead, it is released where it is that one's.
        """
        release(self.path, owner)

    def is_trained_in(self) -> bool:
        """Whether a process trains in the folder, see `crossan.common.claim.is_claimed`."""
        return is_claimed(self.path)

    def holds_run(self) -> bool:
        """Whether a run was begun in the folder."""
        return (self.path / "config.toml").is_file()

    def settings(self) -> RunSettings:
        """Return the settings the run was made with.

        Raises
        ------
        UsageError
            No run lies there.
        """
        return read_settings(self.path)

    def lock_stores(
        self, entries: Mapping[str, Mapping[str, Any]], stores: Mapping[Tower, FeatureStore]
    ) -> None:
        """Record the stores in ``cache.lock.json`` and pin their versions.

        `crossan.train.features.sources.lock_entries` makes the entries.
        """
        self._write(LOCK_FILE, json.dumps({"stores": entries}, indent=2) + "\n")
        for store in stores.values():
            pin_version(store.path, store.version, self.path / LOCK_FILE)

    def lock(self, shape: type[shapes.Lock | shapes.LockNames] = shapes.Lock) -> dict[str, Any]:
        """Return what ``cache.lock.json`` holds, all of it checked or the names alone.

        That is ``{"stores": {modality: {"store", "fingerprint", "version", "manifest",
        "layers", "dim"}}}``.

        Raises
        ------
        UsageError
            The run has recorded none.
        """
        recorded: dict[str, Any] | None = shapes.read_record(self.path / LOCK_FILE, shape)
        if recorded is None:
            raise UsageError(
                f"{self.path}: expected cache.lock.json, found none",
                remedy="crossan-train --resume --out RUN",
            )
        return recorded

    def locked_stores(self, cache: Path | None = None) -> dict[Tower, FeatureStore] | None:
        """Open the recorded stores at their recorded versions, see `open_locked`.

        The result is None where none are recorded yet.
        """
        if not (self.path / LOCK_FILE).is_file():
            return None
        return open_locked(self.lock()["stores"], self.path, self.old_path(), cache)

    def old_path(self) -> Path | None:
        """Return where the folder lay when the run was last trained, None where none is recorded.

        It lies elsewhere now where it was moved.
        """
        recorded = shapes.read_record(self.path / "env.json", shapes.Environment) or {}
        return Path(recorded["folder"]) if recorded.get("folder") else None

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        refresh(self.path)
        path = self.path / "metrics.jsonl"
        with blaming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``, without a torn last one."""
        return shapes.read_lines(self.path / "metrics.jsonl", shapes.MetricsLine)

    def write_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace all lines of ``metrics.jsonl``.

        A resumed run writes the later ones again.
        """
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def write_divergence(self, facts: Mapping[str, Any]) -> Path:
        """Write ``divergence.json`` and return where it lies."""
        self._write(_DIVERGENCE, json.dumps(facts, indent=2) + "\n")
        return self.path / _DIVERGENCE

    def write_initial(self, facts: Mapping[str, Any]) -> None:
        """Write ``init.json``, which says what run, epoch and weights training began from."""
        self._write(_INITIAL, json.dumps(facts, indent=2) + "\n")

    def initial(self) -> dict[str, Any] | None:
        """Return ``init.json``, None where training began from random weights or not at all."""
        recorded: dict[str, Any] | None = shapes.read_record(self.path / _INITIAL, shapes.Initial)
        return recorded

    def forget_figures(self) -> None:
        """Remove the figures of weights that are about to change."""
        # The result goes first, as it tells of a finished run.
        for name in (RESULT_FILE, VALIDATION_FILE, RANKS_FILE, ANALYSIS_FILE):
            remove_durably(self.path / name)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        self._write(RESULT_FILE, json.dumps(result, indent=2) + "\n")

    def result(self) -> dict[str, Any] | None:
        """Return ``result.json``, None before the run is finished."""
        return read_result(self.path)

    def write_validation(self, figures: Mapping[str, Any]) -> None:
        """Write ``validation.json``, the figures of a run that has not seen its test targets."""
        self._write(VALIDATION_FILE, json.dumps(figures, indent=2) + "\n")

    def validation(self) -> dict[str, Any] | None:
        """Return ``validation.json``, None where the run has not written it."""
        return read_validation(self.path)

    def save_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, see `crossan.train.record.checkpoint.save_checkpoint`."""
        refresh(self.path)
        save_checkpoint(self.path / "checkpoints", name, checkpoint)

    def keep_epoch(self, epoch: int, checkpoint: Checkpoint, count: int) -> None:
        """Keep the weights of an epoch, see `crossan.train.record.kept_epochs.keep_epoch`."""
        keep_epoch(self.path / "checkpoints", epoch, checkpoint, count)

    def newest_checkpoint(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, None where there is none."""
        return load_newest(self.path / "checkpoints")

    def best_checkpoint(self) -> Checkpoint:
        """Return the checkpoint of the best epoch.

        Raises
        ------
        StoreIntegrityError
            It is damaged.
        UsageError
            The run has not finished an epoch.
        """
        if not any((self.path / "checkpoints" / name).is_dir() for name in (BEST, f"{BEST}-next")):
            raise UsageError(
                f"{self.path}: expected a checkpoint in checkpoints/best, found none",
                remedy=f"crossan-train --config {self.path}/config.toml --out {self.path} --resume",
            )
        return load_checkpoint(self.path / "checkpoints", BEST)

    def _is_vacant(self) -> bool:
        """Whether the folder holds only what a process killed in `begin` may have left."""
        return self.path.is_dir() and all(
            entry.name in {OWNER_FILE, "env.json"} or _TORN.fullmatch(entry.name)
            for entry in self.path.iterdir()
        )

    def require_same(self, settings: RunSettings) -> None:
        """Refuse to go on with the run under other settings."""
        settings = settings.anywhere()
        before = self.settings().anywhere()
        # Whether a dataset or cache elsewhere holds the same is for their locks to say.
        moved = {name: getattr(settings.data, name) for name in ("dataset", "cache")}
        before = before.model_copy(update={"data": before.data.model_copy(update=moved)})
        changed = settings_differences(before, settings, but=may_change(settings))
        if changed:
            listed = "\n  ".join(changed)
            raise UsageError(
                f"--resume {self.path}: the run there has other settings\n  {listed}",
                remedy="Leave the settings as they were, or start another run with another --out",
            )

    def _write(self, name: str, text: str) -> None:
        replace_durably(self.path / name, text.encode())
