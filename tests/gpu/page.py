"""The report as a page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from report import Check, Figure, Report

__all__ = ["write_page"]


def write_page(report: Report, facts: dict[str, str], shape: str, folder: Path) -> Path:
    """Write ``CARD-DATE.md`` and ``CARD-DATE.json`` into a folder; return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    card = facts["device"].lower().replace(" ", "-")
    page = folder / f"{card}-{date.today().isoformat()}.md"
    raw = {"facts": facts, "shape": shape, **report.as_json()}
    page.with_suffix(".json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
    page.write_text("\n".join([*_lines(report, facts, shape), ""]), encoding="utf-8")
    return page


def _lines(report: Report, facts: dict[str, str], shape: str) -> Iterable[str]:
    yield f"# {facts['device']}, {date.today().isoformat()}"
    yield ""
    yield f"    make gpu{' DRY=1' if shape == 'dry run' else ''}"
    yield ""
    yield ", ".join(f"{name} {value}" for name, value in facts.items()) + f"; shape: {shape}."
    yield ""
    yield f"{len(report.checks)} checks, {sum(not check.holds for check in report.checks)} do not hold."
    yield ""
    yield "| check | seen | expected | holds |"
    yield "|---|---|---|---|"
    yield from map(_check_line, report.checks)
    yield ""
    yield "| figure | value | goal | met |"
    yield "|---|---|---|---|"
    yield from map(_figure_line, report.figures)
    for heading, text in report.failures.items():
        yield from ("", f"## Not finished: {heading}", "", "```", text.rstrip(), "```")
    for heading, text in report.texts.items():
        yield from ("", f"## {heading}", "", "```", text.rstrip(), "```")
    yield ""
    taken = ", ".join(f"{name} {seconds:.0f}" for name, seconds in report.seconds.items())
    yield f"Seconds: {taken}."


def _check_line(check: Check) -> str:
    holds = "yes" if check.holds else "**no**"
    return f"| {check.name} | {check.seen} | {check.expected} | {holds} |"


def _figure_line(figure: Figure) -> str:
    value = f"{figure.value:,.4g} {figure.unit}".rstrip()
    if figure.goal is None:
        return f"| {figure.name} | {value} | | |"
    goal = f"{'>=' if figure.is_floor else '<='} {figure.goal:g}"
    return f"| {figure.name} | {value} | {goal} | {'yes' if figure.meets else '**no**'} |"
