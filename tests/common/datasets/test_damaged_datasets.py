"""A dataset folder damaged in any way is refused in one line, or says what it said before.

``CROSSAN_FAULTS=full`` damages each file 2,000 times, otherwise 120.
"""

import os

import pyarrow as pa
import pytest

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets import open_dataset
from support.extraction import write_items
from support.mutating import mutations

COUNT = 2_000 if os.environ.get("CROSSAN_FAULTS") == "full" else 120


def contents(folder):
    opened = open_dataset(folder)
    return [opened.interactions(), opened.items()]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_items(
        tmp_path_factory.mktemp("datasets") / "d",
        [{"item_id": f"v{n}", "title": f"title {n}"} for n in range(50)],
    )


@pytest.mark.parametrize("name", ["dataset.json", "interactions.parquet", "items.parquet"])
def test_a_damaged_file_is_refused_or_changes_nothing(dataset, name):
    path, whole = dataset / name, contents(dataset)
    before, messages = path.read_bytes(), []
    for changed in mutations(before, COUNT):
        path.write_bytes(changed)
        try:
            assert contents(dataset) == whole
        except DataError as error:
            messages.append(error.message)
        finally:
            path.write_bytes(before)
    assert [message for message in messages if str(dataset) not in message] == []
    assert len(messages) > COUNT / 2
    assert contents(dataset) == whole


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, UsageError),
        (lambda path: path.mkdir(), DataError),
        (os.mkfifo, DataError),
        (lambda path: path.symlink_to("/dev/zero"), DataError),
        (lambda path: path.symlink_to("nowhere"), UsageError),
    ],
)
def test_what_is_no_file_is_refused_and_never_waited_for(make, error, tmp_path):
    make(tmp_path / "dataset.json")
    with pytest.raises(error):
        open_dataset(tmp_path)


def test_a_flipped_bit_is_never_another_title(dataset):
    path, whole = dataset / "items.parquet", contents(dataset)
    before = path.read_bytes()
    at = before.rindex(b"v4")  # inside a page, of ids
    assert isinstance(whole[1], pa.Table)
    path.write_bytes(before[:at] + b"w" + before[at + 1 :])
    try:
        with pytest.raises(DataError, match=r"items\.parquet: .*(checksum|CRC)"):
            contents(dataset)
    finally:
        path.write_bytes(before)
