"""Gates, expert use and layers of a few numbers, each answer by hand."""

import numpy as np
import pytest

from crossan.train.analysis.experts import expert_use, missing_names, scattered
from crossan.train.analysis.gates import gate_table, inter_gate_table
from crossan.train.analysis.layers import effective_rank, layer_table
from crossan.train.features.moments import MomentSums


def test_gates_of_two_modalities():
    weights = np.array([[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], [[1 / 3] * 3, [0.0, 0.5, 0.5]]])
    rows = gate_table(weights, ["text", "image"], [[0, 12], [3, 6]])
    assert [(row["modality"], row["layer"]) for row in rows] == [
        ("text", 0), ("text", 12), ("image", 3), ("image", 6),
    ]  # fmt: skip
    assert rows[0]["weights"] == {"text": 0.2, "image": 0.3, "hidden state": 0.5}
    assert rows[0]["even"] == pytest.approx(1 / 3)
    assert rows[0]["deviation"]["hidden state"] == pytest.approx(0.5 - 1 / 3)
    # A weight that is 0 at one layer belongs to an input all the same.
    assert rows[3]["deviation"]["text"] == pytest.approx(-1 / 3)


def test_gates_that_never_read_other_towers_share_between_two():
    weights = np.array([[[0.4, 0.0, 0.6]], [[0.0, 0.5, 0.5]]])
    text, image = gate_table(weights, ["text", "image"], [[0], [0]])
    assert text["weights"] == {"text": 0.4, "hidden state": 0.6}
    assert (text["even"], image["even"]) == (0.5, 0.5)


def test_the_tower_between_modalities_divides_their_hidden_states():
    rows = inter_gate_table(np.array([[0.25, 0.75]]), ["text", "image"], [[4], [12]])
    assert rows == [
        {
            "layers": {"text": 4, "image": 12},
            "weights": {"text": 0.25, "image": 0.75},
            "even": 0.5,
            "deviation": {"text": -0.25, "image": 0.25},
        }
    ]


def test_an_empty_slot_takes_nothing_from_a_modality_that_is_chosen():
    chosen, weights = np.array([[1, 0], [2, 2]]), np.array([[0.75, 0.25], [1.0, 0.0]], np.float32)
    assert scattered(chosen, weights, 3).tolist() == [[0.25, 0.75, 0], [0, 0, 1]]


def test_expert_use_by_hand():
    weights = np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75], [0.0, 0.0]], np.float32)
    presence = np.array([[True, True], [True, False], [True, True], [False, False]])
    parts = np.array(["warm", "cold", "warm", "warm"])
    found = expert_use(weights, presence, ["text", "image"], {"training": parts})
    # The last item has no modality and counts nowhere.
    warm, cold = found["training"]["warm"], found["training"]["cold"]
    assert (warm["items"], cold["items"]) == (2, 1)
    assert warm["modalities"]["text"] == {
        "share": 1.0, "weight": 0.375, "weight_where_chosen": 0.375,
    }  # fmt: skip
    assert warm["modalities"]["image"]["weight"] == pytest.approx(0.625)
    assert cold["modalities"]["image"] == {"share": 0.0, "weight": 0.0, "weight_where_chosen": None}
    assert list(found["training"]) == ["warm", "cold"]


def test_what_items_lack_has_a_name():
    presence = np.array([[True, True, True], [False, True, False], [True, True, False]])
    names = missing_names(presence, ["text", "image", "audio"])
    assert names.tolist() == ["nothing", "text, audio", "audio"]
    assert missing_names(presence[:0], ["text", "image", "audio"]).tolist() == []


@pytest.mark.parametrize(
    ("states", "rank"),
    [
        (np.ones((5, 3)), 0.0),
        (np.empty((0, 3)), 0.0),
        (np.outer([1, -1, 2], [1.0, 2.0]), 1.0),
        # Singular values 2, 2 and 2, as centred columns are orthogonal and of length 2.
        (np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]), 3.0),
        # Lengths 3 and 1: shares 3/4 and 1/4, so exp(3/4 log 4/3 + 1/4 log 4).
        (np.array([[3, 0], [-3, 0], [0, 1], [0, -1.0]]) / 2**0.5, 4 / 3**0.75),
    ],
)
def test_effective_rank_by_hand(states, rank):
    assert effective_rank(states) == pytest.approx(rank)
    # More dimensions than items take the other product, which has the same singular values.
    assert effective_rank(np.pad(states, ((0, 0), (0, 9)))) == pytest.approx(rank)


def test_a_flat_layer_is_told_from_one_with_information():
    random = np.random.default_rng(0)
    states = np.zeros((200, 2, 4), np.float16)
    states[:, 0] = [1.0, 2.0, 3.0, 4.0]
    states[:, 1] = 10 + random.normal(size=(200, 4))
    sums = MomentSums(2, 4)
    sums.add(states)
    low, high = layer_table("text", [0, 12], sums.moments(), states[::2])
    assert (low["layer"], low["variance"], low["share"], low["is_flat"]) == (0, 0.0, 0.0, True)
    assert (low["mean_square"], low["effective_rank"]) == (7.5, 0.0)  # (1 + 4 + 9 + 16) / 4
    # Variance 1 beside a mean square of 101.
    assert (high["is_flat"], high["items"], high["sampled_items"]) == (False, 200, 100)
    assert high["share"] == pytest.approx(1 / 101, rel=0.2)
    assert high["effective_rank"] == pytest.approx(4, abs=0.1)
