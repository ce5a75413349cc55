"""What parts the columns of a text table, and remedies that work where nothing does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import CrossanError, DataError, UsageError
from crossan.common.datasets.tables import column_names, read_table
from crossan.common.datasets.text_rows import split_separator
from support.counts import of_full
from support.imports import ITEMS, LOG, imported, make, run


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n", '"sep={}"\r\n', "\ufeffsep={}\n"])
def test_tables_are_read_with_any_separator(tmp_path, delimiter, first):
    files = {
        f"{name}_csv": first.format(delimiter) + text.replace(",", delimiter)
        for name, text in (("interactions", LOG), ("items", ITEMS))
    }
    report, rows, items = imported(make(tmp_path / "s", **files), tmp_path / "d")
    assert rows[0] == ("u", "1", 1_700_000_003_000)
    assert [row[:2] for row in items[:2]] == [("1", "one"), ("2", "two")]
    assert report["times"]["unit"] == "s"


def test_a_time_that_is_not_taken_is_seen_with_any_separator(tmp_path):
    log = LOG.replace("timestamp", "when").replace(",", ";")
    for number, first in enumerate(("", "sep=;\n")):
        source = make(tmp_path / f"s{number}", interactions_csv=first + log)
        report, _, _ = imported(source, tmp_path / f"d{number}")
        assert report["tables"][0]["unread_times"] == ["when"]


@settings(max_examples=of_full(60, 20))
@given(
    st.lists(st.lists(st.text('a,;|"', max_size=4), min_size=3, max_size=3), min_size=1),
    st.sampled_from(",;|"),
)
def test_quoted_rows_come_back_whatever_parts_them(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    rows = [["item_id", "title", "more"], *rows]
    quoted = [['"' + field.replace('"', '""') + '"' for field in row] for row in rows]
    path.write_text("".join(delimiter.join(row) + "\n" for row in quoted))
    table = read_table(path)
    assert table.column_names == rows[0]
    assert [list(row.values()) for row in table.to_pylist()] == [
        [field or None for field in row] for row in rows[1:]
    ]


def test_the_line_that_names_the_separator_keeps_the_numbers_of_the_others(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("sep=;\na;b\n1;2\n3\n")
    assert split_separator(path.read_bytes()) == (b"\na;b\n1;2\n3\n", ";")
    assert column_names(path) == ["a", "b"]
    with pytest.raises(DataError, match="line 4: expected 2 fields, found '3'"):
        read_table(path)


@pytest.mark.parametrize(
    ("first_line", "remedy"),
    [
        ("user_id item_id timestamp", "Part the columns by a tab"),
        ("user_id::item_id::timestamp", "Part the columns by a tab"),
        ("# exported today, by us", "Remove the lines before the header"),
        ("% exported\nuser_id,item_id", "Remove the lines before the header"),
        ("who,what,when", "Name it: --column user_id=THEIR_NAME"),
    ],
)
def test_the_remedy_for_a_missing_column_can_work(tmp_path, first_line, remedy):
    source = make(tmp_path / "s", interactions_csv=f"{first_line}\nu 1 5\n")
    with pytest.raises(UsageError, match="expected a column for user_id") as refused:
        run("import", source, "--out", tmp_path / "d")
    assert refused.value.remedy.startswith(remedy)


@pytest.mark.parametrize("items", ["1,2", "1, 2", "1;2", "1|2"])
def test_items_of_a_sequence_that_blanks_do_not_part_are_refused(tmp_path, items):
    files = {"a_pairs_tsv": f"u\t{items}\nv\t2\n", "a_titles_csv": "1,one\n2,two\n"}
    with pytest.raises(DataError, match="line 1: expected items parted by blanks") as refused:
        run("import", make(tmp_path / "s", **files), "--out", tmp_path / "d")
    assert "--column" not in refused.value.remedy


def test_ids_with_commas_are_ids_where_blanks_part_them(tmp_path):
    files = {"a_pairs_tsv": "u\ta,1 b,2\nv\tb,2\n", "a_items_tsv": "a,1\tone\nb,2\ttwo\n"}
    source = make(tmp_path / "s", **files)
    _, rows, _ = imported(source, tmp_path / "d", "--format", "iisan")
    assert [row[1] for row in rows] == ["a,1", "b,2", "b,2"]


def test_sequences_that_meet_no_item_have_no_columns_to_choose(tmp_path):
    files = {"a_pairs_tsv": "u\tx y\n", "a_titles_csv": "1,one\n"}
    with pytest.raises(CrossanError, match="found none of them") as refused:
        run("import", make(tmp_path / "s", **files), "--out", tmp_path / "d")
    assert refused.value.remedy == "Write the ids alike in both"
