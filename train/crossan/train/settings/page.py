"""``docs/settings.md``: every setting as Markdown."""

from __future__ import annotations

from crossan.train.settings.describing import (
    Description,
    Section,
    default_text,
    describe_settings,
    model_kinds,
)

__all__ = ["settings_page"]

_HEAD = """\
# Settings of a run

Every setting of `crossan-train`, made from the settings classes by `crossan settings --markdown > docs/settings.md`; a test
fails while this page is out of date. `crossan settings MODEL` prints those of one model in a terminal.

A setting is given by `--set NAME=VALUE`, in a TOML file that `--config` reads, or by a variable: `CROSSAN_MODEL__TOP_K=3` is
`--set model.top_k=3` ([decision 2](decisions/0002-config.md)). An empty cell under "paper" means that the paper leaves it open.
"""


def settings_page() -> str:
    """Return the whole page."""
    parts = [_HEAD, *map(_section_text, describe_settings())]
    return "\n".join(parts)


def _section_text(section: Section) -> str:
    has_models = any(described.models for described in section.settings)
    lines = [f"## `{section.name}`" if section.name else "## In no group", ""]
    if section.meaning:
        lines += [f"{section.meaning}.", ""]
    if has_models:
        lines += [f"- `{kind}`: {meaning}." for kind, meaning in model_kinds().items()]
        lines.append("")
    columns = ["setting", "default", "values", "paper", *(["models"] if has_models else [])]
    lines += [_row([*columns, "meaning"]), _row(["---"] * (len(columns) + 1))]
    lines += [_row(_cells(described, has_models=has_models)) for described in section.settings]
    return "\n".join(lines) + "\n"


def _cells(described: Description, *, has_models: bool) -> list[str]:
    default = default_text(described)
    models = ", ".join(described.models)
    return [
        f"`{described.name}`",
        default if described.is_required or described.default is None else f"`{default}`",
        described.allowed,
        str(described.paper or ""),
        *([models] if has_models else []),
        described.meaning,
    ]


def _row(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
