"""A loss of one's own: the paper's, written as a function of scores, is the paper's to rounding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError
from crossan.train.objectives.own import OwnLoss
from crossan.train.objectives.step import loss_by_position
from support.small_models import ITEM_COUNT, batches, loss_and_gradients, make_features, make_model


def debiased(batch):
    """Eqs. 7-8 over the columns of a batch, an item's occurrences counted."""
    scores = batch.scores - batch.log_popularity
    positive = scores.gather(1, batch.positive[:, None])
    logits = (scores + batch.counts.log()).masked_fill(~batch.is_negative, float("-inf"))
    terms = torch.cat([positive, logits], dim=1).logsumexp(dim=1) - positive[:, 0]
    return terms.sum() / max(len(terms), 1)


@given(batches(), st.integers(0, 3))
def test_the_papers_loss_of_scores_is_the_papers(sequences, seed):
    generator = torch.Generator().manual_seed(seed)
    features = make_features((4, 3), generator)
    model = make_model((4, 3), "sum", seed)
    log_popularity = torch.randn(ITEM_COUNT, generator=generator, dtype=torch.float64)
    own = OwnLoss(debiased, log_popularity, "m:debiased")
    ours = loss_and_gradients(
        lambda model, *batch: own.prepare(*batch)(model), model, features, sequences
    )
    papers = loss_and_gradients(loss_by_position, model, features, sequences, log_popularity)
    for one, other in zip(ours, papers, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


def test_a_batch_by_hand():
    """Two users, 0 1 2 and 2 3: predictions 0->1, 1->2 and 2->3 over the columns of items 0 to 3."""
    seen = []
    model = make_model((4, 3), "sum", 0)
    features = make_features((4, 3), torch.Generator().manual_seed(0))
    log_popularity = torch.arange(ITEM_COUNT, dtype=torch.float64)
    own = OwnLoss(lambda batch: seen.append(batch) or batch.scores.sum(), log_popularity, "m:f")
    own.prepare(features, torch.tensor([[0, 1, 2], [-1, 2, 3]]))(model)
    (batch,) = seen
    assert batch.positive.tolist() == [1, 2, 3]
    assert batch.is_negative.tolist() == [
        [False, False, False, True],
        [False, False, False, True],
        [True, True, False, False],
    ]
    assert batch.counts.tolist() == pytest.approx([1, 1, 2, 1])
    assert batch.log_popularity.tolist() == [0, 1, 2, 3]
    assert batch.scores.shape == (3, 4)


@pytest.mark.parametrize(
    ("loss", "match"), [(lambda batch: batch.scores, r"\(3, 4\)"), (lambda batch: 1.0, "float")]
)
def test_what_is_no_loss_is_refused_by_name(loss, match):
    model = make_model((4, 3), "sum", 0)
    features = make_features((4, 3), torch.Generator().manual_seed(0))
    own = OwnLoss(loss, torch.zeros(ITEM_COUNT, dtype=torch.float64), "mine:loss")
    with pytest.raises(ConfigError, match=f"objective.kind=mine:loss: .*{match}"):
        own.prepare(features, torch.tensor([[0, 1, 2], [-1, 2, 3]]))(model)
