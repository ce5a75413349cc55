"""Training, evaluation and recommendation over a store whose newest manifest was lost."""

import numpy as np
import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, open_store
from crossan.train.cli import evaluate, recommend
from support.commands import attempt, run, train_quickly


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
        assert "expected version 2, which was recorded, found none after 1" in str(result.exception)
    with pytest.raises(StoreIntegrityError, match="which was recorded"):
        train_quickly(small, "--resume", epochs=1)
    manifest.write_bytes(kept)
    assert run(evaluate, small / "r", "--json").stdout == before


def test_a_store_without_its_identity_is_not_left_out_of_a_run(grown):
    small, store = grown
    (store / "store.json").unlink()
    with pytest.raises(StoreIntegrityError, match=r"store\.json: expected the identity"):
        train_quickly(small, epochs=1, out="another")
