"""The statistics by which a run standardises its hidden states, wherever they come from."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.console import note
from crossan.train.features import StoredStates
from crossan.train.features.moments import LayerMoments
from crossan.train.features.standardise import Standardiser, Standardisers, from_tensors
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.statistics import STATISTICS_FILE, read_statistics
from crossan.train.settings import HybridOfRunsSettings, RunSettings
from crossan.train.settings.tower import Tower

__all__ = ["settle_standardisers"]


def settle_standardisers(
    settings: RunSettings, folder: RunFolder, stored: StoredStates, *, is_training: bool
) -> Standardisers | None:
    """Return the statistics of a run, None where its layers are read as they are stored.

    They are those in its folder. A run that begins with the weights of another
    (``init``), or has the weights of others, takes that one's, under which the
    weights were learned. Any other
    run that is about to be trained takes those of its own items.

    Parameters
    ----------
    settings, folder
        The run's.
    stored
        Its hidden states, not yet standardised.
    is_training
        Whether statistics that are not there may be made.

    Raises
    ------
    StoreIntegrityError
        They are missing or damaged.
    """
    if settings.features.standardise == "none":
        return None
    recorded = _recorded(folder.path, stored)
    if recorded is not None:
        return recorded
    if not is_training:
        raise _missing(folder.path)
    earlier = _learned_under(settings)
    if earlier is not None:
        recorded = _recorded(earlier, stored)
        if recorded is None:
            raise _missing(earlier)
        note(f"features.standardise=layer: with the statistics of {earlier}")
        return recorded
    moments = stored.moments()
    _describe(moments, stored)
    return {modality: Standardiser.of(one) for modality, one in moments.items()}


def _learned_under(settings: RunSettings) -> Path | None:
    """Return the run under whose statistics the weights were learned that a run begins with."""
    if settings.init is not None:
        return Path(settings.init)
    if isinstance(settings.model, HybridOfRunsSettings):
        reading = (base for base in settings.model.of if base.model.reads_hidden_states)
        return Path(next(reading).run)
    return None


def _recorded(run: Path, stored: StoredStates) -> Standardisers | None:
    tensors = read_statistics(run)
    if tensors is None:
        return None
    shapes = {
        modality: stored.row_of(number)[0] for number, modality in enumerate(stored.modalities)
    }
    return from_tensors(tensors, shapes, str(run / STATISTICS_FILE))


def _missing(run: Path) -> StoreIntegrityError:
    return StoreIntegrityError(
        f"{run}: expected the statistics of its layers in {STATISTICS_FILE}, found none",
        remedy="Make them anew from the same stores:"
        f" crossan-train --config {run}/config.toml --out {run} --resume",
    )


def _describe(moments: dict[Tower, LayerMoments], stored: StoredStates) -> None:
    """Print how far the layers are apart, and name those that say nothing of an item."""
    parts = []
    for modality, of_modality in moments.items():
        deviations = (of_modality.variance**0.5).tolist()
        parts.append(f"{modality.value} {min(deviations):.3g} to {max(deviations):.3g}")
    note(f"features.standardise=layer: deviations of the layers: {', '.join(parts)}")
    flat = [
        f"{modality.value} {', '.join(map(str, numbers))}"
        for modality, of_modality in moments.items()
        if (numbers := _numbers(stored.layers_of(modality), of_modality))
    ]
    if flat:
        note(f"layers that are the same for every item, centred and not scaled: {'; '.join(flat)}")


def _numbers(layers: tuple[int, ...], moments: LayerMoments) -> list[int]:
    """Return the numbers of the layers that are flat."""
    return [layer for layer, is_flat in zip(layers, moments.is_flat, strict=True) if is_flat]
