"""What a sweep says: ``selection.json``, and the table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossan.common.console import Column, print_table, print_text
from crossan.train.evaluation.printing import metric_label, print_stale
from crossan.train.sweep.choosing import RULE, SettingResult
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.trials import label_of

__all__ = ["print_report", "selection_report"]

_COLUMNS = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")


def selection_report(
    sweep: SweepSettings,
    settings: Sequence[SettingResult],
    chosen: SettingResult | None,
    failures: Sequence[Mapping[str, Any]],
    contents: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Return what was tried and chosen.

    No time or memory is in it, so the same sweep gives the same bytes.
    """
    return {
        "rule": RULE,
        "sampler": sweep.sampler,
        "seeds": list(sweep.seeds),
        "settings": [_setting_report(setting) for setting in settings],
        "failed": list(failures),
        "chosen": None if chosen is None else _setting_report(chosen),
        "contents": {modality: dict(counts) for modality, counts in contents.items()},
    }


def print_report(report: Mapping[str, Any]) -> None:
    """Print every setting, best first, then the chosen one's figures on both splits."""
    chosen = report["chosen"]
    settings = sorted(report["settings"], key=lambda row: -row["valid"]["hr@10"]["mean"])
    columns = [Column("setting"), Column("model"), Column("seeds", is_number=True)]
    labels = [metric_label(name, report["split"]) for name in _COLUMNS]
    columns += [Column(f"valid {label}") for label in labels]
    has_cold = any(row["cold_valid"] for row in settings)
    columns += [Column(f"cold valid {labels[0]}")] if has_cold else []
    rows = [
        [
            label_of(row["point"]),
            row["model"],
            str(len(row["runs"])),
            *_cells(row["valid"]),
            *_cold_cells(row["cold_valid"], is_shown=has_cold),
            _mark(row, chosen),
        ]
        for row in settings
    ]
    print_table([*columns, Column("")], rows)
    for failure in report["failed"]:
        print_text(
            f"failed: {label_of(failure['point'])}, seed {failure['seed']}: {failure['reason']}"
        )
    print_stale(report["contents"])
    if chosen is None:
        print_text("no setting has figures of all its seeds, so none is chosen")
        return
    label = f"{label_of(chosen['point'])} ({chosen['model']})"
    print_text(f"chosen by mean validation {labels[0]} alone: {label}")
    if report["test"] is not None:
        cold = report["cold_test"]
        print_table(
            [Column(f"test {label}") for label in labels]
            + ([Column(f"cold test {labels[0]}")] if cold else []),
            [[*_cells(report["test"]), *_cold_cells(cold, is_shown=bool(cold))]],
            title="its test figures, looked at after the choice:",
        )


def _setting_report(setting: SettingResult) -> dict[str, Any]:
    return {
        "point": dict(setting.point),
        "model": setting.results[0].model,
        "runs": [
            {
                "run": result.trial.run_path,
                "seed": result.trial.seed,
                "best_epoch": result.best_epoch,
                "valid": dict(result.valid),
            }
            for result in setting.results
        ],
        "valid": setting.figures(),
        "cold_valid": setting.cold_figures(),
        "trainable_parameters": setting.results[0].trainable_parameters,
    }


def _mark(row: Mapping[str, Any], chosen: Mapping[str, Any] | None) -> str:
    return "<- chosen" if chosen is not None and row["point"] == chosen["point"] else ""


def _cells(figures: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return mean and deviation of the columns, for example ``0.1234 ± 0.0012``."""
    return [_cell(figures[name]) for name in _COLUMNS]


def _cold_cells(
    figures: Mapping[str, Mapping[str, float | None]] | None, *, is_shown: bool
) -> list[str]:
    """Return the first column's figure of cold targets, nothing where no row has any."""
    if not is_shown:
        return []
    return ["-" if figures is None else _cell(figures[_COLUMNS[0]])]


def _cell(figure: Mapping[str, float | None]) -> str:
    mean, deviation = figure["mean"], figure["sd"]
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
