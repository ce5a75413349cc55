"""The unique-item loss against a transcription of Eqs. 7-8 that loops over every occurrence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.loss import PADDING, batch_columns, debiased_cross_entropy, debiased_loss_of_batch
from crossan.train.sequence_encoder import SequenceEncoder

ITEM_COUNT = 6


def transcription(sequences, user_vectors, table, log_p):
    """Eqs. 7-8 word for word: y_ui for every user u and position i, j over all occurrences in the batch."""
    terms = []
    occurrences = [j for sequence in sequences for j in sequence if j != PADDING]
    for u, sequence in enumerate(sequences):
        for position in range(1, len(sequence)):
            i = sequence[position]
            if i == PADDING or sequence[position - 1] == PADDING:
                continue
            score = {j: user_vectors[u, position - 1] @ table[j] - log_p[j] for j in set(occurrences)}
            d = score[i].exp() + sum(score[j].exp() for j in occurrences if j not in set(sequence))
            terms.append(-(score[i].exp() / d).log())
    return torch.stack(terms).mean()


def vectorised(sequences, user_vectors, table, log_p):
    columns = batch_columns(torch.tensor(sequences))
    return debiased_loss_of_batch(columns, table[columns.items], lambda vectors, is_real: user_vectors, log_p)


items = st.integers(0, ITEM_COUNT - 1)


@st.composite
def batches(draw):
    length = draw(st.integers(2, 5))
    users = draw(st.lists(st.lists(items, min_size=2, max_size=length), min_size=1, max_size=5))
    if draw(st.booleans()):
        users.append(list(users[0]))  # a cloned user
    return [[PADDING] * (length - len(user)) + user for user in users]


@settings(max_examples=150, deadline=None)
@given(batches(), st.lists(st.integers(0, 4), min_size=ITEM_COUNT, max_size=ITEM_COUNT), st.integers(0, 1000))
def test_loss_and_gradients_equal_the_transcription(sequences, counts, seed):
    generator = torch.Generator().manual_seed(seed)
    log_p = torch.tensor([math.log(max(count, 1) / max(sum(counts), 1)) for count in counts], dtype=torch.float64)
    shape = (len(sequences), len(sequences[0]) - 1, 3)
    found = []
    for loss_of in (transcription, vectorised):
        users = torch.randn(shape, dtype=torch.float64, generator=generator.manual_seed(seed)).requires_grad_()
        table = torch.randn(ITEM_COUNT, 3, dtype=torch.float64, generator=generator).requires_grad_()
        loss = loss_of(sequences, users, table, log_p)
        loss.backward()
        found.append((loss.detach(), users.grad, table.grad))
    for slow, fast in zip(*found, strict=True):
        assert torch.allclose(slow, fast, rtol=1e-12, atol=1e-12)


def test_two_users_by_hand():
    """All scores are 0 and p is 1/2: user 0 predicts 1 against three 2s, user 1 predicts 2 against 0 and 1."""
    zeros = torch.zeros(2, 2, 3, dtype=torch.float64)
    log_p = torch.full((ITEM_COUNT,), math.log(0.5), dtype=torch.float64)
    loss = vectorised([[PADDING, 0, 1], [2, 2, 2]], zeros, torch.zeros(ITEM_COUNT, 3, dtype=torch.float64), log_p)
    # user 0: 2 / (2 + 3 * 2); user 1, two rows: 2 / (2 + 2 * 2)
    assert loss.item() == pytest.approx((math.log(4) + 2 * math.log(3)) / 3)


def test_columns_of_a_batch():
    columns = batch_columns(torch.tensor([[PADDING, 4, 2], [2, 2, 5]]))
    assert columns.items.tolist() == [2, 4, 5]
    assert columns.sequences.tolist() == [[PADDING, 1, 0], [0, 0, 2]]
    assert columns.log_multiplicity.exp().tolist() == pytest.approx([3.0, 1.0, 1.0])
    assert columns.is_rejected.tolist() == [[True, True, False], [True, False, True]]


def test_the_positive_counts_once_even_where_nobody_rejects_it():
    """Item 0 occurs five times and is not among the row's own: its multiplicity must not enter."""
    loss = debiased_cross_entropy(
        torch.zeros(1, 1),
        torch.zeros(2, 1),
        torch.tensor([0]),
        torch.tensor([[False, False]]),
        torch.zeros(2),
        torch.tensor([5.0, 3.0]).log(),
    )
    assert loss.item() == pytest.approx(math.log(1 + 3))


def test_order_of_users_and_padding_change_no_loss():
    torch.manual_seed(0)
    encoder = SequenceEncoder(4, 6, block_count=1, head_count=2, dropout=0.0).double()
    table = torch.randn(ITEM_COUNT, 4, dtype=torch.float64)
    log_p = torch.rand(ITEM_COUNT, dtype=torch.float64).log()

    def loss_of(sequences):
        columns = batch_columns(torch.tensor(sequences))
        return debiased_loss_of_batch(columns, table[columns.items], encoder, log_p).item()

    plain = [[0, 1, 2, 1], [PADDING, 3, 4, 0], [5, 3, 3, 2]]
    assert loss_of(plain[::-1]) == pytest.approx(loss_of(plain), rel=1e-12)
    assert loss_of([[PADDING, PADDING, *user] for user in plain]) == pytest.approx(loss_of(plain), rel=1e-12)
