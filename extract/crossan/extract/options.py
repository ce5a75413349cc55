"""The options of ``crossan-extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crossan.cache_schema.modality import Modality
from crossan.common.console import Panel, complete_from

__all__ = [
    "BackboneName",
    "BatchSize",
    "ClipsFolder",
    "CodecName",
    "Compile",
    "ComputeDtype",
    "DatasetFolder",
    "DryRun",
    "ItemMemory",
    "ItemSeconds",
    "Layers",
    "Limit",
    "MaxBad",
    "MaxLength",
    "Modalities",
    "NumWorkers",
    "Pooling",
    "Repair",
    "ReplaceContents",
    "Reuse",
    "Revision",
    "ShardText",
    "StoredDtype",
]

Modalities = Annotated[
    str,
    typer.Option(
        "--modality",
        metavar="text,image,...",
        autocompletion=complete_from([modality.value for modality in Modality] + ["all"]),
        help="text, image, video or audio, a comma list of them, or all.",
        rich_help_panel=Panel.WHAT,
    ),
]
DatasetFolder = Annotated[
    Path,
    typer.Option(
        "--dataset",
        metavar="FOLDER",
        envvar="CROSSAN_DATASET",
        show_default=False,
        help="Dataset folder; default: the current folder.",
        rich_help_panel=Panel.WHAT,
    ),
]
BackboneName = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Preset, hub id or folder, also one with a subfolder per modality;"
        " default: the paper's.",
        rich_help_panel=Panel.WHAT,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Commit of the hub id; default: the one that the preset pins.",
        rich_help_panel=Panel.WHAT,
    ),
]
Layers = Annotated[
    str,
    typer.Option(
        "--layers",
        metavar="LAYERS",
        autocompletion=complete_from(["half", "all"]),
        help="Hidden states to keep: half, all, or a list such as 0,2,4.",
        rich_help_panel=Panel.WHAT,
    ),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        metavar="POOLING",
        help="cls, mean, ...; default: what the backbone's family is made for.",
        rich_help_panel=Panel.WHAT,
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        metavar="TOKENS",
        min=1,
        help="Cut titles after so many tokens, special tokens included;"
        " default: where the backbone stops reading.",
        rich_help_panel=Panel.WHAT,
    ),
]
ComputeDtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option(
        "--dtype",
        help="Type to compute in.",
        rich_help_panel=Panel.WHAT,
    ),
]
StoredDtype = Annotated[
    Literal["float16", "float32", "bfloat16"],
    typer.Option(
        "--stored-dtype",
        help="Type of the stored numbers.",
        rich_help_panel=Panel.WHAT,
    ),
]
CodecName = Annotated[
    Literal["raw", "zstd", "blosc"],
    typer.Option(
        "--codec",
        help="How chunks are written: raw for trainers, which map it, the others for archives.",
        rich_help_panel=Panel.WHAT,
    ),
]
ClipsFolder = Annotated[
    Path | None,
    typer.Option(
        "--clips",
        metavar="FOLDER",
        help="Folder that keeps the decoded clips of videos, for the next backbone;"
        " values differ slightly with it.",
        rich_help_panel=Panel.WHAT,
    ),
]
Reuse = Annotated[
    str | None,
    typer.Option(
        "--reuse",
        metavar="ADDRESS",
        help="Store or cache (folder, s3://, https://), of any dataset, to take rows from"
        " where the content is the same.",
        rich_help_panel=Panel.WHAT,
    ),
]
Repair = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Mend what crossan cache fsck names, and compute again what cannot be saved.",
        rich_help_panel=Panel.WHAT,
    ),
]
ReplaceContents = Annotated[
    bool,
    typer.Option(
        "--replace-contents",
        help="Compute the items again although most have another title or file than the store"
        " was made from.",
        rich_help_panel=Panel.WHAT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done and how large it gets; write nothing.",
        rich_help_panel=Panel.WHAT,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the backbone's blocks with torch.compile.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Items per forward, or auto: tried once, then recorded with the store."
        " Default: as recorded, else auto on an accelerator,"
        " 16 titles, 8 images, 8 videos or 4 sounds elsewhere.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
NumWorkers = Annotated[
    int | None,
    typer.Option(
        "--num-workers",
        min=0,
        help="Processes that decode ahead of the forward; default: one per core, 16 at most.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
ShardText = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="This job's share of the batches, for example 3/16.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
MaxBad = Annotated[
    str,
    typer.Option(
        "--max-bad",
        metavar="SHARE",
        help="Share of items that may be missing or unreadable; above it exit 3.",
        rich_help_panel=Panel.LIMITS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Do at most so many items of each modality, then stop.",
        rich_help_panel=Panel.LIMITS,
    ),
]
ItemSeconds = Annotated[
    float,
    typer.Option(
        "--item-seconds",
        metavar="SECONDS",
        help="Computing time that decoding one item may take; over it, it is quarantined.",
        rich_help_panel=Panel.LIMITS,
    ),
]
ItemMemory = Annotated[
    str,
    typer.Option(
        "--item-memory",
        metavar="SIZE",
        help="Memory that decoding one item may take.",
        rich_help_panel=Panel.LIMITS,
    ),
]
