"""The card of a version: what it was made from, what its figures are of, and what its files are."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.files import read_regular
from crossan.common.foreign import read_json, require_shape
from crossan.common.stores.pins import LOCK_FILE, pin_version
from crossan.train.record.shapes import Lock, Result, read_record
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.registry.weights import require_finite_weights

__all__ = [
    "card_of",
    "pin_stores",
    "require_recorded_weights",
    "require_sound",
    "require_sound_weights",
]

_RESULT_FILE = "result.json"
_FIGURES = (
    "model", "valid", "test", "cold_valid", "cold_test", "popularity", "users", "items", "split",
    "split_seed", "mask_history", "targets", "unwinnable_test_targets", "trainable_parameters",
    "epochs", "best_epoch", "stopped_by", "drops", "seconds_per_epoch", "sequences",
)  # fmt: skip
"""What a card repeats of ``result.json``."""
_TRAINED_ON = {"validation": "training and validation", "all": "everything"}
"""What a refit trains on, in words, by the name that ``--refit`` has for it."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Refit(_Shape):
    trained_on: Literal["validation", "all"]


class _RefitResult(_Shape):
    """``result.json`` of a refit, which has no figures."""

    refit: _Refit


def require_sound(run: Path) -> Mapping[str, Any]:
    """Return the figures of a finished run, and refuse one that nobody should be served by.

    Raises
    ------
    UsageError
        It is not finished.
    StoreIntegrityError
        A figure is NaN, a weight is not finite, or a file is damaged.
    """
    figures = read_record(run / _RESULT_FILE, Result)
    if figures is None:
        raise UsageError(
            f"{run}: expected a finished run with test figures in {_RESULT_FILE}, found none",
            remedy="Wait until the run has succeeded: crossan runs ls",
        )
    require_sound_weights(run)
    return figures  # type: ignore[no-any-return]


def require_sound_weights(run: Path) -> None:
    """Refuse a run whose weights are damaged, or are not finite.

    Raises
    ------
    UsageError
        It has none.
    StoreIntegrityError
        They are damaged, or one is NaN or infinite.
    """
    folder = run / "checkpoints/best"
    if not (run / "config.toml").is_file() or not folder.is_dir():
        raise UsageError(
            f"{run}: expected the weights of a finished run in checkpoints/best, found none",
            remedy="Wait until the run has succeeded: crossan runs ls",
        )
    for path in sorted(folder.glob("*.safetensors")):
        require_finite_weights(path)


def require_recorded_weights(run: Path, digests: Mapping[str, str]) -> None:
    """Refuse weights that are not those which the training recorded.

    Parameters
    ----------
    run
        The copied run.
    digests
        SHA-256 of its files, by their paths in it.

    Raises
    ------
    StoreIntegrityError
        A file is another one, or missing.
    """
    where = "checkpoints/best/state.json"
    recorded = parse_object(read_regular(run, where), str(run / where)).get("sha256")
    if not isinstance(recorded, dict) or "model.safetensors" not in recorded:
        raise StoreIntegrityError(f"{run / where}: expected the digests of its files, found none")
    for name, digest in recorded.items():
        if digests.get(f"checkpoints/best/{name}") != digest:
            raise StoreIntegrityError(
                f"{run}/checkpoints/best/{name}: its bytes are not those that training wrote",
                remedy="Train the run again: crossan runs submit",
            )


def card_of(
    run: RunRow,
    judged: Path,
    served: Path | None,
    figures: Mapping[str, Any],
    sha256: Mapping[str, str],
) -> dict[str, Any]:
    """Return the card of a version.

    Parameters
    ----------
    run
        The training that was judged.
    judged
        Its copied run folder.
    served
        That of the refitted weights, None where the judged ones are served.
    figures
        The ``result.json`` of the judged run.
    sha256
        Of all files, by their paths below the version's folder.
    """
    return {
        "spec": dict(run.spec),
        "figures": {
            "of": "judged",
            **{name: figures[name] for name in _FIGURES if name in figures},
        },
        "served": {"is_refitted": served is not None, "trained_on": _trained_on(served)},
        "dataset": {"name": run.dataset, "sequences": figures.get("sequences")},
        "stores": {
            modality: {
                "store": Path(entry["store"]).name,
                **{name: entry.get(name) for name in ("fingerprint", "version", "manifest")},
            }
            for modality, entry in _locked(served or judged).items()
        },
        "crossan": version("crossan"),
        "python": platform.python_version(),
        "sha256": dict(sorted(sha256.items())),
    }


def pin_stores(run: Path) -> None:
    """Note in the stores of a copied run that it needs their versions."""
    for entry in _locked(run).values():
        store = Path(entry["store"])
        # A store that lies elsewhere by now cannot be told, and none is made in its place.
        if store.is_dir():
            pin_version(store, entry["version"], run / LOCK_FILE)


def _trained_on(served: Path | None) -> str:
    """Return what the weights that answer were trained on: no figure of the card is theirs."""
    if served is None:
        return "training"
    path = served / _RESULT_FILE
    try:
        result = require_shape(
            read_json(path, StoreIntegrityError), _RefitResult, str(path), StoreIntegrityError
        )
    except FileNotFoundError:
        raise UsageError(
            f"{served}: expected a finished refit with {_RESULT_FILE}, found none",
            remedy="Wait until the refit has succeeded: crossan runs ls",
        ) from None
    return _TRAINED_ON[result.refit.trained_on]


def _locked(run: Path) -> dict[str, dict[str, Any]]:
    lock = read_record(run / LOCK_FILE, Lock) or {"stores": {}}
    stores: dict[str, dict[str, Any]] = lock["stores"]
    return stores
