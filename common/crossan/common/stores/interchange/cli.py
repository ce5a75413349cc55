"""``crossan cache import|export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import print_json

__all__ = ["export_features", "import_features"]

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def import_features(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Folder of ITEM.pt files, .npy file, or MMRec folder."),
    ],
    source_format: Annotated[str, typer.Option("--format", help="iisan, npy or mmrec.")],
    modality: Annotated[str, typer.Option("--modality", help="text, image, video or audio.")],
    dataset: Annotated[
        str, typer.Option("--dataset", help="Name of the dataset the items belong to.")
    ],
    cache: Annotated[
        Path | None, typer.Option("--cache", envvar="CROSSAN_CACHE", help="Folder of stores.")
    ] = None,
    backbone: Annotated[
        str, typer.Option("--backbone", help="What made the features.")
    ] = "imported",
    ids: Annotated[
        Path | None, typer.Option("--ids", help="List of item ids, one a line (npy).")
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Numbers of the layers, such as 0,2,4.")
    ] = None,
    stored_dtype: Annotated[
        str, typer.Option("--stored-dtype", help="float16, float32 or bfloat16.")
    ] = "float16",
    is_json: _Json = False,
) -> None:
    """Make a store of features that others have computed; .pt files are read without running what is in them."""
    from crossan.cache_schema.modality import Modality
    from crossan.common.stores.interchange import importers

    if source_format not in importers.FORMATS:
        raise UsageError(
            f"--format {source_format}: expected one of {', '.join(importers.FORMATS)}"
        )
    if modality not in set(Modality):
        raise UsageError(f"--modality {modality}: expected one of {', '.join(Modality)}")
    if cache is None:
        raise UsageError("no cache named", remedy="Give --cache FOLDER, or set CROSSAN_CACHE.")
    target = importers.ImportTarget(
        cache=cache,
        dataset=dataset,
        modality=Modality(modality),
        backbone=backbone,
        layers=_parse_layers(layers),
        stored_dtype=stored_dtype,
        ids=ids,
    )
    made = importers.import_features(source, source_format, target)
    if is_json:
        print_json({"store": str(made.store), "version": made.version, "items": made.items})
    else:
        print(f"{made.store}: version {made.version}, {made.items:,} items")


def export_features(
    target_format: Annotated[str, typer.Argument(metavar="FORMAT", help="mmrec.")],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of one store.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    layer: Annotated[
        int | None, typer.Option("--layer", help="Kept layer; default: the last.")
    ] = None,
    is_json: _Json = False,
) -> None:
    """Write one layer of a store as the feature files of MMRec."""
    from crossan.common.stores.interchange.mmrec import export_mmrec
    from crossan.common.stores.reader import open_store

    if target_format != "mmrec":
        raise UsageError(f"export {target_format}: expected mmrec")
    files = export_mmrec(open_store(store), out, layer)
    if is_json:
        print_json({"files": [str(path) for path in files]})
    else:
        print("\n".join(map(str, files)))


def _parse_layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--layers {text}: expected layer numbers such as 0,2,4") from error
