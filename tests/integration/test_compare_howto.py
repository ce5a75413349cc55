"""docs/howto/compare-runs.md works as written, and shows what the command prints."""

import csv
import json
import os
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from crossan.common.umbrella import build_app

PAGE = (Path(__file__).parents[2] / "docs/howto/compare-runs.md").read_text()
TO_WRITE_THE_SAMPLE = "crossan data sample dataset\n"  # a minute; the tests of the sample run it


def take(block):
    """Run the commands of a block in this process; return what the last prints."""
    for line in block.splitlines():
        words = shlex.split(line)
        name = words[0].removeprefix("crossan").removeprefix("-")
        result = CliRunner().invoke(build_app(), [*([name] if name else []), *words[1:]])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
    return result.stdout


def test_the_page_works_as_written(tmp_path, monkeypatch, small):
    for name in [name for name in os.environ if name.startswith("CROSSAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    sample, train, table, files = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    assert sample == TO_WRITE_THE_SAMPLE
    (tmp_path / "dataset").symlink_to(tmp_path / "d")  # of 150 users, that `small` wrote
    take(train)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
    # The figures are those of another machine; rows, columns and words are the same.
    assert words_of(take(table)) == words_of(shown)
    take(files)
    assert r"\toprule" in (tmp_path / "tables/main.tex").read_text()
    assert "| ids | sasrec | 1 |" in (tmp_path / "tables/main.md").read_text()
    with (tmp_path / "tables/main.csv").open() as file:
        rows = {line["row"] for line in csv.DictReader(file)}
    assert rows == {"popularity", "sasrec-seed0"}
    found = json.loads(take("crossan compare runs/sasrec-seed0 runs/sasrec-seed2 --json"))
    assert [row["seeds"] for row in found["rows"]] == [[0, 2]]


def words_of(text):
    """Return the words of an output, without figures and the marks beside them."""
    return [word for word in re.split(r"[\s\[\]();,]+", text) if re.match(r"[A-Za-z]", word)]
