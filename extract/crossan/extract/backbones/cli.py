"""``crossan backbones``: presets with their licences, what a checkpoint is, tiny checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import app_settings, note, print_json

__all__ = ["app"]

app = typer.Typer(
    help="Frozen backbones: presets, licences, tiny checkpoints to try.", **app_settings()
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("ls")
def list_presets(is_json: _Json = False) -> None:
    """List the backbones that have a name of their own, with their licences."""
    from crossan.extract.backbones.plugins import plugin_names
    from crossan.extract.backbones.presets import PRESETS

    plugins = plugin_names()
    if is_json:
        print_json({"backbones": [asdict(preset) for preset in PRESETS], "plugins": plugins})
        return
    print(f"{'NAME':<14} {'MODALITY':<9} {'LICENCE':<13} {'COMMERCIAL':<11} {'HUB ID':<40} NOTE")
    for preset in PRESETS:
        allowed = "yes" if preset.is_commercial else "NO"
        print(
            f"{preset.name:<14} {preset.modality.value:<9} {preset.licence:<13} {allowed:<11} {preset.hub_id:<40} {preset.note}"
        )
    for model_type, distribution in plugins.items():
        note(f"Plug-in {distribution}: any checkpoint of model_type {model_type}.")
    note(
        "Any BERT, ViT, AST, VideoMAE or ViViT checkpoint serves: --backbone HUB_ID_OR_FOLDER. Licences are those of the model cards."
    )


@app.command("info")
def info(
    backbone: Annotated[str, typer.Argument(help="Preset name, hub id or folder.")],
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="What it must read; default: what its config says."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of a hub id.")
    ] = None,
    is_json: _Json = False,
) -> None:
    """Show what fixes a checkpoint's numbers: revision, digests, layers, processor."""
    from crossan.extract.backbones.backbone import load_backbone
    from crossan.extract.backbones.presets import find_preset, resolve
    from crossan.extract.backbones.snapshot import find_snapshot

    kind = _modality_of(backbone, revision, modality)
    snapshot = find_snapshot(*resolve(backbone, revision))
    preset = find_preset(snapshot.hub_id or "")
    loaded = load_backbone(kind, backbone, revision=revision)
    report: dict[str, Any] = loaded.identity("float16", "raw").to_dict()
    report |= {"folder": str(snapshot.folder), "licence": preset.licence if preset else None}
    if is_json:
        print_json(report)
        return
    identity = report["backbone"]
    print(
        f"id         {identity['id']}\nfamily     {identity['family']}\nrevision   {identity['revision']}"
    )
    print(
        f"modality   {kind.value}\nlayers     {', '.join(map(str, loaded.layers))} (half)   width {loaded.dim}"
    )
    print(
        f"pooling    {loaded.pooling}\nfinal norm {report['capture']['final_norm']}\nprocessor  {report['inputs']['processor']} ({report['inputs']['preparation']})\nfolder     {snapshot.folder}"
    )
    print(f"licence    {preset.licence if preset else 'unknown: see its model card'}")
    for name, digest in identity["weights_sha256"].items():
        print(f"sha256     {digest}  {name}")
    if loaded.pooling in {"cls", "special"}:
        note(
            f"The {loaded.pooling} vector of hidden state 0 is the same for every item: it has read nothing yet."
        )


@app.command("check")
def check(
    backbone: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Preset name, hub id or folder.")
    ],
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="What it must read; default: what its config says."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of a hub id.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, ...")] = "auto",
    is_json: _Json = False,
) -> None:
    """Try whether a backbone, of a plug-in above all, keeps what a job relies on; exit 1 where it does not."""
    from crossan.extract.backbones.conformance import check_backbone

    kind = _modality_of(backbone, revision, modality)
    checks = check_backbone(kind, backbone, revision=revision, device=device)
    holds = all(check.holds for check in checks)
    if is_json:
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
            print(f"{'ok' if check.holds else 'FAILS':<6} {check.name}: {check.found}")
    if not holds:
        raise typer.Exit(1)


def _modality_of(source: str, revision: str | None, asked: str | None) -> Modality:
    """Return the modality asked for, or what the family of the checkpoint reads."""
    from crossan.extract.backbones.plugins import find_family
    from crossan.extract.backbones.presets import resolve
    from crossan.extract.backbones.snapshot import find_snapshot

    if asked is not None:
        if asked not in list(Modality):
            raise UsageError(f"--modality {asked}: expected one of {', '.join(Modality)}")
        return Modality(asked)
    family = find_family(str(find_snapshot(*resolve(source, revision)).config.get("model_type")))
    return family.modality if family else Modality.TEXT


@app.command("init-tiny")
def init_tiny(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for text/, image/, video/ and audio/.")
    ],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 0,
    is_json: _Json = False,
) -> None:
    """Write tiny checkpoints with random weights, laid out as hub snapshots."""
    from crossan.extract.backbones.tiny import write_tiny

    folders = {modality.value: str(folder) for modality, folder in write_tiny(out, seed).items()}
    if is_json:
        print_json({"backbones": folders, "seed": seed})
        return
    for modality, folder in folders.items():
        print(f"{modality:<6} {folder}")
