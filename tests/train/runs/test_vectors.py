"""Vectors of a run: the same wherever its features lie, and those that its scores come from."""

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import UsageError
from crossan.train.features import Placement
from crossan.train.runs.opening import open_run
from crossan.train.runs.recommend import recommend_items
from crossan.train.runs.vectors import item_vectors, user_vectors
from support.commands import train_quickly
from support.fabricated import write_small


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("vectors"))
    for kind in ("crossan", "sasrec", "popularity"):
        train_quickly(place, "--model", kind, out=kind, epochs=1)
    return place


def opened(place, kind, residence="auto"):
    return open_run(place / kind, device="cpu", placement=Placement(residence))


@pytest.mark.parametrize("kind", ["crossan", "sasrec"])
def test_scores_are_products_of_the_vectors(place, kind):
    run = opened(place, kind)
    history = run.kept.sequence(3)
    user = user_vectors(run, [history])
    scores = (user @ item_vectors(run).T)[0].tolist()
    rows = {str(item): row for row, item in enumerate(run.kept.item_ids)}
    shown = recommend_items(run, history, 40)
    assert len(shown) == 40 - len(set(history.tolist()))
    for item in shown:
        assert item["score"] == pytest.approx(scores[rows[item["item_id"]]], abs=1e-5)


@pytest.mark.parametrize("residence", ["device", "host", "streamed"])
def test_vectors_are_the_same_bits_wherever_features_lie(place, residence):
    usual, other = opened(place, "crossan"), opened(place, "crossan", residence)
    vectors = item_vectors(usual)
    assert vectors.shape == (40, 16)
    assert torch.equal(vectors, item_vectors(other))
    histories = [usual.kept.sequence(user) for user in range(150)]
    assert torch.equal(user_vectors(usual, histories), user_vectors(other, histories))


def test_a_user_vector_follows_from_its_own_history_alone(place):
    """Others beside it, a longer past than the model reads, and given item vectors change nothing."""
    run = opened(place, "crossan")
    items = item_vectors(run)
    short, long = np.array([4, 2, 9]), np.arange(25)
    together = user_vectors(run, [short, long], items=items)
    assert torch.allclose(together[:1], user_vectors(run, [short]), atol=1e-6)
    assert torch.allclose(together[1:], user_vectors(run, [long[-10:]]), atol=1e-6)
    assert not torch.allclose(together[:1], user_vectors(run, [short[::-1].copy()]), atol=1e-3)
    assert user_vectors(run, []).shape == (0, 16)


@pytest.mark.parametrize(
    ("history", "match"),
    [
        ([], r"histories\[1\]: expected at least one item"),
        ([3, -1], r"rows from 0 to 39, got -1 to 3"),
        ([40], r"rows from 0 to 39, got 40 to 40"),
    ],
)
def test_a_history_of_no_or_unknown_rows_is_refused(place, history, match):
    with pytest.raises(UsageError, match=match):
        user_vectors(opened(place, "sasrec"), [np.array([1]), np.array(history, dtype=np.int64)])


def test_a_model_that_counts_has_no_vectors(place):
    run = opened(place, "popularity")
    with pytest.raises(UsageError, match="one of popularity, which has none"):
        item_vectors(run)
    with pytest.raises(UsageError, match="crossan recommend"):
        user_vectors(run, [np.array([1])])
