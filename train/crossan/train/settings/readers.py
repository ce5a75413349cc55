"""What reads the settings that some run does not read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from crossan.cache_schema.modality import Modality
from crossan.train.settings.content import MOMEF, ContentSettings, HiddenStateSettings
from crossan.train.settings.counting import HybridSettings
from crossan.train.settings.hybrid_of_runs import HybridOfRunsSettings
from crossan.train.settings.kinds import is_built_in
from crossan.train.settings.models import SasrecSettings
from crossan.train.settings.objective import OBJECTIVES
from crossan.train.settings.run import RunSettings
from crossan.train.settings.triples import VbprSettings
from crossan.train.settings.tuned import PAPERS_MODALITIES, FineTunedSettings, Tuning

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What reads some settings."""

    names: Sequence[str]
    """Dotted names. That of a group stands for all of its settings."""

    needs: str
    """What reads them, in words."""

    are_read: Callable[[RunSettings], bool]
    """Whether a run reads them."""

    is_refused: bool = False
    """Whether no run begins with what is not read, as it lacks another setting of its group."""


def _takes_steps(run: RunSettings) -> bool:
    return run.model.is_trained_by_steps


def _chooses_by_a_figure(run: RunSettings) -> bool:
    # A hybrid of runs takes no steps, but chooses what its terms count.
    return run.model.is_trained_by_steps or run.model.is_of_runs


def _may_be_served_in_part(run: RunSettings) -> bool:
    return run.model.reads_hidden_states or run.model.reads_media


def _has_towers(run: RunSettings) -> bool:
    # What a model of another package reads is not known here.
    has_towers = isinstance(run.model, HiddenStateSettings | FineTunedSettings)
    return has_towers or not is_built_in(run.model)


def _has_ids(run: RunSettings) -> bool:
    model = run.model
    if isinstance(model, HiddenStateSettings) and is_built_in(model):
        return model.id_embedding
    return isinstance(model, SasrecSettings | VbprSettings) or not is_built_in(model)


def _trains_backbone(modality: Modality, run: RunSettings) -> bool:
    if not isinstance(run.model, FineTunedSettings):
        return not is_built_in(run.model)
    return modality in (run.data.modality or PAPERS_MODALITIES)


def _has_memory(run: RunSettings) -> bool:
    # What an objective of another package reads is not known here.
    return run.objective.kind == "cross-batch" or run.objective.kind not in OBJECTIVES


def _encodes_the_catalogue(run: RunSettings) -> bool:
    has_content = _may_be_served_in_part(run) or not is_built_in(run.model)
    is_full_softmax = run.objective.kind == "catalogue" and has_content
    return is_full_softmax or run.objective.kind not in OBJECTIVES


def _samples_items(run: RunSettings) -> bool:
    return _has_memory(run) or _encodes_the_catalogue(run)


def _has_momef(run: RunSettings) -> bool:
    return isinstance(run.model, ContentSettings) and run.model.fusion == MOMEF


def _tunes_by(tuning: Tuning, run: RunSettings) -> bool:
    return not isinstance(run.model, FineTunedSettings) or run.model.tuning == tuning


def _has_item_knn(run: RunSettings) -> bool:
    return not isinstance(run.model, HybridSettings) or run.model.item_knn_weight > 0


def _has_content(run: RunSettings) -> bool:
    return not isinstance(run.model, HybridOfRunsSettings) or run.model.reads_hidden_states


RULES = (
    Rule(
        ("optimiser", "objective", "checkpoint", "batch_size", "max_epochs", "patience"),
        "a model that is trained by steps",
        _takes_steps,
    ),
    Rule(
        ("select_by",),
        "a model that is trained by steps, or a hybrid of runs",
        _chooses_by_a_figure,
    ),
    Rule(
        ("data.drop_items",),
        "a model that reads stores, or media files",
        _may_be_served_in_part,
    ),
    Rule(
        ("features.storage",),
        "a model that reads stores",
        lambda run: run.model.reads_hidden_states,
    ),
    Rule(
        ("optimiser.adapter_lr",),
        "a model of towers, or backbones that are trained",
        _has_towers,
    ),
    Rule(
        ("optimiser.text_lr", "model.text", "model.max_length"),
        "a text backbone that is trained",
        partial(_trains_backbone, Modality.TEXT),
    ),
    *(
        Rule(
            (f"model.{modality.value}",),
            f"data.modality with {modality.value} in it",
            partial(_trains_backbone, modality),
        )
        for modality in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)
    ),
    Rule(
        ("optimiser.id_lr", "optimiser.id_lr_start", "optimiser.id_lr_epochs"),
        "model.id_embedding=true, or model.kind=sasrec or vbpr",
        _has_ids,
    ),
    Rule(
        ("optimiser.id_lr_epochs",),
        "optimiser.id_lr_start",
        lambda run: run.optimiser.id_lr_start is not None,
        is_refused=True,
    ),
    Rule(
        ("optimiser.cosine_floor",),
        "optimiser.cosine_epochs",
        lambda run: run.optimiser.cosine_epochs is not None,
        is_refused=True,
    ),
    Rule(
        ("optimiser.drop_factor",),
        "optimiser.plateau_drops or optimiser.drop_after",
        lambda run: bool(run.optimiser.plateau_drops or run.optimiser.drop_after),
        is_refused=True,
    ),
    Rule(
        ("objective.refresh_steps",),
        "objective.kind=catalogue, and items that have content",
        _encodes_the_catalogue,
        is_refused=True,
    ),
    Rule(
        ("objective.sample_size",),
        "objective.kind=cross-batch, or catalogue and items that have content",
        _samples_items,
        is_refused=True,
    ),
    Rule(
        ("objective.memory_size",),
        "objective.kind=cross-batch",
        _has_memory,
        is_refused=True,
    ),
    Rule(
        ("model.top_k", "model.combine"),
        f"model.fusion={MOMEF}",
        lambda run: _has_momef(run) or not is_built_in(run.model),
        is_refused=True,
    ),
    Rule(
        ("model.bottleneck_dim",),
        "model.tuning=adapter",
        partial(_tunes_by, "adapter"),
    ),
    Rule(("model.rank", "model.alpha"), "model.tuning=lora", partial(_tunes_by, "lora")),
    Rule(
        ("model.shrinkage",),
        "model.item_knn_weight above 0",
        _has_item_knn,
        is_refused=True,
    ),
    Rule(
        ("model.content_width",),
        "a run of --of that reads stores",
        _has_content,
        is_refused=True,
    ),
)
"""Of every setting that some run does not read: what reads it. The first that fits is said."""
