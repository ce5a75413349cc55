"""``crossan backbones``: presets with their licences, what a checkpoint is, tiny checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import (
    AsJson,
    Column,
    Device,
    Panel,
    add_command,
    app_settings,
    note,
    print_fields,
    print_json,
    print_table,
    print_text,
)
from crossan.extract.options import MaxLength

__all__ = ["app"]

app = typer.Typer(
    help="Frozen backbones: presets, licences, tiny checkpoints to try.", **app_settings()
)

_COLUMNS = ("name", "modality", "licence", "commercial", "hub id", "note")
_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Preset name, hub id or folder.")]
_Modality = Annotated[
    Modality | None,
    typer.Option(
        "--modality",
        help="What it must read; default: what its config says.",
        rich_help_panel=Panel.WHAT,
    ),
]
_Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a hub id.",
        rich_help_panel=Panel.WHAT,
    ),
]


@add_command(app, "ls")
def list_presets(as_json: AsJson = False) -> None:
    """List the backbones that have a name of their own, with their licences.

    Examples
    --------
    crossan backbones ls
    """
    from crossan.extract.backbones.plugins import plugin_names
    from crossan.extract.backbones.presets import PRESETS

    plugins = plugin_names()
    if as_json:
        print_json({"backbones": [asdict(preset) for preset in PRESETS], "plugins": plugins})
        return
    print_table(
        [Column(name) for name in _COLUMNS],
        [
            [
                preset.name,
                preset.modality.value,
                preset.licence,
                "yes" if preset.is_commercial else "NO",
                preset.hub_id,
                preset.note,
            ]
            for preset in PRESETS
        ],
    )
    for model_type, distribution in plugins.items():
        note(f"Plug-in {distribution}: any checkpoint of model_type {model_type}.")
    note(
        "Any BERT, ViT, AST, VideoMAE or ViViT checkpoint serves: --backbone HUB_ID_OR_FOLDER."
        " Licences are those of the model cards."
    )


@add_command(app, "info")
def info(
    backbone: _Source,
    modality: _Modality = None,
    revision: _Revision = None,
    max_length: MaxLength = None,
    as_json: AsJson = False,
) -> None:
    """Show what fixes a checkpoint's numbers: revision, digests, layers, processor.

    Examples
    --------
    crossan backbones info bert-base
    """
    from crossan.extract.backbones.presets import find_preset, resolve
    from crossan.extract.backbones.snapshot import find_snapshot

    kind = _modality_of(backbone, revision, modality)
    _refuse_max_length(max_length, kind, backbone)
    snapshot = find_snapshot(*resolve(backbone, revision))
    # Only now, for torch takes seconds, and a missing backbone should be said at once.
    from crossan.extract.backbones.opening import load_backbone

    preset = find_preset(snapshot.hub_id or "")
    loaded = load_backbone(kind, backbone, revision=revision, max_length=max_length)
    report: dict[str, Any] = loaded.identity("float16", "raw").to_dict()
    report |= {"folder": str(snapshot.folder), "licence": preset.licence if preset else None}
    if as_json:
        print_json(report)
        return
    identity, inputs = report["backbone"], report["inputs"]
    print_fields(
        [
            ("id", str(identity["id"])),
            ("family", str(identity["family"])),
            ("revision", str(identity["revision"])),
            ("modality", kind.value),
            ("layers", f"{', '.join(map(str, loaded.layers))} (half)   width {loaded.dim}"),
            ("pooling", loaded.pooling),
            ("final norm", str(report["capture"]["final_norm"])),
            ("processor", f"{inputs['processor']} ({inputs['preparation']})"),
            *(
                [("max length", f"{inputs['max_length']} tokens")]
                if inputs["max_length"] is not None
                else []
            ),
            ("folder", str(snapshot.folder)),
            ("licence", preset.licence if preset else "unknown: see its model card"),
            *(
                ("sha256", f"{digest}  {name}")
                for name, digest in identity["weights_sha256"].items()
            ),
        ]
    )
    if loaded.pooling in {"cls", "special"}:
        note(
            f"The {loaded.pooling} vector of hidden state 0 is the same for every item:"
            " it has read nothing yet."
        )


@add_command(app, "check")
def check(
    backbone: _Source,
    modality: _Modality = None,
    revision: _Revision = None,
    max_length: MaxLength = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Try whether a backbone, of a plug-in above all, keeps what a job relies on.

    The exit code is 1 where it does not.

    Examples
    --------
    crossan backbones check demo/backbones/text --modality text
    """
    kind = _modality_of(backbone, revision, modality)
    _refuse_max_length(max_length, kind, backbone)
    from crossan.extract.backbones.conformance import check_backbone

    checks = check_backbone(kind, backbone, revision=revision, max_length=max_length, device=device)
    holds = all(check.holds for check in checks)
    if as_json:
        print_json(
            {
                "backbone": backbone,
                "modality": kind.value,
                "holds": holds,
                "checks": [asdict(check) for check in checks],
            }
        )
    else:
        for check in checks:
            print_text(f"{'ok' if check.holds else 'FAILS':<6} {check.name}: {check.found}")
    if not holds:
        raise typer.Exit(1)


def _modality_of(source: str, revision: str | None, given: Modality | None) -> Modality:
    """Return the modality that was given, or what the family of the checkpoint reads."""
    from crossan.extract.backbones.plugins import find_family
    from crossan.extract.backbones.presets import resolve
    from crossan.extract.backbones.snapshot import find_snapshot

    if given is not None:
        return given
    family = find_family(str(find_snapshot(*resolve(source, revision)).config.get("model_type")))
    return family.modality if family else Modality.TEXT


def _refuse_max_length(max_length: int | None, modality: Modality, source: str) -> None:
    """Refuse a length of titles for a backbone that reads none."""
    if max_length is not None and modality is not Modality.TEXT:
        raise UsageError(
            f"--max-length {max_length}: titles are cut to it, and {source} reads {modality.value}",
            remedy="Leave --max-length out",
        )


@add_command(app, "init-tiny")
def init_tiny(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for text/, image/, video/ and audio/.")
    ],
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            help="The same seed gives the same bytes.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Write tiny checkpoints with random weights, laid out as hub snapshots.

    Examples
    --------
    crossan backbones init-tiny tiny
    """
    from crossan.extract.backbones.tiny import write_tiny

    folders = {modality.value: str(folder) for modality, folder in write_tiny(out, seed).items()}
    if as_json:
        print_json({"backbones": folders, "seed": seed})
        return
    print_fields(list(folders.items()))
