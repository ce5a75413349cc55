"""``docs/settings.md`` says what the settings classes say, and ``crossan settings`` prints it."""

import json
from pathlib import Path

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.common.config import settings_in
from crossan.train.settings import RunSettings
from crossan.train.settings.describing import describe_settings
from crossan.train.settings.page import settings_page
from crossan.train.settings_command import settings
from support.commands import run
from support.terminal import lines_of, run_script_in_terminal

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"
NAMES = {setting.name for setting in settings_in(RunSettings)}


def test_the_page_is_up_to_date():
    remedy = "run: crossan settings --markdown > docs/settings.md"
    assert PAGE.read_text(encoding="utf-8") == settings_page(), remedy


def test_markdown_is_the_page_and_only_that():
    assert run(settings, "--markdown").stdout == settings_page()
    for more in ("--json", "sasrec"):
        with pytest.raises(UsageError, match=r"--markdown: expected no MODEL and no --json"):
            run(settings, "--markdown", more)


def test_json_has_every_setting():
    printed = json.loads(run(settings, "--json").stdout)
    assert printed["model"] is None
    assert {record["name"] for record in printed["settings"]} == NAMES


def test_off_a_terminal_a_setting_is_one_line():
    lines = run(settings).stdout.splitlines()
    for name in NAMES:
        assert any(line.startswith(f"{name} ") for line in lines)
    (line,) = [line for line in lines if line.startswith("batch_size")]
    assert [cell for cell in map(str.strip, line.split("  ")) if cell] == [
        "batch_size",
        "128",
        "whole number, 1 or more",
        "the largest that fits; searched 32 to 1024",
        "Users per step.",
    ]


@pytest.mark.parametrize("width", [60, 80, 130, 200])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_lost(width):
    script = "from crossan.train.settings_command import settings; settings()"
    printed = run_script_in_terminal(script, columns=width)
    tables = [line for line in lines_of(printed) if "  " in line]
    assert max(map(len, tables)) <= width
    words = set(" ".join(lines_of(printed)).split())
    for section in describe_settings():
        for described in section.settings:
            assert described.name in words
            assert {word for word in described.meaning.split() if len(word) <= 20} <= words


def test_an_unknown_model_is_refused():
    with pytest.raises(UsageError, match=r"^crosan: expected one of "):
        run(settings, "crosan")
