"""A validation that was cut short goes on where it was, with the same vectors."""

from threading import Event

import pytest
import torch

from crossan.train.evaluation import encoding
from crossan.train.evaluation.encoding import EvaluationStoppedError, encode_items
from crossan.train.record.encoded_items import EncodedItems
from support.small_models import make_features, make_model

WEIGHTS, OTHERS = "ab" * 32, "cd" * 32
ITEMS, BLOCK = 10, 3


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(encoding, "ITEMS_PER_BLOCK", BLOCK)
    features = make_features([3, 5], torch.Generator().manual_seed(0), item_count=ITEMS)
    return make_model([3, 5], "sum", 0, item_count=ITEMS), features


class Noting:
    """Passes on a model's vectors, notes how many were asked for, and stops after some blocks."""

    def __init__(self, model, stop_after=None):
        self._model, self._left, self.told_to_end, self.rows = model, stop_after, Event(), 0

    def eval(self):
        self._model.eval()

    def item_vectors(self, fetched, rows):
        self.rows += len(rows)
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.told_to_end.set()
        return self._model.item_vectors(fetched, rows)


def stopped_after(blocks, world, folder, *, every_seconds=60.0, weights=WEIGHTS):
    model, features = world
    noting = Noting(model, blocks)
    with pytest.raises(EvaluationStoppedError):
        encode_items(
            noting, features, noting.told_to_end, EncodedItems(folder, weights, every_seconds)
        )
    return noting


def go_on(world, folder, weights=WEIGHTS):
    model, features = world
    noting = Noting(model)
    vectors = encode_items(noting, features, None, EncodedItems(folder, weights, 60.0))
    assert torch.equal(vectors, encode_items(model, features))
    return noting.rows


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_what_was_encoded_is_not_encoded_again(world, tmp_path, blocks):
    stopped_after(blocks, world, tmp_path)
    assert go_on(world, tmp_path) == ITEMS - blocks * BLOCK
    assert not list(tmp_path.iterdir())


def test_a_kill_costs_what_came_since_the_rows_were_written_last(world, tmp_path):
    model, features = world

    class KilledError(BaseException):
        pass

    class Killed(Noting):
        def item_vectors(self, fetched, rows):
            if self.rows == 2 * BLOCK:
                raise KilledError
            return super().item_vectors(fetched, rows)

    with pytest.raises(KilledError):
        encode_items(Killed(model), features, None, EncodedItems(tmp_path, WEIGHTS, 0.0))
    assert go_on(world, tmp_path) == ITEMS - 2 * BLOCK


def test_rows_of_other_weights_are_not_taken(world, tmp_path):
    stopped_after(2, world, tmp_path)
    assert go_on(world, tmp_path, OTHERS) == ITEMS


def test_a_damaged_file_is_not_taken_and_named(world, tmp_path, capsys):
    stopped_after(2, world, tmp_path)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert go_on(world, tmp_path) == ITEMS
    assert "not used, encoding all items again: other bytes" in capsys.readouterr().err
