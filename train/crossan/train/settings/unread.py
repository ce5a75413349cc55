"""Settings that a run has and that nothing of it reads.

One table says of settings what reads them. A value other than the default that nothing reads is
refused where a run begins, or said there. It is refused where it lacks another setting of its group,
as ``cosine_floor`` without ``cosine_epochs``: both are one choice. It is said where other kinds of
model read it, as some do ``adapter_lr``, or other tunings of backbones: one file of settings and
one sweep may serve several of them.

What the classes themselves refuse is not in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.common.config import Settings, toml_value
from crossan.train.settings.content import (
    MOMEF,
    ContentSettings,
    HiddenStateSettings,
)
from crossan.train.settings.counting import HybridSettings
from crossan.train.settings.hybrid_of_runs import HybridOfRunsSettings
from crossan.train.settings.kinds import is_built_in
from crossan.train.settings.models import SasrecSettings
from crossan.train.settings.objective import OBJECTIVES
from crossan.train.settings.run import RunSettings
from crossan.train.settings.run_defaults import run_defaults_of
from crossan.train.settings.triples import VbprSettings
from crossan.train.settings.tuned import PAPERS_MODALITIES, FineTunedSettings, Tuning

__all__ = ["REMEDY", "Unread", "need_of", "require_read", "unread_settings"]

REMEDY = "Give what it needs as well, or train without it: crossan-train --allow-unread"


@dataclass(frozen=True, slots=True)
class Unread:
    """A setting that a run has and that nothing of it reads."""

    name: str
    """Dotted name."""

    value: object

    needs: str
    """What would read it."""

    is_refused: bool
    """Whether no run begins with it, unless the user allows that."""

    def __str__(self) -> str:
        """Return the setting, and what it needs."""
        # From Python a setting may be None, which TOML has no value for.
        value = "None" if self.value is None else toml_value(self.value)
        return f"{self.name}={value} is not read: it needs {self.needs}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What reads some settings."""

    names: Sequence[str]
    """Dotted names. That of a group stands for all of its settings."""

    needs: str
    """What reads them, in words."""

    are_read: Callable[[RunSettings], bool]

    is_refused: bool = False


def unread_settings(run: RunSettings) -> list[Unread]:
    """Return the settings that have another value than their default and that nothing reads."""
    return [
        Unread(name, value, rule.needs, rule.is_refused)
        for name, rule in _unread_names(run).items()
        if not _is_default(run, name, value := _value(run, name))
    ]


def need_of(run: RunSettings, name: str) -> str | None:
    """Return what a setting needs to be read, None where the run reads it."""
    rule = _unread_names(run).get(name)
    return None if rule is None else rule.needs


def require_read(run: RunSettings) -> None:
    """Refuse the settings that no run should begin with, as nothing reads them.

    Raises
    ------
    ConfigError
        There are some; all are named.
    """
    refused = [str(unread) for unread in unread_settings(run) if unread.is_refused]
    if refused:
        raise ConfigError("\n  ".join(refused), remedy=REMEDY)


def _unread_names(run: RunSettings) -> dict[str, _Rule]:
    """Return every setting that nothing reads, with the first rule that says so."""
    names: dict[str, _Rule] = {}
    for rule in _RULES:
        if not rule.are_read(run):
            for name in _settings_of(run, rule.names):
                names.setdefault(name, rule)
    return names


def _settings_of(run: RunSettings, names: Sequence[str]) -> Iterator[str]:
    """Yield the settings of a rule that the run has; its kind of model may lack some."""
    for name in names:
        group, _, last = name.rpartition(".")
        owner = _value(run, group) if group else run
        if last not in type(owner).model_fields:
            continue
        value = getattr(owner, last)
        if isinstance(value, Settings):
            yield from (f"{name}.{field}" for field in type(value).model_fields)
        else:
            yield name


def _value(run: RunSettings, name: str) -> object:
    value: object = run
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _is_default(run: RunSettings, name: str, value: object) -> bool:
    """Whether a value is what the setting has where nobody names it."""
    group, _, last = name.rpartition(".")
    owner = _value(run, group) if group else run
    assert isinstance(owner, Settings)
    of_field = type(owner).model_fields[last].get_default(call_default_factory=True)
    return value in (of_field, run_defaults_of(run.model.kind).get(name, of_field))


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


def _learns_by(kinds: Sequence[str], run: RunSettings) -> bool:
    # What an objective of another package reads is not known here.
    return run.objective.kind in kinds or run.objective.kind not in OBJECTIVES


def _encodes_the_catalogue(run: RunSettings) -> bool:
    has_content = _may_be_served_in_part(run) or not is_built_in(run.model)
    return run.objective.kind not in OBJECTIVES or (
        run.objective.kind == "catalogue" and has_content
    )


def _samples_items(run: RunSettings) -> bool:
    return run.objective.kind == "cross-batch" or _encodes_the_catalogue(run)


def _has_momef(run: RunSettings) -> bool:
    return isinstance(run.model, ContentSettings) and run.model.fusion == MOMEF


def _tunes_by(tuning: Tuning, run: RunSettings) -> bool:
    return not isinstance(run.model, FineTunedSettings) or run.model.tuning == tuning


def _has_item_knn(run: RunSettings) -> bool:
    return not isinstance(run.model, HybridSettings) or run.model.item_knn_weight > 0


def _has_content(run: RunSettings) -> bool:
    return not isinstance(run.model, HybridOfRunsSettings) or run.model.reads_hidden_states


_RULES = (
    _Rule(
        ("optimiser", "objective", "checkpoint", "batch_size", "max_epochs", "patience"),
        "a model that is trained by steps",
        _takes_steps,
    ),
    _Rule(
        ("select_by",),
        "a model that is trained by steps, or a hybrid of runs",
        _chooses_by_a_figure,
    ),
    _Rule(
        ("data.drop_items",),
        "a model that reads stores, or media files",
        _may_be_served_in_part,
    ),
    _Rule(
        ("features.storage",),
        "a model that reads stores",
        lambda run: run.model.reads_hidden_states,
    ),
    _Rule(
        ("optimiser.adapter_lr",),
        "a model of towers, or backbones that are trained",
        _has_towers,
    ),
    _Rule(
        ("optimiser.text_lr", "model.text", "model.max_length"),
        "a text backbone that is trained",
        partial(_trains_backbone, Modality.TEXT),
    ),
    *(
        _Rule(
            (f"model.{modality.value}",),
            f"data.modality with {modality.value} in it",
            partial(_trains_backbone, modality),
        )
        for modality in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)
    ),
    _Rule(
        ("optimiser.id_lr", "optimiser.id_lr_start", "optimiser.id_lr_epochs"),
        "model.id_embedding=true, or model.kind=sasrec or vbpr",
        _has_ids,
    ),
    _Rule(
        ("optimiser.id_lr_epochs",),
        "optimiser.id_lr_start",
        lambda run: run.optimiser.id_lr_start is not None,
        is_refused=True,
    ),
    _Rule(
        ("optimiser.cosine_floor",),
        "optimiser.cosine_epochs",
        lambda run: run.optimiser.cosine_epochs is not None,
        is_refused=True,
    ),
    _Rule(
        ("optimiser.drop_factor",),
        "optimiser.plateau_drops or optimiser.drop_after",
        lambda run: bool(run.optimiser.plateau_drops or run.optimiser.drop_after),
        is_refused=True,
    ),
    _Rule(
        ("objective.refresh_steps",),
        "objective.kind=catalogue, and items that have content",
        _encodes_the_catalogue,
        is_refused=True,
    ),
    _Rule(
        ("objective.sample_size",),
        "objective.kind=cross-batch, or catalogue and items that have content",
        _samples_items,
        is_refused=True,
    ),
    _Rule(
        ("objective.memory_size",),
        "objective.kind=cross-batch",
        partial(_learns_by, ("cross-batch",)),
        is_refused=True,
    ),
    _Rule(
        ("model.top_k", "model.combine"),
        f"model.fusion={MOMEF}",
        lambda run: _has_momef(run) or not is_built_in(run.model),
        is_refused=True,
    ),
    _Rule(
        ("model.bottleneck_dim",),
        "model.tuning=adapter",
        partial(_tunes_by, "adapter"),
    ),
    _Rule(("model.rank", "model.alpha"), "model.tuning=lora", partial(_tunes_by, "lora")),
    _Rule(
        ("model.shrinkage",),
        "model.item_knn_weight above 0",
        _has_item_knn,
        is_refused=True,
    ),
    _Rule(
        ("model.content_width",),
        "a run of --of that reads stores",
        _has_content,
        is_refused=True,
    ),
)
"""Of every setting that some run does not read: what reads it. The first that fits is said."""
