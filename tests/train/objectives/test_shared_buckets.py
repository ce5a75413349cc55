"""Shares of a batch in a bucket that every rank finds for itself."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.shared_buckets import SharedBatches
from crossan.train.objectives.shared_step import of_users
from crossan.train.ranks.ranks import Ranks
from crossan.train.sequences.padding import PADDING
from support.small_models import ITEM_COUNT, LENGTH, batches

SHORT = torch.tensor([[PADDING] * (LENGTH - 1) + [0, 1]])
SILENT = torch.tensor([[PADDING] * LENGTH + [3], [PADDING] * LENGTH + [0]])


@given(batches(), st.integers(2, 4))
@example(SHORT, 3)
@example(SILENT, 2)
def test_all_ranks_find_one_bucket_and_share_the_batch(sequences, count):
    users = torch.arange(len(sequences))
    shares = []
    for number in range(count):
        shared = SharedBatches(Ranks(number, count), sequences, len(users), torch.zeros(ITEM_COUNT))
        shares.append((shared, shared.filled(users)))
    assert len({share.bucket for _, share in shares}) == 1
    assert len({len(share.piece) for _, share in shares}) == 1
    whole = batch_columns(sequences)
    items = torch.cat([shared.items_of(share.columns) for shared, share in shares])
    assert torch.equal(items[: len(whole.items)], whole.items)
    assert len(items) == shares[0][1].bucket.columns
    assert sum(int(share.columns.counts.sum()) for _, share in shares) == len(whole.positive)
    total = sum(float(share.columns.share) for _, share in shares)
    assert abs(total - bool(len(whole.positive))) < 1e-12


@given(batches(), st.integers(2, 4))
@example(SHORT, 3)
def test_a_filled_share_begins_with_that_of_the_step_by_shapes(sequences, count):
    for number in range(count):
        ranks = Ranks(number, count)
        shared = SharedBatches(ranks, sequences, len(sequences), torch.zeros(ITEM_COUNT))
        columns = shared.filled(torch.arange(len(sequences))).columns
        expected = of_users(batch_columns(sequences), ranks.part(len(sequences)))
        for name in ("items", "log_multiplicity", "inputs", "positive", "user_items"):
            part = getattr(expected, name)
            assert torch.equal(getattr(columns, name)[: len(part)], part), name
