"""The tables of a dataset folder that someone else wrote: right, or refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets import open_dataset, write_dataset

NOTHING = pa.nulls(2, pa.string())
INTERACTIONS = {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": [1, 2]}
ITEMS = {"item_id": ["a", "b"], "title": ["A", None], "image": NOTHING, "video": NOTHING}


def write(folder, *, interactions=(), items=()):
    return write_dataset(
        folder,
        name="d",
        source_format="test",
        licence="none",
        interactions=pa.table({**INTERACTIONS, **dict(interactions)}),
        items=pa.table({**ITEMS, "audio": NOTHING, **dict(items)}),
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sound") / "d")


UNUSABLE = [
    ("item_id", ["a", ""], "row 2: expected an id without NUL and not empty, found ''"),
    ("item_id", ["a\0", "b"], "row 1: expected an id without NUL"),
    ("item_id", ["a", "x" * 30_000], "row 2: expected an id of at most 1,024 bytes, found 30,000"),
    ("item_id", ["a", None], "row 2: expected an id, found null"),
    ("item_id", [b"a", b"\xff"], "row 2: expected UTF-8"),
    ("item_id", ["a", "a"], "row 1: expected each item id once, found 1 repeated, first: a"),
    ("item_id", [["a"], ["b"]], "row 1: expected ids, found the type list"),
    ("title", [["a"], ["b"]], "row 1: expected text, found the type list"),
    ("image", ["a", "b\0"], "row 2: expected a path, found one with a NUL"),
]


@pytest.mark.parametrize(("name", "values", "fault"), UNUSABLE)
def test_unusable_values_are_neither_written_nor_read(tmp_path, name, values, fault):
    with pytest.raises(DataError, match=f"items.parquet, column {name}, {fault}"):
        write(tmp_path / "new", items={name: values})
    dataset = write(tmp_path / "d")
    table = pq.read_table(dataset.root / "items.parquet").to_pydict()
    pq.write_table(pa.table({**table, name: values}), dataset.root / "items.parquet")
    with pytest.raises(DataError, match=f"items.parquet, column {name}, {fault}"):
        dataset.items()


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"user_id": ["u", "x" * 1025]}, "column user_id, row 2: .*at most 1,024 bytes"),
        ({"timestamp": [0.5, 1.5]}, "column timestamp: expected milliseconds as int64"),
        ({"timestamp": pa.array([1, 2**63], pa.uint64())}, "column timestamp: .*9223372036854"),
    ],
)
def test_unusable_interactions_are_refused(tmp_path, columns, fault):
    with pytest.raises(DataError, match=f"interactions.parquet, {fault}"):
        write(tmp_path / "d", interactions=columns)


def test_other_types_of_the_same_values_are_read(tmp_path):
    dataset = write(tmp_path / "d")
    table = pa.table(
        {
            **{name: pa.nulls(2, pa.null()) for name in ("image", "video", "audio")},
            "title": pa.array(["A", None], pa.large_string()),
            "item_id": pa.array([7, 8]),
            "embedding": [[0.5], [1.5]],
        }
    )
    pq.write_table(table, dataset.root / "items.parquet")
    assert dataset.items().column("item_id").to_pylist() == ["7", "8"]
    assert dataset.items().column("title").to_pylist() == ["A", None]


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(sound, place, difference):
    path = sound.root / "items.parquet"
    data = bytearray(path.read_bytes())
    try:
        items = sound.items()
        changed = bytearray(data)
        changed[place % len(data)] ^= difference
        path.write_bytes(changed)
        try:
            assert sound.items().equals(items)
        except DataError as error:
            assert str(path) in error.message  # noqa: PT017 - either is right
    finally:
        path.write_bytes(data)


def test_a_small_file_of_very_many_rows_is_not_read(tmp_path):
    dataset = write(tmp_path / "d")
    bomb = dataset.root / "items.parquet"
    many = 2_000_000
    columns = {name: pa.nulls(many, pa.string()) for name in ("title", "image", "video", "audio")}
    item_ids = pa.DictionaryArray.from_arrays(pa.nulls(many, pa.int32()).fill_null(0), ["a"])
    pq.write_table(pa.table({"item_id": item_ids, **columns}), bomb)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match="items.parquet: expected 2 rows, .*found 2,000,000"):
        dataset.items()
    # Where dataset.json says so, too, they are still one id.
    description = json.loads((dataset.root / "dataset.json").read_text())
    description["counts"]["items"] = many
    (dataset.root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="row 1: expected each item id once, found 1 repeated"):
        open_dataset(dataset.root).items()


def repeated(value, count):
    """Return a column of one value, which a file holds once."""
    return pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int32()).fill_null(0), [value])


@pytest.mark.parametrize(
    ("name", "length", "fault"),
    [
        ("item_id", 100_000, ", row 1: expected an id of at most 1,024 bytes, found 100,000: 'x"),
        ("title", 1_000_000, ": expected up to 1,.* bytes of text in a file of .*, found more"),
        ("image", 1_000_000, ": expected up to 1,.* bytes of text in a file of .*, found more"),
    ],
)
def test_a_long_text_of_many_rows_is_refused_before_it_is_copied(tmp_path, name, length, fault):
    count = 2_000
    ids = [str(number) for number in range(count)]
    columns = {column: pa.nulls(count, pa.string()) for column in ITEMS} | {"audio": ids}
    dataset = write(tmp_path / "d")
    long = {"item_id": ids, name: repeated("x" * length, count)}
    pq.write_table(pa.table({**columns, **long}), dataset.root / "items.parquet")
    description = dataset.root / "dataset.json"
    text = description.read_text().replace('"items": 2', f'"items": {count}')
    description.write_text(text)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match=f"items.parquet, column {name}{fault}"):
        open_dataset(dataset.root).items()
    assert pa.default_memory_pool().max_memory() - before < 10**8


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary(1),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_binary()),
        pa.int32(),
        pa.dictionary(pa.int8(), pa.int64()),
    ],
)
def test_ids_of_any_type_are_read_from_a_folder(tmp_path, kind):
    dataset = write(tmp_path / "d")
    table = pq.read_table(dataset.root / "items.parquet")
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    ids = pa.array([1, 2] if pa.types.is_integer(values) else ["1", "2"]).cast(values)
    ids = ids.dictionary_encode().cast(kind) if values != kind else ids
    pq.write_table(table.set_column(0, "item_id", ids), dataset.root / "items.parquet")
    assert dataset.items().column("item_id").to_pylist() == ["1", "2"]
