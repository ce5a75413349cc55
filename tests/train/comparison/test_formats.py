"""What `crossan compare` prints and writes: every format says the same, and escapes what is not its own."""

import csv
import io
import json
import math
import re
import subprocess
import sys

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.comparison.cli import compare
from support.commands import attempt, run
from support.finished_runs import write_run
from support.terminal import lines_of, run_in_terminal

NASTY = r"50%_a&b|c\d"
SHARES = ("cold targets 6 (50.0%)", "unwinnable targets 1 (8.3%)")


@pytest.fixture
def runs(tmp_path):
    """A row of two seeds with a hostile name, the best, and a baseline."""
    ours = [
        write_run(tmp_path / f"{NASTY}-{seed}", [1, 2, 1, 30, 3, 1, 2, 1, 1, 4, 1, 9], seed=seed)
        for seed in (0, 1)
    ]
    return [write_run(tmp_path / "base", [30, 15] * 6, lr=0.5), *ours]


def printed(runs, *more):
    return run(compare, *runs, *more).stdout


def test_the_text_has_figures_differences_and_the_shares(runs):
    text = printed(runs)
    for words in ("compared on test: 12 users over all 40 items", *SHARES, "0.9167±.0000*"):
        assert words in text
    # 11 of 12 users gain a hit: the mean difference is 0.9167, and d is that over 0.2887.
    line = next(line for line in text.splitlines() if "HR@10" in line and "+.9167" in line)
    assert line.split()[-1] == "+3.18"
    assert "difference from base:" in text


@pytest.mark.parametrize("width", [80, 140])
def test_on_a_terminal_no_line_is_wider_than_it_and_no_number_is_broken(runs, width):
    code, screen = run_in_terminal(
        [sys.executable, "-m", "crossan", "compare", *map(str, runs)], columns=width
    )
    assert code == 0, screen
    lines = lines_of(screen)
    assert max(map(len, lines)) <= width
    assert any("0.9167±.0000*" in line for line in lines)
    assert any("[+.7500, +1.0000]" in line for line in lines)


def test_json_holds_every_number(runs):
    found = json.loads(printed(runs, "--json"))
    assert json.loads(printed(runs, "--format", "json")) == found
    base, ours = found["rows"]
    assert (ours["name"], ours["model"], ours["seeds"]) == (NASTY, "sasrec", [0, 1])
    assert (found["baseline"], base["metrics"]["hr@10"]["difference"]) == ("base", None)
    cell = ours["metrics"]["hr@10"]
    assert (cell["mean"], cell["sd"], cell["is_best"]) == (pytest.approx(11 / 12), 0.0, True)
    assert cell["difference"]["mean"] == pytest.approx(11 / 12)
    assert cell["difference"]["t_p"] == cell["difference"]["t_p_holm"] < 0.001
    assert (found["targets"], found["cold_targets"], found["unwinnable_targets"]) == (12, 6, 1)
    assert ours["cold"]["hr@10"]["mean"] == 1.0
    assert found["protocol"]["split"] == "leave-last-out"


def test_csv_has_a_line_for_each_row_and_metric_and_quotes_names(runs, tmp_path):
    quoted = write_run(tmp_path / 'x, "y"', [30, 15] * 6, lr=0.7)
    lines = list(csv.DictReader(io.StringIO(printed([*runs, quoted], "--format", "csv"))))
    assert len(lines) == 3 * 6
    assert {line["row"] for line in lines} == {"base", NASTY, 'x, "y"'}
    by_metric = {line["metric"]: line for line in lines if line["row"] == NASTY}
    assert float(by_metric["hr@10"]["mean"]) == pytest.approx(11 / 12)
    assert float(by_metric["cold hr@10"]["mean"]) == 1.0
    assert {line["unwinnable_targets"] for line in lines} == {"1"}
    assert by_metric["hr@10"]["seeds"] == "0 1"


def test_markdown_escapes_what_would_end_a_cell(runs):
    text = printed(runs, "--format", "markdown")
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        # A pipe is one of the table's own where no backslash stands before it.
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1
    assert r"50%\_a\&b\|c\\d" in text
    assert r"**91.67 ± 0.00**\*" in text
    for words in SHARES:
        assert text.count(words) == 3


def test_latex_escapes_every_character_of_its_own(runs):
    text = printed(runs, "--format", "latex")
    assert r"50\%\_a\&b\textbar{}c\textbackslash{}d" in text
    assert r"\textbf{91.67 $\pm$ 0.00}$^{*}$" in text
    for table in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL):
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in table.splitlines()}) == 1
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count(r"cold targets 6 (50.0\%)") == 3


@pytest.mark.parametrize("name", ["[1] ours", "*ours"])
def test_latex_does_not_read_the_name_of_a_row_as_part_of_the_line_before(tmp_path, name):
    """An optional star and bracket after the end of a row belong to that, over the line's end too."""
    folders = [write_run(tmp_path / "a", [1, 30]), write_run(tmp_path / name, [1, 2], lr=0.5)]
    text = printed(folders, "--format", "latex")
    assert f"{{}}{name} &" in text
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_a_mark_is_shown_in_every_format(tmp_path):
    counts = {"compared": 40, "stale": 3, "not_here": 0, "unrecorded": 0}
    stale = write_run(tmp_path / "r", [1, 11], contents={"text": counts})
    for output_format in ("text", "json", "csv", "latex", "markdown"):
        assert "stale contents: text 3 of 40" in printed([stale], "--format", output_format)


def test_where_users_have_several_targets_hr_is_said_to_be_recall(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Two targets of one user at ranks 1 and 30, one of the other at 2: HR@10 (1/2 + 1) / 2.
    metrics = {f"{name}@{k}": 0.0 for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)}
    metrics |= {"hr@10": 0.75, "hr@20": 0.75}
    # The ideal list of two targets gains 1 + 1 / log2(3), and rank 2 gains 1 / log2(3).
    gain = 1 / math.log2(3)
    ndcg = (1 / (1 + gain) + gain) / 2
    metrics |= {"ndcg@10": ndcg, "ndcg@20": ndcg}
    run_folder = write_run(tmp_path / "r", [1, 2], test=metrics)
    columns = {"user_id": ["u0", "u1"], "test_rank": [[1, 30], [2]]}
    columns |= {"test_is_cold": [[True, False], [False]], "test_history_length": [4, 4]}
    columns |= {f"test_{name}": [[1, 1], [1]] for name in ("training_count", "popularity_decile")}
    pq.write_table(pa.table(columns), run_folder / "eval/per_user.parquet")
    text = printed([run_folder])
    assert "3 targets, several of some users: HR is the share of a user's targets" in text
    assert "0.7500" in text


@pytest.mark.parametrize("output_format", ["text", "json", "csv", "latex", "markdown"])
def test_a_file_takes_the_place_of_an_earlier_comparison_and_of_nothing_else(
    runs, tmp_path, output_format
):
    out = tmp_path / "tables" / "table"
    for earlier in ("latex", output_format):
        assert printed(runs, "--format", earlier, "--out", out) == f"{out}\n"
    written = out.read_text()
    if output_format == "json":
        assert json.loads(written) == json.loads(printed(runs, "--json"))
    else:
        assert written == printed(runs, "--format", output_format)
    out.write_text("mine")
    with pytest.raises(UsageError, match="a file that this command did not write"):
        printed(runs, "--out", out)
    assert out.read_text() == "mine"
    with pytest.raises(UsageError, match="found the run"):
        printed(runs, "--out", runs[0] / "table.tex")


def test_with_json_and_a_file_the_line_on_stdout_names_it(runs, tmp_path):
    out = tmp_path / "table.json"
    assert json.loads(printed(runs, "--json", "--out", out)) == {"comparison": str(out)}
    assert json.loads(out.read_text())["compared_on"] == "test"


def test_what_is_not_known_is_refused_before_anything_is_read(runs, tmp_path):
    for arguments in (["--format", "html"], ["--part", "train"], ["--level", "95"]):
        assert attempt(compare, *runs, *arguments).exit_code == 2


def test_no_model_library_is_loaded(runs):
    script = (
        "import sys; from crossan.common.umbrella import main\n"
        f"sys.argv = ['crossan', 'compare', *{[str(run) for run in runs]!r}]\n"
        "try:\n    main()\nfinally:\n"
        "    print([name for name in ('torch', 'transformers') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert "difference from base:" in done.stdout
