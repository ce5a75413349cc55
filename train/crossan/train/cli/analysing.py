"""``crossan analyse``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossan.common.console import (
    AsJson,
    Column,
    Device,
    Panel,
    print_json,
    print_table,
    print_text,
)
from crossan.train.options import (
    AllowStale,
    MaxDeviceMemory,
    MaxRam,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
)

__all__ = ["analyse"]


def analyse(
    run: RunArgument,
    dataset: RunDataset = None,
    cache: RunCache = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--beside",
            metavar="RUN",
            help="Run that its efficiency is relative to; may be repeated.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run is like inside, and write RUN/analysis.json.

    That is what its towers say of each other, its gates, which modalities its
    fusion uses for which items, what each layer says of an item, and what its
    training cost.

    Examples
    --------
    crossan analyse runs/first
    crossan analyse runs/crossan --beside runs/iisan --beside runs/frozen
    """
    from crossan.train.features import Placement
    from crossan.train.record.analysis import write_analysis
    from crossan.train.runs.analysing import analyse_run
    from crossan.train.runs.opening import open_run

    opened = open_run(
        run,
        device=device,
        placement=Placement.parse(residence, max_ram, max_device_memory),
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
    )
    analysis = analyse_run(opened, beside or ())
    # Printed first: a folder in which nothing can be written must not cost the result.
    if as_json:
        print_json(analysis)
    else:
        _print_tables(analysis)
    write_analysis(run, analysis)


def _print_tables(found: dict[str, Any]) -> None:
    if found["mutual_information"]:
        _print_information(found["mutual_information"]["pairs"])
    if found["gates"]:
        _print_gates(found["gates"])
    if "inter_gates" in found:
        _print_inter_gates(found["inter_gates"])
    if found["experts"]:
        _print_experts(found["experts"])
    if found["layers"]:
        _print_layers(found["layers"])
    if found["efficiency"]:
        _print_efficiency(found["efficiency"]["rows"])
    for part, reason in found["lacking"].items():
        print_text(f"{part.replace('_', ' ')}: {reason}")


def _print_information(pairs: list[dict[str, Any]]) -> None:
    print_table(
        [
            Column("towers"),
            Column("mutual information", is_number=True),
            Column("if independent", is_number=True),
            Column("items", is_number=True),
        ],
        [
            [
                " and ".join(pair["between"]),
                _number(pair["nats"], " nats") + (" or more" if pair["is_capped"] else ""),
                "-" if pair["noise"] is None else f"0 +- {pair['noise']:.3g}",
                f"{pair['items']:,}",
            ]
            for pair in pairs
        ],
    )


def _print_gates(gates: list[dict[str, Any]]) -> None:
    inputs = list(dict.fromkeys(name for gate in gates for name in gate["weights"]))
    print_table(
        [
            Column("gate of"),
            Column("layer", is_number=True),
            *(Column(name, is_number=True) for name in inputs),
            Column("even share", is_number=True),
        ],
        [
            [
                gate["modality"],
                str(gate["layer"]),
                *(_number(gate["weights"].get(name)) for name in inputs),
                f"{gate['even']:.3g}",
            ]
            for gate in gates
        ],
    )


def _print_inter_gates(gates: list[dict[str, Any]]) -> None:
    modalities = list(gates[0]["weights"])
    print_table(
        [
            Column("between modalities, layers"),
            *(Column(f"hidden state of {name}", is_number=True) for name in modalities),
            Column("even share", is_number=True),
        ],
        [
            [
                ", ".join(f"{name} {layer}" for name, layer in gate["layers"].items()),
                *(_number(gate["weights"][name]) for name in modalities),
                f"{gate['even']:.3g}",
            ]
            for gate in gates
        ],
    )


def _print_experts(experts: dict[str, Any]) -> None:
    rows = [
        (name, part, use)
        for name, parts in experts["slices"].items()
        for part, use in parts.items()
    ]
    modalities = list(rows[0][2]["modalities"]) if rows else []
    print_table(
        [
            Column(f"items ({experts['fusion']})"),
            Column("part"),
            Column("count", is_number=True),
            *(Column(f"{name} chosen", is_number=True) for name in modalities),
            *(Column(f"{name} weight", is_number=True) for name in modalities),
        ],
        [
            [
                name.replace("_", " "),
                part,
                f"{use['items']:,}",
                *(f"{use['modalities'][one]['share']:.1%}" for one in modalities),
                *(f"{use['modalities'][one]['weight']:.3f}" for one in modalities),
            ]
            for name, part, use in rows
        ],
    )


def _print_layers(layers: list[dict[str, Any]]) -> None:
    print_table(
        [
            Column("hidden states of"),
            Column("layer", is_number=True),
            Column("variance", is_number=True),
            Column("share of mean square", is_number=True),
            Column("effective rank", is_number=True),
            Column(""),
        ],
        [
            [
                row["modality"],
                str(row["layer"]),
                f"{row['variance']:.3g}",
                f"{row['share']:.2%}",
                f"{row['effective_rank']:.1f}",
                "the same for all items" if row["is_flat"] else "",
            ]
            for row in layers
        ],
    )


def _print_efficiency(rows: list[dict[str, Any]]) -> None:
    print_table(
        [
            Column("run"),
            Column("model"),
            Column("seconds per epoch", is_number=True),
            Column("peak memory", is_number=True),
            Column("trainable parameters", is_number=True),
            Column("TPME", is_number=True),
        ],
        [
            [
                row["run"],
                row["model"],
                f"{row['seconds_per_epoch']:.2f}",
                f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
                f"{row['trainable_parameters']:,}",
                "-" if row["tpme"] is None else f"{row['tpme']:.1%}",
            ]
            for row in rows
        ],
    )


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.3f}{unit}"
