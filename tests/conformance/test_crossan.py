"""CROSSAN's equations against conformance vectors written from the paper by plain loops, in float64.

The vectors and their meaning: ``conformance/README.md`` beside the folder that CROSSAN_TEST_DATA names. Nothing of
the product was imported to make them. Item 1 lacks the third modality, item 2 has the second alone; users repeat items.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossan.train.evaluation.metrics import hr_at, ndcg_at
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.ranking import ranks_by_counting
from crossan.train.features import FeatureTable
from crossan.train.layers.id_embedding import IdEmbedding
from crossan.train.layers.momef import Momef
from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.step import loss_by_position, loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity
from support.beside_data import folder_beside_data

pytestmark = pytest.mark.data

BLOCK = ("query", "key", "value", "output", "widen", "widen_bias", "narrow", "narrow_bias")
NORMS = ("attention_norm", "feed_forward_norm")


@pytest.fixture(scope="module")
def given():
    folder = folder_beside_data("conformance")
    tensors = load_file(folder / "crossan.safetensors")
    return tensors, json.loads((folder / "crossan.json").read_text())


def assert_equal(found, expected):
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def make_towers(tensors, sizes, count, activation="gelu"):
    """Return the towers of the first modalities, with the columns of their gates that these have."""
    towers = SideAdapterTowers(
        [sizes["dim"]] * count,
        sizes["layers"],
        sizes["bottleneck"],
        sizes["width"],
        activation=activation,
    ).double()
    weights = {}
    for layer in range(sizes["layers"]):
        logits = tensors["gate_logits"][layer, :count]
        weights[f"gates.{layer}.logits"] = torch.cat([logits[:, :count], logits[:, -1:]], dim=1)
        for part in ("down", "down_bias", "up", "up_bias"):
            weights[f"adapters.{layer}.{part}"] = tensors[f"adapter_{part}"][layer, :count]
    for part in ("inner", "inner_bias", "outer", "outer_bias"):
        weights[f"heads.{part}"] = tensors[f"head_{part}"][:count]
    towers.load_state_dict(weights)
    return towers


def items_of(tensors, count):
    """Return hidden states, with NaN where a modality is absent, and presence."""
    presence = tensors["presence"][:, :count].bool()
    hidden = [tensors["hidden"][:, m].clone() for m in range(count)]
    for m, states in enumerate(hidden):
        states[~presence[:, m]] = float("nan")
    return hidden, presence


def test_the_mix_and_the_output_of_every_adapter(given):
    tensors, facts = given
    count = facts["sizes"]["modalities"]
    towers = make_towers(tensors, facts["sizes"], count)
    hidden, presence = items_of(tensors, count)
    is_present = presence.unsqueeze(-1)
    clean = torch.stack(hidden, dim=1).masked_fill(~is_present.unsqueeze(-1), 0.0)
    previous = torch.zeros_like(clean[:, :, 0])
    for layer, (gates, adapters) in enumerate(zip(towers.gates, towers.adapters, strict=True)):
        mixed = gates(previous, clean[:, :, layer], presence)
        previous = adapters(mixed)
        for name, found in (("gate", mixed), ("adapter", previous)):
            expected = torch.stack(
                [tensors[f"out_{name}_item{item}"][layer] for item in range(len(presence))]
            )
            assert_equal(found.masked_fill(~is_present, 0.0), expected)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("way", ["fast", "plain"])
def test_the_outputs_of_the_towers(given, count, way):
    tensors, facts = given
    towers = make_towers(tensors, facts["sizes"], count)
    climb = towers if way == "fast" else towers.plain
    assert_equal(climb(*items_of(tensors, count)), tensors[f"out_tower_m{count}"])


def relu_towers_by_loops(tensors, item, mods):
    """Eq. 5 for one item, written out anew with the ReLU in place of the GELU."""
    here = [m for m in mods if tensors["presence"][item, m]]
    below = {m: torch.zeros(tensors["hidden"].shape[-1], dtype=torch.float64) for m in here}
    for layer in range(tensors["gate_logits"].shape[0]):
        mixed = {}
        for m in here:
            logits = tensors["gate_logits"][layer, m]
            weights = torch.stack([*(logits[j] for j in here), logits[-1]]).softmax(0)
            mixed[m] = weights[-1] * tensors["hidden"][item, m, layer]
            for weight, j in zip(weights, here, strict=False):
                mixed[m] = mixed[m] + weight * below[j]
        for m, state in mixed.items():
            inner = (
                state @ tensors["adapter_down"][layer, m] + tensors["adapter_down_bias"][layer, m]
            )
            change = inner.clamp(min=0) @ tensors["adapter_up"][layer, m]
            below[m] = state + change + tensors["adapter_up_bias"][layer, m]
    return {
        m: (state @ tensors["head_inner"][m] + tensors["head_inner_bias"][m])
        @ tensors["head_outer"][m]
        + tensors["head_outer_bias"][m]
        for m, state in below.items()
    }


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_outputs_of_towers_with_relu(given, count):
    """The file has GELU in the adapters alone, so that its weights are carried through plain loops here."""
    tensors, facts = given
    towers = make_towers(tensors, facts["sizes"], count, "relu")
    for climb in (towers, towers.plain):
        outputs = climb(*items_of(tensors, count))
        for item in range(len(outputs)):
            expected = relu_towers_by_loops(tensors, item, range(count))
            for m in range(count):
                assert_equal(outputs[item, m], expected.get(m, torch.zeros_like(outputs[item, m])))


@pytest.mark.parametrize("combine", ["sum", "concat"])
@pytest.mark.parametrize(("count", "k"), [(m, k) for m in (2, 3, 4) for k in range(1, m + 1)])
def test_what_momef_chooses_and_makes_of_it(given, count, k, combine):
    tensors, facts = given
    width = facts["sizes"]["width"]
    fusion = Momef(count, width, k, combine).double()
    weights = {
        "router.weight": tensors["router"][:count, : count * width],
        "router.bias": tensors["router_bias"][:count],
    }
    for m in range(count):
        weights |= {
            f"experts.{m}.weight": tensors["expert"][m],
            f"experts.{m}.bias": tensors["expert_bias"][m],
        }
    if combine == "concat":
        weights |= {
            "merge.weight": tensors[f"merge_k{k}"],
            "merge.bias": tensors[f"merge_bias_k{k}"],
        }
    fusion.load_state_dict(weights)
    outputs, presence = tensors[f"out_tower_m{count}"], tensors["presence"][:, :count].bool()
    vectors = fusion(outputs, presence)
    chosen, shares = fusion.route(outputs, presence)
    for item in range(len(outputs)):
        name = f"out_item_vector_m{count}_k{k}_{combine}_item{item}"
        assert_equal(vectors[item], tensors[name])
        (expected,) = [
            one
            for one in facts["momef"]
            if (one["modalities"], one["k"], one["item"]) == (count, k, item)
        ]
        here = len(expected["chosen"])
        assert chosen[item, :here].tolist() == expected["chosen"]
        assert_equal(shares[item, :here], torch.tensor(expected["weights"], dtype=torch.float64))
        assert not shares[item, here:].any()


def make_model(tensors, sizes, activation):
    encoder = SequenceEncoder(
        sizes["width"], sizes["input_length"], 2, sizes["heads"], 0.1, activation
    )
    ids = IdEmbedding(torch.ones(sizes["catalogue"], dtype=torch.bool), sizes["width"])
    model = SequenceModel(None, encoder, ids).double()
    model.load_state_dict({name: tensors[given_name] for name, given_name in names_of().items()})
    return model.eval()


def names_of():
    """Return the name in the file of each weight of ours."""
    names = {
        "id_embedding.weight": "item_vectors",
        "sequence_encoder.positions": "positions",
        "sequence_encoder.norm.weight": "norm_weight",
        "sequence_encoder.norm.bias": "norm_bias",
    }
    for number in (0, 1):
        block = f"sequence_encoder.blocks.{number}"
        for part in BLOCK:
            name, is_bias, _ = part.partition("_bias")
            names[f"{block}.{name}.{'bias' if is_bias else 'weight'}"] = f"b{number}_{part}"
        for part in NORMS:
            for kind in ("weight", "bias"):
                names[f"{block}.{part}.{kind}"] = f"b{number}_{part}_{kind}"
    return names


def padded(sequences, length):
    return torch.tensor([[PADDING] * (length - len(one)) + one for one in sequences])


def features_of(sizes):
    return FeatureTable.without_content(sizes["catalogue"])


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_user_vectors_at_every_position(given, activation):
    tensors, facts = given
    model = make_model(tensors, facts["sizes"], activation)
    inputs = padded([one[:-1] for one in facts["train"]], facts["sizes"]["input_length"])
    vectors = tensors["item_vectors"][inputs.clamp(min=0)]
    users = model.sequence_encoder(vectors, inputs != PADDING)
    for user, sequence in enumerate(facts["train"]):
        expected = tensors[f"out_{activation}_user_vectors_user{user}"]
        assert_equal(users[user, -(len(sequence) - 1) :].detach(), expected)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("loss_of", [loss_of_batch, loss_by_position])
def test_the_loss_and_all_gradients(given, activation, loss_of):
    """Eqs. 7-8, by the step that trains and by its slow twin; dropout is off."""
    tensors, facts = given
    model = make_model(tensors, facts["sizes"], activation)
    sequences = padded(facts["train"], facts["sizes"]["input_length"] + 1)
    log_p = torch.tensor(facts["log_popularity"], dtype=torch.float64)
    loss = loss_of(model, features_of(facts["sizes"]), sequences, log_p)
    assert loss.item() == pytest.approx(facts["loss"][activation], rel=1e-12)
    loss.backward()
    gradients = dict(model.named_parameters())
    for name, given_name in names_of().items():
        assert_equal(gradients[name].grad, tensors[f"out_{activation}_grad_{given_name}"])


def test_the_popularity(given):
    _, facts = given
    found = log_popularity(np.array(facts["training_counts"]))
    torch.testing.assert_close(found, torch.tensor(facts["log_popularity"]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("mask", ["all", "unseen-only", "none"])
@pytest.mark.parametrize(("part", "back"), [("valid", 2), ("test", 1)])
def test_ranks_and_metrics_under_every_mask(given, mask, part, back):
    tensors, facts = given
    sizes = facts["sizes"]
    model = make_model(tensors, sizes, "gelu")
    targets = [one[-back] for one in facts["sequences"]]
    histories = [np.array(one[:-back]) for one in facts["sequences"]]
    inputs = padded([one[:-back][-sizes["input_length"] :] for one in facts["sequences"]], 10)
    vectors = tensors["item_vectors"]
    users = model.sequence_encoder(vectors[inputs.clamp(min=0)], inputs != PADDING)[:, -1]
    ranker = VectorRanker(users, vectors)
    ranks = ranks_by_counting(ranker, torch.tensor(targets), histories, mask)
    expected = facts["ranking"][f"{mask}/{part}"]
    # A masked target is the last of the catalogue there; with us no cut-off reaches it.
    assert ranks.clamp(max=sizes["catalogue"]).tolist() == expected["ranks"]
    for k in (2, 10):
        assert hr_at(ranks, k).item() == pytest.approx(expected[f"hr@{k}"])
        assert ndcg_at(ranks, k).item() == pytest.approx(expected[f"ndcg@{k}"])


def test_ties_count_against_the_target(given):
    _, facts = given
    ties = facts["ties"]

    def rank_of(scores, mask):
        items = torch.tensor(scores).double().unsqueeze(1)
        ranker = VectorRanker(torch.ones(1, 1).double(), items)
        masked = [np.array(ties["masked"])]
        return ranks_by_counting(ranker, torch.tensor([ties["target"]]), masked, mask).item()

    assert rank_of(ties["scores"], "all") == ties["rank"]
    assert rank_of(ties["scores"], "none") == ties["masked_none_rank"]
    assert rank_of([1.0] * 6, "none") == ties["all_equal_rank_of_6"]
