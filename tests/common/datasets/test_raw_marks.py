"""Quotation marks that one bad row would leave in every title: refused, and else reported."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.line_tables import read_titles
from crossan.common.datasets.raw_marks import require_text_marks
from crossan.common.datasets.tables import read_marked_table
from crossan.common.datasets.text_rows import RowShape
from support.counts import of_full
from support.imports import LOG, imported, make, run

BAD_ROWS = [
    r'"say \"hi\" there"',
    r'"a tail \""',
    '5" disc',
    '"Loud" speaker',
    '"never closed',
]


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_one_bad_row_among_quoted_ones_is_refused_with_its_line(tmp_path, bad, delimiter):
    titles = ['"one"', '"two"', bad, '"four"', '"five"']
    rows = [f"{number}{delimiter}{title}" for number, title in enumerate(titles)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([f"item_id{delimiter}title", *rows, ""]))
    readers = [read_marked_table]
    if delimiter in ",\t":
        readers.append(lambda path: read_titles(path, delimiter))
    for read in readers:
        with pytest.raises(DataError, match=r"t.csv, line 4: .*quotation mark") as refused:
            read(path)
        assert refused.value.remedy


def test_a_mark_behind_a_backslash_is_refused_in_a_table_of_bare_titles(tmp_path):
    (tmp_path / "t.csv").write_text('item_id,title\n1,a\n2,b\n3,"say \\"hi\\" x"\n4,c\n')
    with pytest.raises(DataError, match="t.csv, line 4: .* a backslash before one"):
        read_marked_table(tmp_path / "t.csv")


@settings(max_examples=of_full(40, 15))
@given(st.lists(st.text('"a\\ ', max_size=6), min_size=1, max_size=6))
def test_marks_stay_in_texts_only_where_few_texts_lie_between_them(tmp_path_factory, titles):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    assume(all(title != '""' for title in titles))
    path.write_text("item_id,title\n" + "".join(f"{n},{t}\n" for n, t in enumerate(titles)))
    shape = RowShape(path, ",", 2)
    between = [title for title in titles if len(title) > 1 and title[0] == '"' == title[-1]]
    is_refused = any('\\"' in title[1:-1] for title in between) or (
        len(between) > 1 and len(between) > sum(map(bool, titles)) / 2
    )
    if is_refused:
        with pytest.raises(DataError, match=r"t.csv, line \d"):
            require_text_marks(path.read_bytes(), shape)
    else:
        require_text_marks(path.read_bytes(), shape)


@pytest.mark.parametrize(
    ("title", "quotation", "words"),
    [
        ('"one, two"', "syntax", "quotation marks quote fields"),
        ('5" disc', "text", "quotation marks are part of texts"),
        ("plain", None, None),
    ],
)
def test_the_report_says_what_quotation_marks_are(tmp_path, title, quotation, words):
    items = f"item_id,title\n1,{title}\n2,two\n3,three\n"
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items)
    report, _, rows = imported(source, tmp_path / "d")
    assert [table["quotation"] for table in report["tables"]] == [None, quotation]
    assert rows[0][1] == (title.strip('"') if quotation == "syntax" else title)
    shown = run("import", source, "--out", tmp_path / "e")
    assert (words or "item_id, title\n") in shown
    titles = make(tmp_path / "m", a_pairs_tsv="u\t1 2\n", a_titles_csv=items.partition("\n")[2])
    assert imported(titles, tmp_path / "f")[0]["tables"][1]["quotation"] == quotation
