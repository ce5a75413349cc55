"""``crossan data check`` says what the import said, and what has become of it."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.report import (
    ImportRecord,
    ImportReport,
    TableReading,
    read_record,
)
from support.counts import of_full
from support.imports import imported, make, run


def test_check_says_what_the_import_said(tmp_path):
    source = make(tmp_path / "s", interactions_csv=MANY, items_csv="item_id,title\n1,one\nx,y\n")
    report, _, _ = imported(source, tmp_path / "d")
    checked = json.loads(run("check", tmp_path / "d", "--json"))
    assert (checked["imported"], checked["updated"], checked["updates"]) == (report, None, 0)
    assert checked["times"]["first"] == "2023-11-14T22:13:21+00:00"
    shown = run("check", tmp_path / "d")
    assert "\nits last import\nformat        table (by its files: interactions.csv)\n" in shown
    assert "- items without items of interactions: 1 (x)" in shown
    (tmp_path / "d" / "import.json").write_text("{")
    assert json.loads(run("check", tmp_path / "d", "--json"))["imported"] is None


MANY = "user_id,item_id,timestamp\n" + "".join(
    f"u,{n % 4},{1_700_000_001 + n % 5}\n" for n in (0, 1, 2, 3, 4, 5, 0)
)


def test_check_says_when_the_tables_are_others_than_described(tmp_path):
    source = make(tmp_path / "s", interactions_csv=MANY)
    imported(source, tmp_path / "d")
    codes = [p["code"] for p in json.loads(run("check", tmp_path / "d", "--json"))["problems"]]
    assert "digest" not in codes
    table = pq.read_table(tmp_path / "d/interactions.parquet")
    others = pa.array(["w"] * len(table))
    pq.write_table(table.set_column(0, "user_id", others), tmp_path / "d/interactions.parquet")
    problems = json.loads(run("check", tmp_path / "d", "--json"))["problems"]
    assert (problems[-1]["code"], problems[-1]["count"]) == ("digest", 1)


def test_check_counts_repeated_interactions_and_refuses_what_matches_nothing(tmp_path):
    source = make(tmp_path / "s", interactions_csv=MANY)
    imported(source, tmp_path / "d")
    problems = json.loads(run("check", tmp_path / "d", "--json"))["problems"]
    assert (problems[0]["code"], problems[0]["count"]) == ("repeated-interaction", 1)
    items = pq.read_table(tmp_path / "d/items.parquet")
    strangers = pa.array([f"x{n}" for n in range(len(items))])
    pq.write_table(items.set_column(0, "item_id", strangers), tmp_path / "d/items.parquet")
    with pytest.raises(DataError, match="interactions name: 0, 1, 2, 3\n  items are: x0, x1"):
        run("check", tmp_path / "d")


def test_a_medium_that_cannot_be_read_is_broken_with_its_reason(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    source = make(tmp_path / "s", interactions_csv=MANY, items_csv="item_id,image\n1,a.jpg\n2,\n")
    (source / "a.jpg").write_bytes(b"x")
    imported(source, tmp_path / "d")
    monkeypatch.setattr("crossan.common.datasets.doctor._find_probe", lambda modality: refuse)
    report = json.loads(run("check", tmp_path / "d", "--json"))
    assert report["media"]["image"] == {"present": 0, "absent": 3, "missing": 0, "broken": 1}
    broken = next(one for one in report["problems"] if one["code"] == "broken-image")
    assert broken["examples"] == [f"1: {source}/a.jpg (cannot be read: Permission denied)"]


@settings(max_examples=of_full(60, 20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=12), place=st.integers(0, 400), cut=st.integers(0, 12))
def test_a_damaged_record_is_no_record_or_another_one(tmp_path_factory, junk, place, cut):
    path = tmp_path_factory.mktemp("d") / "import.json"
    table = TableReading(file="a.csv", holds="items", rows=3, columns={"item_id": "id"})
    report = ImportReport(command="import", format="t", format_decided="x", tables=(table,))
    data = ImportRecord(imported=report).to_bytes()
    path.write_bytes(data[:place] + junk + data[place + cut :])
    assert isinstance(read_record(path), ImportRecord)


def test_a_record_that_is_no_file_of_ours_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "import.json")
    assert read_record(tmp_path / "import.json") == ImportRecord()
    assert read_record(tmp_path) == ImportRecord()


def test_names_in_a_report_stay_on_their_line(tmp_path):
    source = make(
        tmp_path / "s", interactions_csv=MANY, items_csv='item_id\n1\n"x\u202e\x1b[31m"\n'
    )
    (source / "p").mkdir()
    for name in ("1.jpg", "a\nb\x1b.jpg"):
        (source / "p" / name).write_bytes(b"x")
    shown = run("import", source, "--images", source / "p", "--out", tmp_path / "d")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "- image files without items: 1 (p/a\\nb\\x1b.jpg)" in shown.splitlines()
    assert "- items without items of interactions: 1 (x\\u202e\\x1b[31m)" in shown.splitlines()
