"""Users encoded and ranked in blocks: as all at once, in the memory of one block."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from crossan.train.evaluation import encoding, user_vectors
from crossan.train.evaluation.encoding import target_ranks, target_ranks_in_blocks
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import ValidationSplit, pad_left, users_of_split
from support.counts import of_full
from support.score_blocks import blocks_of
from support.small_models import ITEM_COUNT, LENGTH, make_model

MODEL = make_model([], "sum", seed=0, kind="sasrec").eval()
ITEM_VECTORS = MODEL.id_embedding.weight.detach()


def make_split(histories, targets):
    """``targets``: several for each user, none of them twice."""
    histories = [np.array(items, dtype=np.int64) for items in histories]
    return ValidationSplit(
        pad_left(histories, LENGTH),
        torch.tensor([item for own in targets for item in own], dtype=torch.int64),
        torch.tensor([user for user, own in enumerate(targets) for _ in own], dtype=torch.int64),
        histories,
    )


items = st.integers(0, ITEM_COUNT - 1)


@st.composite
def splits(draw):
    users = draw(st.integers(0, 9))
    histories = [draw(st.lists(items, max_size=LENGTH + 2)) for _ in range(users)]
    targets = [draw(st.lists(items, max_size=3, unique=True)) for _ in range(users)]
    return make_split(histories, targets)


@settings(max_examples=of_full(100, 30))
@given(splits(), st.integers(1, 4))
def test_users_are_encoded_as_by_every_position_whatever_the_block(split, users_at_once):
    """Users without any item among them."""
    is_real = split.inputs != PADDING
    slow = MODEL.sequence_encoder(ITEM_VECTORS[split.inputs.clamp(min=0)], is_real)[:, -1]
    per_user = LENGTH * ITEM_VECTORS[0].nbytes * 4  # the feed-forward nets are four times as wide
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_vectors, "_CPU_STATE_BYTES", users_at_once * per_user)
        fast = encode_users(MODEL, ITEM_VECTORS, split.inputs)
    assert fast.shape == (len(split.inputs), 4)
    assert torch.allclose(fast, slow, rtol=0, atol=1e-12)


@settings(max_examples=of_full(100, 30))
@given(splits(), st.integers(1, 4), st.sampled_from(["all", "unseen-only", "none"]))
def test_ranks_in_blocks_are_those_of_all_users_at_once(split, users_at_once, mask_history):
    ranker = VectorRanker(encode_users(MODEL, ITEM_VECTORS, split.inputs), ITEM_VECTORS)
    whole = target_ranks(ranker, split, mask_history)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_USER_VECTOR_BYTES", users_at_once * ITEM_VECTORS[0].nbytes)
        in_blocks = target_ranks_in_blocks(MODEL, ITEM_VECTORS, split, mask_history)
    assert in_blocks.tolist() == whole.tolist()


def test_some_users_of_a_split_are_counted_from_0():
    split = make_split([[1], [2, 3], [4], []], [[0], [], [5, 6], [1]])
    part = users_of_split(split, slice(1, 3))
    assert part.inputs.tolist() == split.inputs[1:3].tolist()
    assert (part.targets.tolist(), part.users.tolist()) == ([5, 6], [1, 1])
    assert [history.tolist() for history in part.histories] == [[2, 3], [4]]
    assert isinstance(part, ValidationSplit)
    assert users_of_split(split, slice(3, 9)).targets.tolist() == [1]


class LargestVectors(TorchDispatchMode):
    """Watches the bytes of everything that is computed and has a fraction: vectors, scores."""

    def __init__(self):
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.nbytes = max(self.nbytes, result.nbytes)
        return result


@pytest.mark.parametrize("users", [40, 400])
def test_no_tensor_of_vectors_or_scores_grows_with_the_users(users, monkeypatch):
    """At most: states of 4 users and 5 positions, 16 wide, or vectors of 20 users, in float64."""
    generator = np.random.default_rng(0)
    histories = [generator.integers(0, ITEM_COUNT, 5) for _ in range(users)]
    split = make_split(histories, [[0]] * users)
    monkeypatch.setattr(user_vectors, "_CPU_STATE_BYTES", 4 * 5 * 16 * 8)
    monkeypatch.setattr(encoding, "_USER_VECTOR_BYTES", 20 * 4 * 8)
    with blocks_of(4, ITEM_COUNT), LargestVectors() as largest:
        target_ranks_in_blocks(MODEL, ITEM_VECTORS, split, "all")
    assert largest.nbytes == 4 * 5 * 16 * 8


def test_blocks_are_sized_by_bytes():
    """4 MiB of states four times as wide as an item vector: 409 users of 10 inputs, width 64."""
    sizes = [
        user_vectors._users_per_block(length, torch.empty(1, width, device=device))
        for length, width, device in (
            (10, 64, "cpu"),
            (10, 128, "cpu"),
            (50, 64, "cpu"),
            (10**6, 64, "cpu"),
            (10, 64, "meta"),
        )
    ]
    assert sizes == [409, 204, 81, 1, 26_214]
