"""The options of ``crossan-train`` alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import Panel
from crossan.common.split import RefitScope
from crossan.train.options.shared import complete_model

__all__ = [
    "AllowOtherSpec",
    "AllowUnread",
    "Assignments",
    "BatchSize",
    "Compared",
    "Epochs",
    "InitFrom",
    "LearningRate",
    "Log",
    "LogName",
    "MaxItems",
    "Model",
    "NoRecording",
    "OfRuns",
    "OutFolder",
    "Patience",
    "PredictMemory",
    "RecipeName",
    "Reference",
    "Refit",
    "RefitInit",
    "Resume",
    "Seed",
    "Stores",
    "ValidationOnly",
]

OutFolder = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help="Run folder to write.", rich_help_panel=Panel.WHAT
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="What to train; the paper's model by default: crossan, indsan, iisan, iisan-e, frozen, fine-tuned, sasrec, popularity, bigram, markov, item-knn, title-knn, hybrid, hybrid-of-runs, vbpr, mmgcn, grcn, bm3, freedom, mgcn, mhcr.",
        autocompletion=complete_model,
        rich_help_panel=Panel.WHAT,
    ),
]
OfRuns = Annotated[
    str | None,
    typer.Option(
        "--of",
        metavar="RUN[,RUN...]",
        help="With --model hybrid: finished runs to whose scores a Markov chain and their content"
        " are added. Data, stores and protocol are theirs.",
        rich_help_panel=Panel.WHAT,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Begin with the settings of a row of the paper: crossan recipe ls. All else wins"
        " over them.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Stores = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Store folder, where there are several of one modality, or FOLDER@3 for its version 3;"
        " repeatable, and several of one modality are a tower each.",
        rich_help_panel=Panel.WHAT,
    ),
]
InitFrom = Annotated[
    Path | None,
    typer.Option(
        "--init",
        metavar="RUN",
        help="Begin with the best weights of this run.",
        rich_help_panel=Panel.WHAT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue the run in --out if there is one.",
        rich_help_panel=Panel.WHAT,
    ),
]
AllowOtherSpec = Annotated[
    bool,
    typer.Option(
        "--allow-other-spec",
        help="Resume with other threads, another device or other library versions;"
        " the numbers will differ.",
        rich_help_panel=Panel.WHAT,
    ),
]
AllowUnread = Annotated[
    bool,
    typer.Option(
        "--allow-unread",
        help="Train with settings that nothing reads, such as optimiser.cosine_floor without"
        " optimiser.cosine_epochs; they are said.",
        rich_help_panel=Panel.WHAT,
    ),
]
NoRecording = Annotated[
    bool,
    typer.Option(
        "--no-recording",
        help="On an accelerator, launch every step anew in place of repeating a recording of it:"
        " the same numbers, slower.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
Compared = Annotated[
    Path | None,
    typer.Option(
        "--compared",
        metavar="FILE",
        hidden=True,
        help="What a sweep has compared for its trials: contents.json in its folder.",
        rich_help_panel=Panel.WHAT,
    ),
]


class LogName(StrEnum):
    """Programs that show the curves of a training."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"


Log = Annotated[
    list[LogName] | None,
    typer.Option(
        "--log",
        metavar="tensorboard|mlflow",
        help="Write curves for it, beside metrics.jsonl; may be given twice.",
        rich_help_panel=Panel.WHAT,
    ),
]
ValidationOnly = Annotated[
    bool,
    typer.Option(
        "--validation-only",
        help="Never look at test targets; the same command with --resume, without it, does.",
        rich_help_panel=Panel.WHAT,
    ),
]
Refit = Annotated[
    RefitScope | None,
    typer.Option(
        "--refit",
        metavar="validation|all",
        help="Train again on held-out items too, for as many epochs as were best, into"
        " FOLDER/refit: a model to serve, of which no figure is known.",
        rich_help_panel=Panel.WHAT,
    ),
]
RefitInit = Annotated[
    Path | None,
    typer.Option(
        "--refit-init",
        metavar="RUN",
        help="Begin the refit with the best weights of this run, which may be a refit; default:"
        " where the judged run begins.",
        rich_help_panel=Panel.WHAT,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting, for example model.top_k=3; repeatable.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
MaxItems = Annotated[
    int | None,
    typer.Option(
        "--max-items",
        help="Items kept per user, the last ones; default: 13.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
PredictMemory = Annotated[
    bool,
    typer.Option(
        "--predict-memory",
        help="Say before the first step how much memory training takes at its peak. On an"
        " accelerator it is said in any case.",
        rich_help_panel=Panel.LIMITS,
    ),
]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference",
        help="Train by the slow, plain step, to compare with.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Learning rate of fusion and sequence encoder (optimiser.lr); the side adapters have"
        " their own, optimiser.adapter_lr; default: 0.001.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Users per step (batch_size); default: 512, or that of the kind of model.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Epochs at most (max_epochs); default: 100.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        help="Epochs without a better validation HR@10 before training stops (patience);"
        " default: 10.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Seed of weights, order and dropout (seed); default: 0.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
