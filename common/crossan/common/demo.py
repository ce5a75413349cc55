"""``crossan demo``, the whole pipeline on the built-in sample.

Each step is a command that the reader can run.

The demo only runs other commands, as processes of their own: it shows what a
user would type, and it imports neither a backbone nor a trainer.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import (
    AsJson,
    Column,
    Panel,
    heading,
    note,
    print_json,
    print_table,
    print_text,
)
from crossan.common.files import replace_durably
from crossan.common.refusals import blaming, make_folder, require_writable

__all__ = ["demo"]

_MARKER = ".crossan-demo"
_TEST_FLOOR = 2.0
"""CROSSAN's test HR@10 over popularity's, at least."""
_COLD_FLOOR = 3.0
"""CROSSAN's HR@10 on cold test targets over its shuffled twin's, at least."""
_EPOCHS = 40


class DemoError(CrossanError):
    """A step of the demo failed, or a comparison it promises did not hold."""

    exit_code = 1


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder for everything the demo writes.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = Path("demo"),
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            help="Seed of the sample, the backbones and the runs.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0,
    is_service: Annotated[
        bool,
        typer.Option(
            "--service",
            help="Show the training service instead: two nights, and what it recommends.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Leave the server of --service running.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline on the built-in sample: media, stores, a trained model, a report.

    Examples
    --------
    crossan demo --out demo
    crossan demo --service --out nightly
    """
    if keep and not is_service:
        raise UsageError("--keep: expected --service with it, found none")
    start = time.monotonic()
    _prepare(out)
    if is_service:
        from crossan.common.service_demo import run_service_demo

        run_service_demo(out, seed, keep=keep, as_json=as_json)
        return
    for command in _commands(out, seed):
        _run(command)
    results = {name: _read_result(out / "runs" / name) for name in ("crossan", "shuffled")}
    ratios = _ratios(results)
    if as_json:
        print_json(
            {
                "results": results,
                "ratios": ratios,
                "seconds": time.monotonic() - start,
                "report": str(out / "report.html"),
            }
        )
    else:
        _print_results(results)
    note(f"\nreport: {out / 'report.html'}    {time.monotonic() - start:.0f} s in all")
    _check(ratios)


def _prepare(out: Path) -> None:
    require_writable(out, f"--out {out}")
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            raise UsageError(
                f"--out {out}: the folder is not empty and was not made by an earlier demo",
                remedy=f"crossan demo --out {out}-new",
            )
        note(f"removing the earlier demo in {out}")
        with blaming(out):
            shutil.rmtree(out)
    make_folder(out)
    replace_durably(out / _MARKER, b"made by crossan demo, which may remove this folder\n")


def _commands(out: Path, seed: int) -> list[list[str]]:
    dataset, cache, backbones, runs = (
        str(out / name) for name in ("dataset", "cache", "backbones", "runs")
    )
    places = ["--dataset", dataset, "--cache", cache]
    extractions = [
        [
            "crossan-extract",
            "--modality",
            modality.value,
            *places,
            "--backbone",
            f"{backbones}/{modality.value}",
        ]
        for modality in Modality
    ]
    train = ["crossan-train", *places, "--seed", str(seed), "--epochs", str(_EPOCHS)]
    return [
        ["crossan", "data", "sample", dataset, "--seed", str(seed)],
        ["crossan", "data", "check", dataset],
        ["crossan", "backbones", "init-tiny", backbones, "--seed", str(seed)],
        *extractions,
        ["crossan", "cache", "ls", "--cache", cache],
        [*train, "--out", f"{runs}/crossan"],
        [*train, "--out", f"{runs}/shuffled", "--set", f"features.permute_seed={seed + 1}"],
        [
            "crossan",
            "report",
            f"{runs}/crossan",
            "--compare",
            f"{runs}/shuffled",
            "--out",
            str(out / "report.html"),
        ],
    ]


def _run(command: Sequence[str]) -> None:
    heading(f"$ {shlex.join(command)}")
    program = Path(sys.executable).parent / command[0]
    finished = subprocess.run([str(program), *command[1:]], check=False, stdout=sys.stderr)
    if finished.returncode != 0:
        failure = DemoError(
            f"this step ended with exit code {finished.returncode}: {shlex.join(command)}"
        )
        # That of the step says why, for example that the disk is full.
        failure.exit_code = max(finished.returncode, DemoError.exit_code)
        raise failure


def _read_result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result


def _ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    trained, shuffled = results["crossan"], results["shuffled"]
    return {
        "test_over_popularity": _ratio(
            trained["test"]["hr@10"], trained["popularity"]["test"]["hr@10"]
        ),
        "cold_over_shuffled": _ratio(trained["cold_test"]["hr@10"], shuffled["cold_test"]["hr@10"]),
    }


def _ratio(ours: float, other: float) -> float:
    """Return ``ours / other``.

    A floor of 1e-4 for ``other`` keeps the ratio finite.
    """
    return ours / max(other, 1e-4)


def _print_results(results: Mapping[str, Mapping[str, Any]]) -> None:
    trained, shuffled = results["crossan"], results["shuffled"]
    model = trained.get("model", "CROSSAN")
    rows = [
        ("popularity", trained["popularity"] | {"cold_test": None}),
        (f"{model}, features shuffled", shuffled),
        (model, trained),
    ]
    splits = {"valid": "valid", "test": "test", "cold": "cold_test"}
    print_table(
        [Column("HR@10"), *(Column(name, is_number=True) for name in splits)],
        [
            [name, *(_hit_ratio(figures[split]) for split in splits.values())]
            for name, figures in rows
        ],
    )
    print_text(
        f"cold: {trained['cold_test']['targets']} test targets that no training sequence holds"
    )


def _hit_ratio(figures: Mapping[str, float] | None) -> str:
    return "-" if figures is None else f"{figures['hr@10']:.4f}"


def _check(ratios: Mapping[str, float]) -> None:
    floors = {"test_over_popularity": _TEST_FLOOR, "cold_over_shuffled": _COLD_FLOOR}
    missed = [
        f"{name}: expected at least {floor:.1f}, found {ratios[name]:.2f}"
        for name, floor in floors.items()
        if ratios[name] < floor
    ]
    if missed:
        raise DemoError("a comparison the demo promises did not hold\n  " + "\n  ".join(missed))
