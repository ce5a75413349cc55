"""MHCR against numbers of its own published code, and mistakes made on purpose, each of which is noticed.

The golden files lie beside the folder that CROSSAN_TEST_DATA names. All that the published step drew is recorded.
"""

import pytest
import torch

from crossan.train.layers.hypergraph import Draws
from crossan.train.settings import MhcrSettings
from support.mhcr_twin import MISTAKES, HyperShape, mhcr
from support.mhcr_twin import Draws as SlowDraws
from support.view_worlds import MODALITIES, TOLERANCE, Golden

pytestmark = pytest.mark.data

SHAPE = MhcrSettings(width=4, neighbours=3, hops=3, hyperedges=3, hyper_rounds=2)
KEEP = 0.7
LOSSES = {
    "contrast of users": ("infonce_user", 0.01),
    "contrast of items": ("infonce_item", 0.01),
    "norm of outputs": ("embedding_norm", 0.1),
    "hypergraphs": ("hyper", 1e-5),
    "ranks": ("rank", 0.01),
}
"""Our terms, which have their weights, and those of the code; two more have one name there."""
LAYERS = {
    "gate.first.linear": "gate_module.gate.0",
    "gate.second.linear": "gate_module.gate.3",
    "attention.query.linear": "gate_module.common.0",
}
NORMS = {
    "gate.first.norm": "gate_module.gate.1",
    "gate.second.norm": "gate_module.gate.4",
    "attention.query.norm": "gate_module.common.1",
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def published_names():
    names = {
        "nodes.users": "user_embedding.weight",
        "nodes.items": "item_id_embedding.weight",
        "attention.attend.weight": "gate_module.common.3.weight",
    }
    for part in ("weight", "bias"):
        names |= {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in (LAYERS | NORMS).items()}
    for modality in MODALITIES:
        ours, theirs = f"views.{modality.value}", modality.value
        names |= {f"{ours}.table": f"{theirs}_embedding.weight", f"{ours}.hyper": f"{theirs}_hyper"}
        names |= {f"{ours}.project.{one}": f"{theirs}_trs.{one}" for one in ("weight", "bias")}
    return names


@pytest.fixture(scope="module")
def golden():
    return Golden("mhcr", MODALITIES)


def in_pairs(golden, name):
    """Return recorded draws of each modality, of items and of users."""
    return [(golden(f"{name}_{2 * one}"), golden(f"{name}_{2 * one + 1}")) for one in range(3)]


def published_draws(golden):
    """Return all draws of the published step; permutations are of image, video and text."""
    kept = in_pairs(golden, "random/dropout_keep")
    permutations = [golden(f"random/permutation_{number}") for number in (0, 2, 1)]
    return SlowDraws(in_pairs(golden, "random/gumbel"), kept, permutations)


def as_multiplied(draws):
    """Return the same draws as the fast way takes them."""
    kept = [tuple(one / KEEP for one in both) for both in draws.kept]
    return Draws(draws.noise, kept, draws.permutations)


def test_losses_gradients_and_statistics_are_those_of_the_published_code(golden):
    names = published_names()
    model = golden.model(SHAPE, names)
    terms = model.loss_terms(*golden.batch, as_multiplied(published_draws(golden)))
    for ours, (theirs, weight) in LOSSES.items():
        expected = weight * golden(f"loss/{theirs}").item()
        assert terms[ours].item() == pytest.approx(expected, abs=TOLERANCE * weight), ours
    both = terms["ranking"] + terms["norm"]
    assert both.item() == pytest.approx(golden("loss/bpr_and_l2").item(), abs=TOLERANCE)
    loss = torch.stack([*terms.values()]).sum()
    assert loss.item() == pytest.approx(golden("loss/total").item(), abs=TOLERANCE)
    loss.backward()
    for name, weight in model.named_parameters():
        expected = golden(f"grad/{names[name]}")
        assert torch.allclose(weight.grad, expected, rtol=0, atol=TOLERANCE), name
    for ours, theirs in NORMS.items():
        for part in STATISTICS:
            expected = golden(f"buffer_after_step/{theirs}.{part}")
            assert torch.allclose(
                model.get_buffer(f"{ours}.{part}"), expected, rtol=0, atol=TOLERANCE
            )
    users, items = model.eval().vectors(in_pairs(golden, "random_eval/gumbel"))
    assert torch.allclose(users, golden("eval/user"), rtol=0, atol=TOLERANCE)
    assert torch.allclose(items, golden("eval/item"), rtol=0, atol=TOLERANCE)


def test_views_and_hypergraphs_are_those_of_the_published_code(golden):
    model, draws = golden.model(SHAPE, published_names()), as_multiplied(published_draws(golden))
    nodes = model._all_nodes(draws.noise, draws.kept)
    assert torch.allclose(nodes.content, golden("train/content"), rtol=0, atol=TOLERANCE)
    assert torch.allclose(model._side(nodes), golden("train/side"), rtol=0, atol=TOLERANCE)
    vectors = torch.cat([golden("train/user"), golden("train/item")])
    assert torch.allclose(model._scored(nodes, None), vectors, rtol=0, atol=TOLERANCE)
    for number, modality in enumerate(MODALITIES):
        assert torch.allclose(
            nodes.views[number], golden(f"train/{modality.value}"), rtol=0, atol=TOLERANCE
        )
        rows = [golden(f"train/hyper_{sort}_{modality.value}") for sort in "ui"]
        # These are up to 24.
        assert torch.allclose(nodes.hyper[number].rows, torch.cat(rows), rtol=1e-6, atol=TOLERANCE)


def differences(golden, mistake):
    """Return how far the twin is from every number of the published code, as shares of what is allowed."""
    names = published_names()
    weights = golden.weights(names)
    for norm in NORMS:
        weights |= {
            f"{norm}.{part}": torch.full((4,), float(part == "running_var"))
            for part in STATISTICS[:2]
        }
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    shape = HyperShape(neighbours=3, batch_size=8, hops=3, hyper_rounds=2, mistake=mistake)
    answer = mhcr(weights, golden.graph, shape, published_draws(golden), golden.batch)
    answer.losses["total"].backward()
    pairs = {f"loss/{name}": (loss, golden(f"loss/{name}")) for name, loss in answer.losses.items()}
    for name, theirs in names.items():
        gradient = weights[name].grad
        gradient = torch.zeros_like(weights[name]) if gradient is None else gradient
        pairs[f"gradient of {name}"] = (gradient, golden(f"grad/{theirs}"))
    pairs |= {one: (answer.parts[one], golden(f"train/{one}")) for one in ("content", "side")}
    pairs |= {
        "users": (answer.users, golden("train/user")),
        "items": (answer.items, golden("train/item")),
    }
    after = {name: weights[name].detach() for name in weights}
    for norm, statistics in answer.parts["buffers"].items():
        for part, number in zip(STATISTICS, statistics, strict=True):
            after[f"{norm}.{part}"] = number = torch.as_tensor(number)
            pairs[f"{norm}.{part}"] = (number, golden(f"buffer_after_step/{NORMS[norm]}.{part}"))
    later = mhcr(after, golden.graph, shape, SlowDraws(in_pairs(golden, "random_eval/gumbel")))
    pairs |= {"evaluated users": (later.users, golden("eval/user"))}
    pairs |= {"evaluated items": (later.items, golden("eval/item"))}
    return {
        name: (one - other).abs().max().item() / TOLERANCE for name, (one, other) in pairs.items()
    }


def test_the_twin_is_the_published_code(golden):
    assert max(differences(golden, "").values()) < 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_noticed(golden, mistake):
    assert max(differences(golden, mistake).values()) > 2
