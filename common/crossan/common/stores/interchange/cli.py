"""``crossan cache import|export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import AsJson, Panel, print_json, print_text
from crossan.common.stores.options import CacheFolder, StoreFolder

__all__ = ["export_features", "import_features"]


def import_features(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Folder of ITEM.pt files, .npy file, or MMRec folder."),
    ],
    source_format: Annotated[
        Literal["iisan", "npy", "mmrec"],
        typer.Option("--format", help="How SRC is laid out.", rich_help_panel=Panel.WHAT),
    ],
    modality: Annotated[
        Modality,
        typer.Option("--modality", help="What the features are of.", rich_help_panel=Panel.WHAT),
    ],
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Name of the dataset the items belong to.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    cache: CacheFolder = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="What made the features; default: unknown.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="NOTE",
            help="What the features may be used for; default: unknown.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids",
            metavar="FILE",
            help="Item ids in the order of the rows, one a line, or an i_id_mapping.csv (npy, mmrec).",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="N,N,...",
            help="Numbers of the layers, such as 0,2,4.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    stored_dtype: Annotated[
        Literal["float16", "float32", "bfloat16"] | None,
        typer.Option(
            "--stored-dtype",
            help="Type of the stored numbers; default: that of an array, float16 of iisan.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Make a store of features that others have computed.

    Files of torch (.pt) and NumPy are read without running what is in them.

    Examples
    --------
    crossan cache import baby --format mmrec --modality image --dataset baby --cache cache
    crossan cache import features.npy --format npy --ids ids.txt \
        --modality image --dataset toys --cache cache
    """
    from crossan.common.stores.folders import require_cache
    from crossan.common.stores.interchange import importers

    target = importers.ImportTarget(
        cache=require_cache(cache),
        dataset=dataset,
        modality=modality,
        backbone=backbone,
        licence=licence,
        layers=_parse_layers(layers),
        stored_dtype=stored_dtype,
        ids=ids,
    )
    made = importers.import_features(source, source_format, target)
    if as_json:
        print_json({"store": str(made.store), "version": made.version, "items": made.items})
    else:
        print_text(f"{made.store}: version {made.version}, {made.items:,} items")


def export_features(
    target_format: Annotated[Literal["mmrec"], typer.Argument(metavar="FORMAT", help="mmrec.")],
    store: StoreFolder,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Folder to write to.", rich_help_panel=Panel.WHAT
        ),
    ],
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Kept layer; default: the last.", rich_help_panel=Panel.WHAT),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one layer of a store as the feature files of MMRec.

    Examples
    --------
    crossan cache export mmrec demo/cache/sample/text/* --out mmrec
    """
    from crossan.common.stores.interchange.mmrec import export_mmrec
    from crossan.common.stores.reader import open_store
    from crossan.common.stores.sharing.addresses import require_file_target

    require_file_target(out)
    del target_format  # there is one; it is named so that another can come
    files = export_mmrec(open_store(store), out, layer)
    if as_json:
        print_json({"files": [str(path) for path in files]})
    else:
        print_text("\n".join(map(str, files)))


def _parse_layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--layers {text}: expected layer numbers such as 0,2,4") from error
