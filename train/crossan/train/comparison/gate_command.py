"""``crossan gate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossan.common.console import AsJson, Column, Panel, print_json, print_table, print_text

if TYPE_CHECKING:
    from crossan.train.comparison.gate import Rule, Side, Verdict

__all__ = ["gate"]

_HELD_BACK = 1
"""Exit code where the candidate may not take the place of production."""


def gate(
    candidate: Annotated[
        Path, typer.Argument(metavar="CANDIDATE", help="Run folder of the new model.")
    ],
    production: Annotated[
        Path,
        typer.Argument(
            metavar="PRODUCTION",
            help="Run folder of the model in production, or what `crossan evaluate --out` wrote"
            " of it on today's data.",
        ),
    ],
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            metavar="X",
            min=0,
            max=1,
            help="How much lower test NDCG@10 may be.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0.002,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            metavar="LEVEL",
            min=0.5,
            max=0.9999,
            help="Of the bootstrap intervals.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0.95,
    cold_margin: Annotated[
        float,
        typer.Option(
            "--cold-margin",
            metavar="X",
            min=0,
            max=1,
            help="The same for targets that no training part holds.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Say whether a new model may take the place of the one in production.

    Exit code 0 says that it may, 1 that it is held back.

    Examples
    --------
    crossan gate runs/tonight runs/yesterday
    crossan gate runs/tonight evaluated/yesterday --margin 0.001 --json
    """
    from crossan.train.comparison.gate import Rule, judge_runs

    rule = Rule(margin, confidence, cold_margin)
    verdict = judge_runs(candidate, production, rule)
    if as_json:
        print_json(_as_json(candidate, production, rule, verdict))
    else:
        _print(verdict)
    if not verdict.holds:
        raise typer.Exit(_HELD_BACK)


def _as_json(candidate: Path, production: Path, rule: Rule, verdict: Verdict) -> dict[str, Any]:
    return {
        "holds": verdict.holds,
        "reasons": list(verdict.reasons),
        "candidate": str(candidate),
        "production": str(production),
        "metric": "ndcg@10",
        "margin": rule.margin,
        "confidence": rule.confidence,
        "cold_margin": rule.cold_margin,
        "all": _side(verdict.everyone),
        "cold": _side(verdict.cold),
        "left_out": dict(zip(("candidate", "production"), verdict.left_out, strict=True)),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "users": side.users,
        "candidate": side.candidate,
        "production": side.production,
        "difference": side.difference,
        "interval": list(side.interval),
        "is_shown": side.is_shown,
    }


def _print(verdict: Verdict) -> None:
    sides = {"all": verdict.everyone, "cold": verdict.cold}
    lines = [
        [
            name,
            f"{side.users:,}",
            f"{side.candidate:.4f}",
            f"{side.production:.4f}",
            f"{side.difference:+.4f}",
            f"[{side.interval[0]:+.4f}, {side.interval[1]:+.4f}]",
        ]
        for name, side in sides.items()
        if side is not None
    ]
    if lines:
        names = ("users", "candidate", "production", "difference", "interval")
        columns = [Column("targets"), *(Column(name, is_number=True) for name in names)]
        print_table(columns, lines, title="test NDCG@10:")
    ours, theirs = verdict.left_out
    if ours or theirs:
        print_text(f"not compared: {ours:,} users of the candidate and {theirs:,} of production")
    if verdict.holds and verdict.everyone is not None and not verdict.everyone.is_shown:
        print_text("the interval reaches below the margin: too few users to prove it")
    for reason in verdict.reasons:
        print_text(f"held back: {reason}")
    if verdict.holds:
        print_text("the candidate may take the place of production")
