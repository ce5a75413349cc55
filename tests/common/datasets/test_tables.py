"""Text tables, quoted or not: the rows that were written, or an error."""

import csv
import io
import re
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import CrossanError, DataError, UsageError
from crossan.common.datasets.formats import ImportSource
from crossan.common.datasets.formats.tabular import interactions_from, items_from
from crossan.common.datasets.line_tables import read_sequences, read_titles
from crossan.common.datasets.quoting import (
    Quoting,
    count_strict_rows,
    quoted_rows,
    weigh_quoting,
)
from crossan.common.datasets.tables import column_names, read_table
from crossan.common.datasets.text_rows import RowShape

ODD_TITLES = {2: '"Loud" speaker', 4: '"unclosed start', 7: 'tail quote"'}


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path):
    table = read_table(path)
    return [list(row.values()) for row in table.to_pylist()]


def as_raw(rows, delimiter):
    return "".join(delimiter.join(row) + "\n" for row in rows)


def quoting_where(is_quoted):
    def write(rows, delimiter):
        def field(text, column):
            if not is_quoted(text, delimiter, column):
                return text
            return '"' + text.replace('"', '""') + '"'

        lines = (delimiter.join(field(text, n) for n, text in enumerate(row)) for row in rows)
        return "".join(line + "\n" for line in lines)

    return write


def needs(text, delimiter, _column):
    return re.search(rf'["\r\n{delimiter}]', text) is not None


QUOTING_WRITERS = {
    "minimal": quoting_where(needs),
    "everything": quoting_where(lambda text, delimiter, column: True),
    "one column": quoting_where(lambda text, delimiter, column: column == 1),
    "one column, where it has a text": quoting_where(
        lambda text, delimiter, column: column == 1 and text
    ),
    "the empty": quoting_where(lambda text, *where: not text or needs(text, *where)),
}
# Some programs quote for more than they must.
for reason in (r"[,;]", r"^\s|\s$", r"[,;]|^\s|\s$"):
    QUOTING_WRITERS[reason] = quoting_where(
        lambda text, *where, reason=reason: needs(text, *where) or re.search(reason, text)
    )


def strict_rows(text, delimiter):
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [[field or None for field in row] for row in reader if row][1:]


# pandas writes "" for an empty text beside nothing for a missing one: a title of two marks is none.
raw_titles = st.text('"ab ,\u2028\u0085é', max_size=5).filter(lambda title: title != '""')
quoted_titles = st.text('"ab ,\t\n\r\u2028\u0085é', max_size=5)
line_ends = st.sampled_from(["\n", "\r\n"])
marks = st.sampled_from([b"", b"\xef\xbb\xbf"])


@given(st.lists(quoted_titles, min_size=1, max_size=4), st.data())
def test_a_quoted_table_gives_its_rows_or_an_error(tmp_path_factory, titles, data):
    delimiter = data.draw(st.sampled_from([",", "\t"]))
    writer = data.draw(st.sampled_from(sorted(QUOTING_WRITERS)))
    rows = [[str(number), title, "x"] for number, title in enumerate(titles)]
    text = QUOTING_WRITERS[writer]([["item_id", "title", "kind"], *rows], delimiter)
    path = written(tmp_path_factory.mktemp("t") / "t.csv", data.draw(marks) + text.encode())
    try:
        result = rows_of(path)
    except DataError as error:
        result = error
    if isinstance(result, DataError):
        assert (bool(re.search(r"line \d", result.message)), writer == "everything") == (
            True,
            False,
        )
        return
    assert result == [[number, title or None, kind] for number, title, kind in rows]


@given(st.lists(raw_titles, min_size=1, max_size=4), st.data())
def test_a_table_without_quoting_gives_its_rows_or_an_error(tmp_path_factory, titles, data):
    delimiter = data.draw(st.sampled_from([",", "\t"]))
    rows = [[str(number), title.replace(delimiter, "")] for number, title in enumerate(titles)]
    text = as_raw([["item_id", "title"], *rows], delimiter)
    lines = text.replace("\n", data.draw(line_ends))
    path = written(tmp_path_factory.mktemp("t") / "t.csv", data.draw(marks) + lines.encode())
    try:
        result = rows_of(path)
    except DataError as error:
        result = error
    if isinstance(result, DataError):
        assert re.search(r"line \d", result.message)
        return
    assert len(result) == len(rows)
    if result != [[number, title or None] for number, title in rows]:
        # The same bytes would be written by a program that quotes.
        assert result == strict_rows(text, delimiter)
        filled = [[field or "" for field in row] for row in result]
        written_again = [write(filled, delimiter) for write in QUOTING_WRITERS.values()]
        assert delimiter == "," or text.partition("\n")[2] in written_again


@given(st.text('"a,\n\r\u2028', max_size=20), st.integers(1, 3), st.booleans())
def test_what_counts_as_strict_at_once_does_so_row_by_row(text, field_count, rest_is_last):
    shape = RowShape(Path("t.csv"), ",", field_count, rest_is_last)
    row_count = count_strict_rows(text.encode(), shape)
    try:
        rows = [lines for _, lines in quoted_rows(text.encode(), shape)]
    except DataError:
        assert row_count is None
        return
    row = ",".join([r'("([^"]|"")*"|[^",]*)'] * field_count)
    is_strict = all(len(lines) == 1 and re.fullmatch(row, lines[0]) for lines in rows)
    assert row_count == (len(rows) if is_strict and rows else None)
    if row_count:
        assert weigh_quoting(text.encode(), shape) == Quoting(True, row_count)


def test_texts_over_several_lines_are_read_where_every_field_is_quoted(tmp_path):
    rows = [["item_id", "title"], ["1", "one,\r\ntwo, three"], ["2", "a\n\nb"]]
    text = QUOTING_WRITERS["everything"](rows, ",")
    assert rows_of(written(tmp_path / "t.csv", text)) == rows[1:]
    assert read_titles(written(tmp_path / "t.csv", text), ",").by_item == dict(rows[1:])


def test_marks_that_do_not_quote_stay_in_titles_and_swallow_no_row(tmp_path):
    titles = [ODD_TITLES.get(number, f"title {number}") for number in range(9)]
    rows = [[str(number), title] for number, title in enumerate(titles)]
    path = written(tmp_path / "items.tsv", as_raw([["item_id", "title"], *rows], "\t"))
    assert rows_of(path) == rows


def test_titles_whose_quotation_could_swallow_rows_are_refused_with_the_line(tmp_path):
    text = 'item,title\n1,"ok"\n2,"unclosed\n3,c\n4,d"\n5,e\n6,f\n'
    path = written(tmp_path / "x_titles.csv", text)
    for read in (read_table, lambda path: read_titles(path, ",")):
        with pytest.raises(DataError, match=r"x_titles.csv, line 3: .* line 5 closes"):
            read(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("item_id,title\n1,a\n2,b,c\n", "line 3: expected 2 fields, found '2,b,c'"),
        ('item_id,title\n1,"a" b, c\n', "line 2: expected 2 fields"),
        ('item_id,title\n1,"a, b\n', "line 2: nothing closes a quotation mark"),
        ("item_id,title\n1,a\rb\n", "line 2: .*carriage return"),
        ("item_id,title\n\n1,a\0b\n", "line 3: expected text, found a NUL"),
        (b"item_id,title\n1,\xff\n", "line 2: expected UTF-8"),
        ("item_id,title\n1,a\n".encode("utf-16"), "expected UTF-8 text, found UTF-16"),
        (b"\x1f\x8b\x08\0", "expected UTF-8 text, found a gzip file"),
        ("", "line 1: expected a table with a header"),
        ("x" * 2**20, "line 1: expected less than 1,048,576 bytes"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_line(tmp_path, text, fault):
    path = written(tmp_path / "t.csv", text)
    with pytest.raises(DataError, match=rf"t.csv(, |: ){fault}"):
        read_table(path, column_names(path))


def test_only_the_columns_that_are_named_are_read_and_no_doubled_one(tmp_path):
    path = tmp_path / "t.parquet"
    columns = [pa.array([1]), pa.array([[1.0, 2.0]]), pa.array([3]), pa.array([4])]
    pq.write_table(pa.table(columns, names=["id", "embedding", "title", "title"]), path)
    assert column_names(path) == ["id", "embedding", "title", "title"]
    assert read_table(path, ["id"]).column_names == ["id"]
    with pytest.raises(DataError, match="t.parquet, row 1: expected one column title, found 2"):
        items_from(path, ImportSource(root=tmp_path))


def test_what_is_no_file_is_no_table(tmp_path):
    for path, what in [(tmp_path, "a folder"), (Path("/dev/zero"), "a device")]:
        with pytest.raises(UsageError, match=f"expected a file, found {what}"):
            read_table(path)
    with pytest.raises(UsageError, match="no such file"):
        read_table(tmp_path / "t.parquet")


def test_a_table_without_a_header_is_refused(tmp_path):
    path = written(tmp_path / "log.csv", "12,345,1700000000\n")
    with pytest.raises(UsageError, match="found 12, 345, 1700000000 .the first line must be"):
        interactions_from(path, ImportSource(root=tmp_path))


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from(["", ".parquet", ".csv"]))
def test_a_damaged_table_is_a_typed_error(tmp_path_factory, junk, place, suffix):
    path = tmp_path_factory.mktemp("t") / f"t{suffix}"
    pq.write_table(pa.table({"item_id": [1, 2], "title": ["a", None]}), path)
    data = path.read_bytes()
    path.write_bytes(data[:place] + junk + data[place + len(junk) :])
    with suppress(CrossanError):
        read_table(path)


def test_titles_without_quoting_hold_the_delimiter_and_any_mark(tmp_path):
    text = '7,seven, with "quotes"\n8,"eight\n9,\nid\u2028x,l\u0085m\n'
    titles = read_titles(written(tmp_path / "t.csv", text), ",")
    expected = {"7": 'seven, with "quotes"', "8": '"eight', "9": None, "id\u2028x": "l\u0085m"}
    assert (titles.by_item, titles.header) == (expected, None)


@pytest.mark.parametrize(
    "header",
    [
        *("item,title", "item_id,title", '"Item ID","Title"', "id,name", "news_title_id,text"),
        *("articleId,x", "Clicked Items,Text", "nid,heading", "code,description"),
    ],
)
def test_a_header_is_no_item(tmp_path, header):
    titles = read_titles(written(tmp_path / "t.csv", f"{header}\n1,a\n"), ",")
    assert titles.by_item == {"1": "a"}
    assert titles.header is not None


@pytest.mark.parametrize("header", ["code,label", "Nummer,Titel", "tweet,words"])
def test_a_word_above_numbers_is_a_header_and_among_words_an_item(tmp_path, header):
    word, title = header.split(",")
    path = written(tmp_path / "t.csv", f"{header}\n1,a\n02,b\n")
    assert read_titles(path, ",").by_item == {"1": "a", "02": "b"}
    assert read_titles(path, ",").header == header
    path = written(tmp_path / "t.csv", f"{header}\n1,a\nmadrid,b\n")
    assert read_titles(path, ",").by_item == {word: title, "1": "a", "madrid": "b"}


@pytest.mark.parametrize("item", ["madrid", "david", "7-id5", "KID", "B00ID", "1"])
def test_an_id_that_only_ends_like_one_is_an_item(tmp_path, item):
    titles = read_titles(written(tmp_path / "t.csv", f"{item},Real Madrid\nx,a\n"), ",")
    assert (titles.by_item, titles.header) == ({item: "Real Madrid", "x": "a"}, None)


def test_only_the_blank_of_ascii_parts_items(tmp_path):
    ids = ["a\u00a0b", "e\u3000f", "g\u2028h", "i\x0bj"]
    path = written(tmp_path / "p.tsv", f"u v\t{'  '.join(ids)} \r\n\n")
    table = read_sequences(path)
    assert table.column("item_id").to_pylist() == ids
    assert table.column("user_id").to_pylist() == ["u v"] * 4


def test_a_word_among_numbers_is_a_user_where_its_items_are_numbers(tmp_path):
    path = written(tmp_path / "p.tsv", "ann\t5 6\n1\t5 6\n2\t6 7\n")
    assert read_sequences(path).column("user_id").to_pylist()[0] == "ann"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("user_id\titem_ids\nu\ta\n", "line 1: .*found a header"),
        ("user_id\tclicked items\nu\ta\n", "line 1: .*found a header"),
        ("reader-id\twhat\nu\ta\n", "line 1: .*found a header"),
        ("Visitor ID\twhat\nu\ta\n", "line 1: .*found a header"),
        ("who\twhat was read\n1\t5 6\n2\t6 7\n", "line 1: .*found a header"),
        (f"u\ta\nv\t{'x' * 1025} b\n", "line 2: expected an id of at most 1,024 bytes"),
        ("\ta b\n", "line 1: expected an id without NUL and not empty, found ''"),
        ("u\ta\rb\n", "line 1: expected 'user TAB item item ...'"),
    ],
)
def test_sequences_that_are_none_are_named_with_their_line(tmp_path, text, fault):
    with pytest.raises(DataError, match=f"p.tsv, {fault}"):
        read_sequences(written(tmp_path / "p.tsv", text))
