"""The unique-item loss against a transcription of Eqs. 7-8 that loops over every occurrence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.objectives import loss as loss_module
from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.loss import debiased_cross_entropy, debiased_loss_of_batch
from crossan.train.sequences.padding import PADDING
from support.counts import of_full

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
            score = {
                j: user_vectors[u, position - 1] @ table[j] - log_p[j] for j in set(occurrences)
            }
            d = score[i].exp() + sum(score[j].exp() for j in occurrences if j not in set(sequence))
            terms.append(-(score[i].exp() / d).log())
    return torch.stack(terms).mean()


def vectorised(sequences, user_vectors, table, log_p):
    columns = batch_columns(torch.tensor(sequences))
    return debiased_loss_of_batch(
        columns,
        table[columns.items],
        lambda vectors, packing: user_vectors.flatten(0, 1)[packing.places],
        log_p,
    )


items = st.integers(0, ITEM_COUNT - 1)


@st.composite
def batches(draw):
    length = draw(st.integers(2, 5))
    users = draw(st.lists(st.lists(items, min_size=2, max_size=length), min_size=1, max_size=5))
    if draw(st.booleans()):
        users.append(list(users[0]))  # a cloned user
    return [[PADDING] * (length - len(user)) + user for user in users]


@settings(max_examples=of_full(150, 50))
@given(
    batches(),
    st.lists(st.integers(0, 4), min_size=ITEM_COUNT, max_size=ITEM_COUNT),
    st.integers(0, 1000),
    st.sampled_from([1, 100, 1 << 20]),
)
def test_loss_and_gradients_equal_the_transcription(sequences, counts, seed, logit_bytes):
    """With blocks of one prediction, of a few (100 bytes are 2 to 12), and of all."""
    kept, loss_module._CPU_LOGIT_BYTES = loss_module._CPU_LOGIT_BYTES, logit_bytes
    try:
        slow, fast = (
            losses_and_gradients(loss_of, sequences, counts, seed)
            for loss_of in (transcription, vectorised)
        )
    finally:
        loss_module._CPU_LOGIT_BYTES = kept
    for one, other in zip(slow, fast, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def losses_and_gradients(loss_of, sequences, counts, seed):
    generator = torch.Generator().manual_seed(seed)
    log_p = torch.tensor(
        [math.log(max(count, 1) / max(sum(counts), 1)) for count in counts], dtype=torch.float64
    )
    shape = (len(sequences), len(sequences[0]) - 1, 3)
    users = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    table = torch.randn(ITEM_COUNT, 3, dtype=torch.float64, generator=generator).requires_grad_()
    loss = loss_of(sequences, users, table, log_p)
    loss.backward()
    return loss.detach(), users.grad, table.grad


def test_two_users_by_hand():
    """All scores are 0 and p is 1/2: user 0 predicts 1 against three 2s, user 1 predicts 2 against 0 and 1."""
    zeros = torch.zeros(2, 2, 3, dtype=torch.float64)
    log_p = torch.full((ITEM_COUNT,), math.log(0.5), dtype=torch.float64)
    loss = vectorised(
        [[PADDING, 0, 1], [2, 2, 2]], zeros, torch.zeros(ITEM_COUNT, 3, dtype=torch.float64), log_p
    )
    # user 0: 2 / (2 + 3 * 2); user 1, two rows: 2 / (2 + 2 * 2)
    assert loss.item() == pytest.approx((math.log(4) + 2 * math.log(3)) / 3)


def test_columns_of_a_batch():
    columns = batch_columns(torch.tensor([[PADDING, 4, 2], [2, 2, 5]]))
    assert columns.items.tolist() == [2, 4, 5]
    assert columns.packing.is_real.tolist() == [[False, True], [True, True]]
    assert columns.log_multiplicity.exp().tolist() == pytest.approx([3.0, 1.0, 1.0])
    assert columns.packing.places.tolist() == [1, 2, 3]  # of (2, 2): not after the padding
    assert columns.inputs.tolist() == [1, 0, 0]
    assert columns.positive.tolist() == [0, 0, 2]
    assert columns.user_items.tolist() == [[PADDING, 1, 0], [0, 0, 2], [0, 0, 2]]


def test_the_positive_counts_once_even_where_nobody_rejects_it():
    """Item 0 occurs five times and is not among the row's own: its multiplicity must not enter."""
    loss = debiased_cross_entropy(
        torch.zeros(1, 1),
        torch.zeros(2, 1),
        torch.tensor([0]),
        torch.tensor([[PADDING]]),
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
        return debiased_loss_of_batch(columns, table[columns.items], encoder.packed, log_p).item()

    plain = [[0, 1, 2, 1], [PADDING, 3, 4, 0], [5, 3, 3, 2]]
    assert loss_of(plain[::-1]) == pytest.approx(loss_of(plain), rel=1e-12)
    assert loss_of([[PADDING, PADDING, *user] for user in plain]) == pytest.approx(
        loss_of(plain), rel=1e-12
    )


class LargestTensor(TorchDispatchMode):
    """Watches the number of elements of everything that is computed."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_logits_are_never_all_in_memory(monkeypatch):
    """300 predictions over 50 items are 15,000 logits; 4,000 bytes of float32 hold 20 predictions' 1,000."""
    monkeypatch.setattr(loss_module, "_CPU_LOGIT_BYTES", 4_000)
    users, items = torch.randn(300, 2).requires_grad_(), torch.randn(50, 2).requires_grad_()
    positive = torch.arange(300) % 50
    with LargestTensor() as largest:
        loss = debiased_cross_entropy(
            users, items, positive, positive.unsqueeze(1), torch.zeros(50), torch.zeros(50)
        )
        loss.backward()
    assert largest.numel == 1_000


def test_backward_scales_with_what_follows_the_loss():
    users, items = torch.randn(4, 3).requires_grad_(), torch.randn(5, 3).requires_grad_()
    arguments = (
        users,
        items,
        torch.arange(4),
        torch.full((4, 1), PADDING),
        torch.zeros(5),
        torch.zeros(5),
    )
    once = torch.autograd.grad(debiased_cross_entropy(*arguments), (users, items))
    thrice = torch.autograd.grad(3 * debiased_cross_entropy(*arguments), (users, items))
    for one, three in zip(once, thrice, strict=True):
        assert torch.allclose(3 * one, three)


def test_a_score_far_below_its_rivals_has_a_finite_loss():
    """float32 exp(-200) is 0: the loss must come from its logarithm."""
    users, items = torch.ones(1, 1), torch.tensor([[-100.0], [100.0]])
    arguments = (
        users,
        items,
        torch.tensor([0]),
        torch.tensor([[0]]),
        torch.zeros(2),
        torch.zeros(2),
    )
    assert debiased_cross_entropy(*arguments).item() == pytest.approx(200.0)


def test_gradients_repeat_bit_for_bit_with_several_threads():
    """An index's backward adds up atomically on a CPU's threads: 12 of 20 repetitions differed."""
    generator = torch.Generator().manual_seed(0)
    columns = batch_columns(torch.randint(0, 500, (1024, 11), generator=generator))
    vectors = torch.randn(len(columns.items), 64, generator=generator).requires_grad_()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(8):
            loss = debiased_loss_of_batch(
                columns, vectors, lambda states, packing: states.tanh(), torch.zeros(500)
            )
            found.append(torch.autograd.grad(loss, vectors)[0])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0], again) for again in found[1:])


@pytest.mark.parametrize("sequences", [[[PADDING, PADDING, 3]], [[PADDING, 1], [PADDING, 4]]])
def test_users_of_one_item_cost_nothing(sequences):
    """Nobody predicts: with ``data.min_items=3`` such users can be all of a last batch."""
    loss, *gradients = losses_and_gradients(vectorised, sequences, [1] * ITEM_COUNT, seed=0)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)
