"""Training, evaluation and recommendation over a store whose newest manifest was lost."""

import shutil

import numpy as np
import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, logical_digest, open_store
from crossan.extract.cli import extract
from crossan.train.cli import evaluate, recommend
from support.commands import attempt, run, train_quickly
from support.extraction import places, write_items


def grow(store):
    """Give every item other hidden states, as a newer version."""
    opened = open_store(store)
    journal = Journal.open(store, "test")
    journal.append(
        [
            ItemRow(str(item), None, ItemStatus.OK, row=row)
            for item, row in zip(opened.item_ids, np.float16(2) - opened.load(), strict=True)
        ]
    )
    journal.publish({})
    journal.close()


@pytest.fixture
def grown(small):
    """A cache whose text store has two versions, and a run that was trained on the second."""
    (store,) = (small / "c" / "small" / Modality.TEXT.value).iterdir()
    grow(store)
    train_quickly(small, epochs=1)
    return small, store


def test_no_command_reads_the_older_version(grown):
    small, store = grown
    before = run(evaluate, small / "r", "--json").stdout
    manifest = store / "versions/000002.json"
    kept = manifest.read_bytes()
    manifest.unlink()
    with pytest.raises(StoreIntegrityError, match="a manifest newer than version 1 was lost"):
        train_quickly(small, epochs=1, out="another")
    assert not (small / "another").exists()
    for command, *arguments in (
        (evaluate, small / "r"),
        (recommend, small / "r", "--user", "u000"),
    ):
        result = attempt(command, *arguments)
        assert result.exception.exit_code == 4
        assert "expected version 2, which was recorded, found 1: a manifest was lost" in str(
            result.exception
        )
    with pytest.raises(StoreIntegrityError, match="which was recorded"):
        train_quickly(small, "--resume", epochs=1)
    manifest.write_bytes(kept)
    assert run(evaluate, small / "r", "--json").stdout == before


def test_a_store_without_its_identity_is_not_left_out_of_a_run(grown):
    small, store = grown
    (store / "store.json").unlink()
    with pytest.raises(StoreIntegrityError, match=r"store\.json: expected the identity"):
        train_quickly(small, epochs=1, out="another")
    with pytest.raises(StoreIntegrityError, match=r"store\.json: expected the identity"):
        run(evaluate, small / "r")


def test_extraction_appends_nothing_until_it_is_repaired(tmp_path, tiny_backbones):
    titles = [{"item_id": f"v{n}", "title": f"title {n}"} for n in range(6)]
    arguments = ["--modality", "text", *places(tmp_path / "d", tmp_path / "c", tiny_backbones / "text")]  # fmt: skip
    for count in (4, 6):
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        write_items(tmp_path / "d", titles[:count])
        run(extract, *arguments)
    (store,) = (tmp_path / "c").glob("*/*/*")
    digest = logical_digest(open_store(store))
    (store / "versions/000002.json").unlink()
    result = attempt(extract, *arguments)
    assert result.exception.exit_code == 4
    assert "a manifest newer than version 1 was lost" in str(result.exception)
    assert [path.name for path in (store / "versions").iterdir()] == ["000001.json"]
    run(extract, *arguments, "--repair")
    assert logical_digest(open_store(store)) == digest
