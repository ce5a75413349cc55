"""``crossan settings``.

It stands outside the room of the settings, which needs pydantic from its first
line on: ``crossan --help`` loads every command and does without.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, print_json
from crossan.train.options.shared import complete_model

__all__ = ["settings"]


def settings(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Print what this kind of model has, without the settings of others.",
            autocompletion=complete_model,
        ),
    ] = None,
    as_markdown: Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Print docs/settings.md.",
            rich_help_panel=Panel.OTHER,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting of a run with its default, values, meaning and the paper's value.

    Examples
    --------
    crossan settings
    crossan settings sasrec
    """
    from crossan.cache_schema.errors import UsageError
    from crossan.train.settings.describing import as_records, describe_settings
    from crossan.train.settings.page import settings_page
    from crossan.train.settings.printing import print_sections

    if as_markdown:
        if model is not None or as_json:
            raise UsageError("--markdown: expected no MODEL and no --json, as the page has all")
        print(settings_page(), end="")
        return
    sections = describe_settings(model)
    if as_json:
        print_json({"model": model, "settings": as_records(sections)})
    else:
        print_sections(sections)
