"""Formats: which one files show, RecBole's atomic files, and media by name for all of them."""

import pytest

from crossan.cache_schema.errors import UsageError
from support.imports import ITEMS, LOG, imported, make, run

ATOMIC = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "196\t242\t3\t881250949\n186\t242\t3\t891717742\n196\t377\t1\t878887116\n"
)
ATOMIC_ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy\n377\t\"Heavyweights\t1994\tChildren's Comedy\n"
)


def test_recbole_files_as_they_are(tmp_path):
    source = make(tmp_path / "ml", ml_inter=ATOMIC, ml_item=ATOMIC_ITEMS.replace('"', ""))
    report, rows, items = imported(source, tmp_path / "d")
    assert (report["format"], report["format_decided"]) == ("recbole", "by its files: ml.inter")
    assert rows[0] == ("196", "242", 881_250_949_000)
    assert [row[:2] for row in items] == [("242", "Kolya"), ("377", "Heavyweights")]
    assert report["tables"][1]["columns"]["title"] == "movie_title:token_seq"
    assert report["tables"][1]["ignored"] == ["release_year:token", "class:token_seq"]


def test_a_column_of_recbole_is_named_without_its_type(tmp_path):
    source = make(tmp_path / "ml", ml_inter=ATOMIC, ml_item=ATOMIC_ITEMS.replace('"', ""))
    _, _, items = imported(source, tmp_path / "d", "--column", "title=class")
    assert [row[1] for row in items] == ["Comedy", "Children's Comedy"]


SOURCES = {
    "microlens": {"a_pairs_tsv": "u\t1 2\n", "a_titles_csv": "1,one\n2,two\n"},
    "iisan": {"a_users_tsv": "u\t1 2\n", "a_items_tsv": "1\tone\n2\ttwo\n"},
    "mmrec": {"a_inter": "userID\titemID\ttimestamp\nu\t1\t5\nu\t2\t6\n"},
    "recbole": {"a_inter": "user_id:token\titem_id:token\nu\t1\nu\t2\n"},
    "table": {"interactions_csv": "user_id,item_id\nu,1\nu,2\n"},
}


@pytest.mark.parametrize("expected", SOURCES)
def test_a_format_is_known_by_its_files(tmp_path, expected):
    source = make(tmp_path / "s", **SOURCES[expected])
    report, rows, _ = imported(source, tmp_path / "d")
    assert report["format"] == expected
    assert report["format_decided"].startswith("by its files: ")
    assert [row[:2] for row in rows] == [("u", "1"), ("u", "2")]
    named, also, _ = imported(source, tmp_path / "e", "--format", expected)
    assert (named["format_decided"], also) == ("--format", rows)


def test_files_of_two_formats_or_of_none_are_refused(tmp_path):
    both = make(tmp_path / "both", **SOURCES["microlens"], **SOURCES["table"])
    with pytest.raises(UsageError, match=r"several formats: microlens \(.*\); table \(.*\)"):
        run("import", both, "--out", tmp_path / "d")
    with pytest.raises(UsageError, match="show none of the formats microlens, iisan"):
        run("import", make(tmp_path / "none", README_md=""), "--out", tmp_path / "d")


@pytest.mark.parametrize("kind", ["interactions", "items"])
def test_a_table_in_two_formats_is_refused(tmp_path, kind):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=ITEMS)
    (source / f"{kind}.tsv").write_text((source / f"{kind}.csv").read_text().replace(",", "\t"))
    with pytest.raises(UsageError, match=rf"found {kind}.csv and {kind}.tsv") as refused:
        run("import", source, "--format", "table", "--out", tmp_path / "d")
    assert f"--{kind} " in refused.value.remedy
    _, rows, _ = imported(source, tmp_path / "d", f"--{kind}", source / f"{kind}.tsv")
    assert len(rows) == 4


def test_one_table_is_a_source(tmp_path):
    source = make(tmp_path / "s", log_csv=LOG, things_csv=ITEMS)
    report, rows, items = imported(
        source / "log.csv", tmp_path / "d", "--items", source / "things.csv"
    )
    assert (report["format"], len(rows), len(items)) == ("table", 4, 4)


def test_options_that_a_format_does_not_take_are_refused(tmp_path):
    source = make(tmp_path / "s", **SOURCES["microlens"], items_csv=ITEMS)
    with pytest.raises(UsageError, match="--format microlens finds its files in SRC"):
        run(
            "import", source, "--format", "microlens", "--items", source / "items.csv", "--out", "d"
        )
    with pytest.raises(UsageError, match="found no table with named columns"):
        run("import", source, "--format", "microlens", "--column", "title=x", "--out", "d")


@pytest.mark.parametrize("kind", SOURCES)
def test_media_by_name_for_every_format(tmp_path, kind):
    source = make(tmp_path / "s", **SOURCES[kind])
    for folder, name in (("p", "1.gif"), ("f", "1.m4v"), ("n", "2.opus")):
        (source / folder).mkdir()
        (source / folder / name).write_bytes(b"x")
    flags = ("--images", source / "p", "--video", source / "f", "--audio", source / "n")
    report, _, items = imported(source, tmp_path / "d", *flags)
    by_id = {row[0]: row[2:] for row in items}
    assert by_id["1"] == (str(source / "p/1.gif"), str(source / "f/1.m4v"), None)
    assert by_id["2"] == (None, None, str(source / "n/2.opus"))
    assert [media["modality"] for media in report["media"]] == ["image", "video", "audio"]


def test_a_folder_that_was_named_counts_before_a_path(tmp_path):
    items = "item_id,title,image\n1,one,a.jpg\n2,two,a.jpg\n"
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items, a_jpg="x")
    (source / "p").mkdir()
    (source / "p" / "1.png").write_bytes(b"x")
    _, _, rows = imported(source, tmp_path / "d", "--images", source / "p")
    assert [row[2] for row in rows[:2]] == [str(source / "p/1.png"), str(source / "a.jpg")]
