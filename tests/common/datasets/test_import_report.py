"""What an import says of columns, joins, times and files, and what it refuses."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets import open_dataset
from support.imports import ITEMS, LOG, imported, make, run


def test_the_report_of_a_table(tmp_path):
    log = LOG.replace("user_id", "user").replace("timestamp", "ts")
    log = "\n".join(f"{line},{note}" for line, note in zip(log.split(), "rxyzw", strict=True))
    source = make(
        tmp_path / "s", interactions_csv=log, items_csv=ITEMS, README_md="", covers_txt=""
    )
    make_cover = source / "pictures"
    make_cover.mkdir()
    for name in ("1.jpg", "9.JPEG", "other.jpg", "2.heic"):
        (make_cover / name).write_bytes(b"x")
    report, rows, items = imported(source, tmp_path / "d", "--images", make_cover)
    assert (report["command"], report["format"]) == ("import", "table")
    assert report["format_decided"] == "by its files: interactions.csv"
    log_said, items_said = report["tables"]
    assert log_said["columns"] == {"user_id": "user", "item_id": "item_id", "timestamp": "ts"}
    assert (log_said["rows"], log_said["ignored"]) == (4, ["r"])
    assert (items_said["rows"], items_said["columns"]["title"]) == (3, "title")
    interactions_join, title_join = report["joins"]
    assert interactions_join["matched"] == 2
    assert interactions_join["unmatched"] == {"count": 1, "examples": ["3"]}
    assert interactions_join["unused"] == {"count": 1, "examples": ["9"]}
    assert (title_join["matched"], title_join["unmatched"]["examples"]) == (3, ["3"])
    media = report["media"][0]
    assert (media["modality"], media["files"], media["join"]["matched"]) == ("image", 4, 2)
    assert media["join"]["unused"]["examples"] == ["pictures/other.jpg"]
    assert media["passed_over"] == {"suffix .heic": {"count": 1, "examples": ["pictures/2.heic"]}}
    assert (report["times"]["unit"], report["times"]["first"], report["times"]["last"]) == (
        "s",
        "2023-11-14T22:13:21+00:00",
        "2023-11-14T22:13:24+00:00",
    )
    assert report["unread"]["examples"] == ["README.md", "covers.txt"]
    assert rows[0] == ("u", "1", 1_700_000_003_000)
    assert items[2][:3] == ("9", "nine", str(make_cover / "9.JPEG"))


def test_people_read_the_same(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=ITEMS.replace("1,", "01,"))
    shown = run("import", source, "--out", tmp_path / "d").splitlines()
    assert shown[0].endswith("2 users, 4 items, 4 interactions")
    assert "interactions  interactions.csv: 4 rows; user_id, item_id, timestamp" in shown
    assert (
        "times         2023-11-14T22:13:21+00:00 to 2023-11-14T22:13:24+00:00 "
        "(unit s: the unit that puts all between 1990 and 2100)"
    ) in shown
    assert "- items of interactions -> items: 1 matched but for leading zeros, as 1 = 01" in shown
    assert "- items of interactions without items: 1 (3)" in shown
    assert "- items without items of interactions: 1 (9)" in shown


@pytest.mark.parametrize(
    "name",
    ["ts", "time", "date", "datetime", "unix_timestamp", "Timestamp", "event_time", "created_at"],
)
def test_a_column_of_times_is_known_by_many_names(tmp_path, name):
    source = make(tmp_path / "s", interactions_csv=LOG.replace("timestamp", name))
    report, rows, _ = imported(source, tmp_path / "d")
    assert report["tables"][0]["columns"]["timestamp"] == name
    assert [row[2] for row in rows] == [1_700_000_000_000 + 1000 * t for t in (3, 1, 2, 4)]


@pytest.mark.parametrize("values", ["1700000003", "1700000003000", "2024-01-02", "1700000003.5"])
def test_a_column_that_looks_like_a_time_and_is_not_taken_is_said(tmp_path, values):
    lines = LOG.replace("timestamp", "when").splitlines()
    log = "\n".join([lines[0], *(f"{line.rpartition(',')[0]},{values}" for line in lines[1:])])
    source = make(tmp_path / "s", interactions_csv=log)
    report, rows, _ = imported(source, tmp_path / "d")
    assert report["tables"][0]["unread_times"] == ["when"]
    assert report["times"]["unit"] == "file order"
    assert {row[2] for row in rows} == {None}
    shown = run("import", source, "--out", tmp_path / "e")
    assert "column when looks like a time and is not taken" in shown
    assert "the order of the rows counts (file order)" in shown
    report, rows, _ = imported(source, tmp_path / "f", "--column", "timestamp=when")
    assert report["tables"][0]["unread_times"] == []
    assert None not in {row[2] for row in rows}


@pytest.mark.parametrize("values", ["5.0", "1", "ann", "12345"])
def test_a_rating_looks_like_no_time(tmp_path, values):
    log = "user,item,rating\n" + f"u,1,{values}\n" * 3
    report, _, _ = imported(make(tmp_path / "s", interactions_csv=log), tmp_path / "d")
    assert report["tables"][0]["unread_times"] == []


@pytest.mark.parametrize(
    ("header", "flag"),
    [
        ("user_id,item_id,ts,date", "--column timestamp=ts"),
        ("user,uid,item_id,ts", "--column user_id=user"),
        ("user_id,asin,parent_asin,ts", "--column item_id=asin"),
    ],
)
def test_two_columns_that_could_be_meant_are_refused(tmp_path, header, flag):
    source = make(tmp_path / "s", interactions_csv=f"{header}\na,b,1,2\n")
    with pytest.raises(UsageError, match="expected one column for") as refused:
        run("import", source, "--out", tmp_path / "d")
    assert flag in refused.value.remedy
    assert flag.partition("=")[2] in refused.value.message


def test_our_own_name_comes_before_others(tmp_path):
    log = "user_id,item_id,item,date,timestamp\nu,1,x,2024-01-01,1700000000\n"
    report, rows, _ = imported(make(tmp_path / "s", interactions_csv=log), tmp_path / "d")
    assert rows == [("u", "1", 1_700_000_000_000)]
    assert report["tables"][0]["ignored"] == ["item", "date"]
    assert report["tables"][0]["unread_times"] == ["date"]


@pytest.mark.parametrize("name", ["title", "name", "Name", "product_title", "item-name"])
def test_titles_are_known_by_many_names(tmp_path, name):
    items = ITEMS.replace("title", name).replace("item_id", "id")
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=items)
    _, _, rows = imported(source, tmp_path / "d")
    assert [row[1] for row in rows] == ["one", "two", "nine", None]


def test_a_requested_column_that_is_nowhere_is_refused(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=ITEMS)
    with pytest.raises(UsageError, match="--column title=nmae: .* found item_id, .*title"):
        run("import", source, "--out", tmp_path / "d", "--column", "title=nmae")


@pytest.mark.parametrize(
    ("spelt", "difference"),
    [("{}.0", ".0 at its end"), ("000{}", "leading zeros"), (" {}", "blanks around it")],
)
def test_ids_that_are_written_differently_meet_and_it_is_said(tmp_path, spelt, difference):
    log = "user_id,item_id,timestamp\n" + "".join(
        f'u,"{spelt.format(item)}",{item}\n' for item in (1, 2, 9)
    )
    source = make(tmp_path / "s", interactions_csv=log, items_csv=ITEMS)
    report, rows, items = imported(source, tmp_path / "d")
    assert [row[1] for row in rows] == ["1", "2", "9"]
    assert [row[:2] for row in items] == [("1", "one"), ("2", "two"), ("9", "nine")]
    assert report["joins"][0]["loosely"] == {difference: 3}
    assert report["joins"][0]["loose_examples"] == [f"{spelt.format(1)} = 1"]


def test_interactions_that_meet_no_item_are_refused_with_examples_of_both(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv="item_id,title\nx1,a\nx2,b\n")
    with pytest.raises(DataError, match="found none of them among 3") as refused:
        run("import", source, "--out", tmp_path / "d")
    assert "interactions.csv names: 1, 2, 3" in refused.value.message
    assert "items.csv lists: x1, x2" in refused.value.message
    assert not (tmp_path / "d").exists()


def test_an_item_that_a_table_lists_twice_is_named_with_both_rows(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG, items_csv=ITEMS + "2,deux\n")
    with pytest.raises(DataError, match=r"s/items.csv, column item_id, row 4: .* as in row 2"):
        run("import", source, "--out", tmp_path / "d")


def test_an_import_without_items_says_so(tmp_path):
    shown = run("import", make(tmp_path / "s", interactions_csv=LOG), "--out", tmp_path / "d")
    assert "- no table of items: no item has a title" in shown.splitlines()


def test_tables_of_others_are_not_written_over(tmp_path):
    source = make(tmp_path / "s")
    table = pa.table({"user_id": ["u"], "item_id": ["1"]})
    pq.write_table(table, source / "interactions.parquet")
    for flags in ((), ("--replace",)):
        with pytest.raises(UsageError, match="interactions.parquet is in this folder and no data"):
            run("import", source, "--out", source, *flags)
    assert pq.read_table(source / "interactions.parquet").equals(table)


def test_repeated_interactions_are_kept_and_counted(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG + "u,2,1700000001\n" * 2)
    report, rows, _ = imported(source, tmp_path / "d")
    assert report["repeated_interactions"] == {"count": 2, "examples": ["u 2 1700000001000"]}
    assert len(rows) == 6


def test_replacing_is_requested_and_media_stay(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG)
    imported(source, tmp_path / "d")
    (tmp_path / "d" / "covers").mkdir()
    with pytest.raises(UsageError, match="a dataset is in this folder already") as refused:
        run("import", source, "--out", tmp_path / "d")
    assert "--replace" in refused.value.remedy
    (source / "interactions.csv").write_text("user_id,item_id\nw,7\n")
    _, rows, _ = imported(source, tmp_path / "d", "--replace")
    assert rows == [("w", "7", None)]
    assert (tmp_path / "d" / "covers").is_dir()


def test_a_refused_import_leaves_the_dataset_that_was_to_be_replaced(tmp_path):
    source = make(tmp_path / "s", interactions_csv=LOG)
    _, before, _ = imported(source, tmp_path / "d")
    (source / "items.csv").write_text("item_id,title\nx,y\n")
    with pytest.raises(DataError, match="found none of them among 3"):
        run("import", source, "--out", tmp_path / "d", "--replace")
    assert open_dataset(tmp_path / "d").interactions().num_rows == len(before)


ITEM_IDS = st.lists(
    st.sampled_from(["1", "2", "3.0", "03", "x", "é", "10"]), min_size=1, max_size=8
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(used=ITEM_IDS, listed=ITEM_IDS)
def test_every_row_and_every_item_is_accounted_for(tmp_path_factory, used, listed):
    folder = tmp_path_factory.mktemp("table")
    listed = sorted(set(listed))
    pq.write_table(
        pa.table({"user_id": ["u"] * len(used), "item_id": used}), folder / "interactions.parquet"
    )
    pq.write_table(pa.table({"item_id": listed, "title": listed}), folder / "items.parquet")
    try:
        report, rows, items = imported(folder, folder / "d")
    except DataError:
        assert set(used) & set(listed) == set()
        return
    join = report["joins"][0]
    assert len(rows) == len(used) == report["tables"][0]["rows"]
    assert join["matched"] + join["unmatched"]["count"] == len(set(used))
    assert join["matched"] + join["unused"]["count"] == len(listed)
    assert {item for _, item, _ in rows} <= {row[0] for row in items}
    assert {row[0]: row[1] for row in items if row[1]} == {item: item for item in listed}
