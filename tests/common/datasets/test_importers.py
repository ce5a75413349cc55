"""Imports: both MicroLens interaction formats, both title formats, IISAN, MMRec, tables."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.cli import app
from crossan.common.split import Split
from support.refusals import refusal

PAIRS_TSV = "1\t7 8 9\n2\t9 7\n"
PAIRS_CSV = "user,item,timestamp\n1,8,2000\n1,7,1000\n1,9,3000\n2,9,1500\n2,7,1600\n"
RFC_TITLES = 'item,title\r\n7,"seven, with ""quotes"""\r\n8,eight\r\n9,\r\n'
BARE_TITLES = '7,seven, with "quotes"\n8,eight\n9,\n'


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def make_microlens(folder, pairs=("x_pairs.tsv", PAIRS_TSV), titles=RFC_TITLES):
    folder.mkdir()
    (folder / pairs[0]).write_text(pairs[1])
    (folder / "x_titles.csv").write_bytes(titles.encode())
    for kind, name in (
        ("x_covers", "7.jpg"),
        ("videos", "8.mp4"),
        ("audios", "8.wav"),
        ("videos", "stranger.mp4"),
    ):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize("titles", [RFC_TITLES, BARE_TITLES])
def test_microlens_sequences_and_both_title_formats(tmp_path, titles):
    run(
        "import",
        "--format",
        "microlens",
        make_microlens(tmp_path / "src", titles=titles),
        "--out",
        tmp_path / "d",
    )
    dataset = open_dataset(tmp_path / "d")
    assert rows(dataset.interactions()) == [
        ("1", "7", None),
        ("1", "8", None),
        ("1", "9", None),
        ("2", "9", None),
        ("2", "7", None),
    ]
    source = tmp_path / "src"
    assert rows(dataset.items()) == [
        ("7", 'seven, with "quotes"', str(source / "x_covers/7.jpg"), None, None),
        ("8", "eight", None, str(source / "videos/8.mp4"), str(source / "audios/8.wav")),
        ("9", None, None, None, None),
    ]
    assert dataset.licence == "MicroLens research release: no redistribution"


def test_microlens_pairs_with_timestamps(tmp_path):
    source = make_microlens(tmp_path / "src", pairs=("x_pairs.csv", PAIRS_CSV))
    run("import", "--format", "microlens", source, "--out", tmp_path / "d")
    assert ("1", "7", 1000) in rows(open_dataset(tmp_path / "d").interactions())


def test_iisan_names_items_without_a_title(tmp_path):
    (tmp_path / "a_users.tsv").write_text("u\tA B A\n")
    (tmp_path / "a_items.tsv").write_text("A\tan item, with a comma\n")
    run("import", "--format", "iisan", tmp_path, "--out", tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    assert rows(dataset.interactions()) == [("u", "A", None), ("u", "B", None), ("u", "A", None)]
    assert [row[:2] for row in rows(dataset.items())] == [
        ("A", "an item, with a comma"),
        ("B", None),
    ]


def test_mmrec_inter(tmp_path):
    (tmp_path / "x.inter").write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n0\t5\t5.0\t1\t0\n"
    )
    run("import", "--format", "mmrec", tmp_path, "--out", tmp_path / "d", "--time-unit", "s")
    assert rows(open_dataset(tmp_path / "d").interactions()) == [("0", "5", 1000, 0)]


def test_table_with_a_column_mapping(tmp_path):
    (tmp_path / "log.csv").write_text("who,what,when\nu,i,5\n")
    (tmp_path / "things.csv").write_text("what,name,picture\ni,thing,a/b.png\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"x")
    run(
        *(
            "import",
            "--format",
            "table",
            tmp_path,
            "--out",
            tmp_path / "d",
            "--interactions",
            tmp_path / "log.csv",
        ),
        *(
            "--items",
            tmp_path / "things.csv",
            "--column",
            "user_id=who",
            "--column",
            "item_id=what",
        ),
        *("--column", "timestamp=when", "--column", "title=name", "--column", "image=picture"),
    )
    dataset = open_dataset(tmp_path / "d")
    assert rows(dataset.interactions()) == [("u", "i", 5)]
    assert rows(dataset.items()) == [("i", "thing", str(tmp_path / "a/b.png"), None, None)]


@pytest.mark.parametrize(
    ("files", "error", "match"),
    [
        ({}, UsageError, r"expected \*_pairs.tsv, found none"),
        (
            {"a_pairs.tsv": "1 2 3\n", "a_titles.csv": "1,x\n"},
            DataError,
            "line 1: expected 'user TAB item item",
        ),
        (
            {"a_pairs.tsv": "1\t2\n1\t3\n", "a_titles.csv": "1,x\n"},
            DataError,
            "line 2: user 1 was already given",
        ),
        (
            {"a_pairs.tsv": "1\t2\n", "b_pairs.tsv": "1\t2\n", "a_titles.csv": ""},
            UsageError,
            "found a_pairs.tsv, b_pairs.tsv",
        ),
        (
            {"a_pairs.tsv": "1\t2\n", "a_titles.csv": "2\n"},
            DataError,
            "expected 'item,title', found '2'",
        ),
        (
            {"a_pairs.tsv": "1\t2\n", "a_titles.csv": "2,x\n2,y\n"},
            DataError,
            "item 2 was already given",
        ),
        (
            {"a_pairs.csv": "u,i\n1,2\n", "a_titles.csv": "2,x\n"},
            UsageError,
            "expected a column for user_id .*found u, i",
        ),
        (
            {"a_pairs.csv": "user,item,timestamp\n1,2,noon\n", "a_titles.csv": "2,x\n"},
            DataError,
            "column timestamp, row 1: expected a time, a number or ISO 8601, found 'noon'",
        ),
    ],
)
def test_bad_sources_are_named(tmp_path, files, error, match):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=match):
        run("import", "--format", "microlens", tmp_path, "--out", tmp_path / "d")
    assert not (tmp_path / "d" / "dataset.json").exists()


def test_usage_errors(tmp_path):
    source = make_microlens(tmp_path / "src")
    csv = refusal(app, "import", "--format", "csv", source, "--out", tmp_path / "d")
    assert csv.startswith("--format csv: expected one of microlens, iisan, mmrec, recbole, table\n")
    with pytest.raises(UsageError, match="--column user=who: expected OURS=THEIRS"):
        run("import", "--format", "table", source, "--out", tmp_path / "d", "--column", "user=who")
    with pytest.raises(UsageError, match="no such file or folder"):
        run("import", "--format", "table", tmp_path / "nowhere", "--out", tmp_path / "d")
    run("import", "--format", "microlens", source, "--out", tmp_path / "d")
    with pytest.raises(UsageError, match="a dataset is in this folder already"):
        run("import", "--format", "microlens", source, "--out", tmp_path / "d")
    with pytest.raises(UsageError, match="expected a folder with dataset.json, found none"):
        open_dataset(tmp_path / "nowhere")


def test_a_dataset_from_the_future_is_refused(tmp_path):
    run(
        "import", "--format", "microlens", make_microlens(tmp_path / "src"), "--out", tmp_path / "d"
    )
    path = tmp_path / "d" / "dataset.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(DataError, match="expected format version 1, found 2"):
        open_dataset(tmp_path / "d")


def test_check_reports_the_contract(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    (source / "interactions.csv").write_text(
        "user,item,timestamp\n" + "".join(f"u,i{n},{n}\n" for n in range(5)) + "v,i0,1\n"
    )
    (source / "items.csv").write_text("item,title,image\ni0,zero,i0.jpg\ni1,,i1.jpg\n")
    (source / "i0.jpg").write_bytes(b"")
    run("import", "--format", "table", source, "--out", tmp_path / "d")
    report = json.loads(run("check", tmp_path / "d", "--json"))
    assert report["protocol"] == {
        "max_items": 13,
        "min_items": 5,
        "users": 1,
        "items": 5,
        "interactions": 5,
        "test_targets": 1,
        "split": "leave-last-out",
        "split_seed": None,
    }
    assert (report["users"], report["items"], report["interactions"]) == (2, 5, 6)
    assert report["media"]["text"] == {"present": 1, "absent": 4, "missing": 0, "broken": 0}
    assert report["media"]["image"] == {"present": 0, "absent": 3, "missing": 1, "broken": 1}
    assert (report["cold_test_targets"], report["unwinnable_test_targets"]) == (1, 0)
    assert {problem["code"] for problem in report["problems"]} == {
        "short-user",
        "cold-target",
        "missing-image",
        "broken-image",
    }
    shown = run("check", tmp_path / "d").splitlines()
    assert shown[:3] == [
        "dataset   2 users, 5 items, 6 interactions",
        "kept      1 users, 5 items, 5 interactions (the last 13 of users with at least 5)",
        "held out  1 test targets, split leave-last-out",
    ]
    assert shown[3].split() == ["modality", "present", "absent", "missing", "broken"]
    assert "image           0       3        1       1" in shown


def test_microlens_50k_is_table_2(tmp_path, test_data):
    run(
        "import",
        "--format",
        "microlens",
        test_data / "microlens50k",
        "--out",
        tmp_path / "d",
        "--name",
        "microlens-50k",
    )
    report = json.loads(run("check", tmp_path / "d", "--json"))
    assert (report["users"], report["items"], report["interactions"]) == (50_000, 19_220, 359_708)
    kept = report["protocol"]
    assert (kept["users"], kept["items"], kept["interactions"]) == (50_000, 19_099, 339_511)
    drawn = keep_sequences(open_dataset(tmp_path / "d").interactions(), split=Split("mmrec-random"))
    assert (len(drawn.user_ids), len(drawn.items)) == (50_000, 359_708)
    # 2,071 users with 15 interactions or more have several; golden/COMMON.md counted them.
    assert len(drawn.test_targets) == 53_004
    assert (np.bincount(drawn.test_users) > 1).sum() == 2_071
    assert not [problem for problem in report["problems"] if problem["code"] == "count"]
