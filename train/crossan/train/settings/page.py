"""The page ``docs/settings.md``, which has every setting."""

from __future__ import annotations

from crossan.train.settings.describing import (
    Description,
    Section,
    default_text,
    describe_settings,
)

__all__ = ["settings_page"]

_HEAD = """\
# Settings of a run

Every setting of `crossan-train`, made from the settings classes by
`crossan settings --markdown > docs/settings.md`. A test fails while this page is out of date.
`crossan settings MODEL` prints the settings of one model in a terminal.

A setting is given by `--set NAME=VALUE`, in a TOML file that `--config` reads, or by a variable:
`CROSSAN_MODEL__TOP_K=3` is `--set model.top_k=3` ([decision 2](decisions/0002-config.md)).
An empty cell under "paper" means that the paper says nothing of it.
"""


def settings_page() -> str:
    """Return the whole page."""
    parts = [_HEAD, *map(_section_text, describe_settings())]
    return "\n".join(parts)


def _section_text(section: Section) -> str:
    lines = [f"## `{section.name}`" if section.name else "## In no group", ""]
    if section.meaning:
        lines += [f"{section.meaning}.", ""]
    if section.kinds:
        lines += [f"- `{kind}`: {meaning}." for kind, meaning in section.kinds]
        lines.append("")
    models = ["models"] if section.kinds else []
    columns = ["setting", "default", "values", "paper", *models, "meaning"]
    lines += [_row(columns), _row(["---"] * len(columns))]
    lines += [_row(_cells(section, described)) for described in section.settings]
    return "\n".join(lines) + "\n"


def _cells(section: Section, described: Description) -> list[str]:
    default = default_text(described)
    return [
        f"`{described.name}`",
        default if described.is_required or described.default is None else f"`{default}`",
        described.allowed,
        str(described.paper or ""),
        *([section.models_text(described)] if section.kinds else []),
        described.meaning,
    ]


def _row(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
