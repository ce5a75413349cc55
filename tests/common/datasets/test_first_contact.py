"""Tables as pandas and others write them, from the file to the dataset."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import DataError
from crossan.common.datasets import open_dataset
from crossan.common.datasets.cli import app

USERS, ITEMS, TIMES = zip(
    *((user, (user + place) % 9, 1000 + place) for user in range(6) for place in range(6)),
    strict=True,
)
CSV_ITEMS = "item_id,title\n" + "".join(f"{item},title {item}\n" for item in range(9))


def imported(source, out):
    result = CliRunner().invoke(
        app, ["import", str(source), "--format", "table", "--out", str(out)]
    )
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return open_dataset(out)


def write_log(folder, **columns):
    rows = {"user_id": USERS, "item_id": ITEMS, "timestamp": TIMES, **columns}
    pq.write_table(
        pa.table({name: pa.array(rows[name]) for name in rows}), folder / "interactions.parquet"
    )


@pytest.mark.parametrize("items", ["csv", "parquet"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint16(), pa.float64(), pa.decimal128(21, 2)])
def test_numbers_for_ids_are_their_digits(tmp_path, items, kind):
    write_log(tmp_path, item_id=pa.array(ITEMS).cast(kind))
    if items == "csv":
        (tmp_path / "items.csv").write_text(CSV_ITEMS)
    else:
        titles = [f"title {item}" for item in range(9)]
        table = pa.table({"item_id": pa.array(range(9), pa.int64()), "title": titles})
        pq.write_table(table, tmp_path / "items.parquet")
    dataset = imported(tmp_path, tmp_path / "d")
    assert dataset.interactions().column("user_id").to_pylist() == [str(user) for user in USERS]
    assert dataset.interactions().column("item_id").to_pylist() == [str(item) for item in ITEMS]
    assert dataset.interactions().column("timestamp").to_pylist() == list(TIMES)
    assert dataset.items().select(["item_id", "title"]).to_pylist() == [
        {"item_id": str(item), "title": f"title {item}"} for item in range(9)
    ]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        (
            {"timestamp": (float("nan"), *TIMES[1:])},
            "timestamp, row 1: expected a time, found none",
        ),
        ({"timestamp": (*map(float, TIMES[1:]), 1e300)}, "timestamp, row 36: .* found 1e.300"),
        ({"user_id": (*map(str, USERS[1:]), "L" * 30_000)}, "user_id, row 36: .*found 30,000: 'LL"),
        ({"item_id": (None, *ITEMS[1:])}, "item_id, row 1: expected an id, found null"),
        ({"item_id": [[item] for item in ITEMS]}, "item_id, row 1: .*found the type list"),
    ],
)
def test_what_is_no_id_or_time_makes_no_dataset(tmp_path, columns, fault):
    write_log(tmp_path, **columns)
    with pytest.raises(DataError, match=f"interactions.parquet, column {fault}"):
        imported(tmp_path, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_seconds_are_not_taken_for_milliseconds(tmp_path):
    write_log(tmp_path, timestamp=[1_600_000_000 + time for time in TIMES])
    times = imported(tmp_path, tmp_path / "d").interactions().column("timestamp")
    assert times.to_pylist() == [(1_600_000_000 + time) * 1000 for time in TIMES]
