"""Which way the steps of a training are taken."""

from __future__ import annotations

from typing import Literal

import torch

from crossan.train.loop.adamw import AdamW
from crossan.train.loop.gradient_sum import GradientSum
from crossan.train.loop.recorded_steps import RecordedSteps
from crossan.train.loop.recorder import Recorder, Repeater
from crossan.train.loop.step_runner import EagerSteps, StepRunner
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives import Objective, ObjectiveContext
from crossan.train.objectives.buckets import BucketedBatches
from crossan.train.objectives.shared_buckets import SharedBatches
from crossan.train.settings import ContentSettings, RunSettings, SequenceSettings
from crossan.train.settings.content import FUSIONS
from crossan.train.settings.kinds import is_built_in

__all__ = ["WayOfSteps", "is_recorded", "recorder_of", "repeater_of", "steps_of", "way_of_steps"]

WayOfSteps = Literal["recorded", "eager"]
"""Whether steps are recorded in a few shapes, or computed in the shapes of their batches."""


def recorder_of(device: torch.device) -> Recorder | None:
    """Return what records the steps of a device, None where launching costs little."""
    if device.type != "cuda":
        return None
    from crossan.train.loop.cuda_recorder import CudaRecorder

    return CudaRecorder(device)


def repeater_of(device: torch.device) -> Recorder | None:
    """Return what launches every step anew where `recorder_of` would record it, None elsewhere.

    The steps are filled up to the same shapes, so no number depends on which of the two takes them.
    """
    return Repeater() if device.type == "cuda" else None


def is_recorded(settings: RunSettings) -> bool:
    """Return whether the steps of a run can be recorded, where the device records.

    They need a few shapes, and must never ask the device for a number. That is known of our own
    sequence models over hidden states or ids, with the in-batch objective.
    """
    model = settings.model
    if settings.reference or settings.objective.kind != "in-batch":
        return False
    # Another package's model or fusion may do anything, and a trained backbone reads media.
    if not isinstance(model, SequenceSettings) or not is_built_in(model) or model.reads_media:
        return False
    return not isinstance(model, ContentSettings) or model.fusion in FUSIONS


def way_of_steps(settings: RunSettings, device: torch.device) -> WayOfSteps | None:
    """Return which way a run takes its steps on a device, None where it takes none.

    The numbers of the two agree to rounding, so one run on one device takes one way.
    """
    if not settings.model.is_trained_by_steps:
        return None
    return "recorded" if device.type == "cuda" and is_recorded(settings) else "eager"


def steps_of(
    run: TrainableRun | RefitRun,
    context: ObjectiveContext,
    objective: Objective,
    optimiser: AdamW,
    sum_gradients: GradientSum | None,
    recorder: Recorder | None,
) -> StepRunner:
    """Return what takes the steps of a run.

    Parameters
    ----------
    run
        What is trained.
    context, objective
        What the objective was made for, and the objective.
    optimiser
        Its rule.
    sum_gradients
        What adds up the gradients of several ranks, None for one.
    recorder
        What records the steps, None for steps in the shapes that batches happen to have.
    """
    if recorder is None or not is_recorded(run.settings):
        return EagerSteps(run.model, objective, run.features, optimiser, sum_gradients)
    assert isinstance(run.model, SequenceModel)  # by its settings
    learned = (context.train.sequences, run.settings.batch_size, context.log_popularity)
    rule = context.rule()
    batches = (
        SharedBatches(context.ranks, *learned, rule)
        if context.ranks.count > 1
        else BucketedBatches(*learned, rule)
    )
    return RecordedSteps(run.model, batches, run.features, optimiser, recorder, sum_gradients)
