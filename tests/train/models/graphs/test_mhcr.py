"""MHCR against a slow twin and arithmetic by hand, and what only it has: hypergraphs, noise, any modalities."""

import math

import pytest
import torch
from hypothesis import given, settings

from crossan.cache_schema.modality import Modality
from crossan.train.layers.hypergraph import Draws, gumbel, step_draws
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.settings import MhcrSettings
from support.counts import of_full
from support.mgcn_twin import Graph
from support.mhcr_twin import Draws as SlowDraws
from support.mhcr_twin import HyperShape, mhcr
from support.view_worlds import build_of, weights_of, with_matrices_of, worlds

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("variant", ["as-published", "as-written"])
@settings(max_examples=of_full(100, 10), deadline=None)
@given(world=worlds())
def test_the_fast_way_is_the_slow_one(variant, world):
    graph, batches = world
    weights_of_loss = {
        "norm_weight": 0.1,
        "contrast_weight": 0.5,
        "hyper_weight": 0.02,
        "rank_weight": 0.3,
    }
    chosen = MhcrSettings(
        width=4,
        neighbours=3,
        hops=2,
        hyperedges=3,
        hyper_rounds=2,
        variant=variant,
        **weights_of_loss,
    )
    torch.manual_seed(0)
    model = build_of(graph, chosen, batch_size=4).double()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    weights, slow_graph = weights_of(model), with_matrices_of(model, graph)
    shape = HyperShape(
        neighbours=3, batch_size=4, hops=2, hyper_rounds=2, keep=1.0, is_as_written=variant == "as-written",
        **weights_of_loss,
    )  # fmt: skip
    counts = (graph.item_count, graph.user_count)
    for batch in batches:
        draws = step_draws(len(graph.features), counts, 3, 0.3, torch.device("cpu"))
        slow = mhcr(
            weights,
            slow_graph,
            shape,
            SlowDraws(draws.noise, draws.kept, draws.permutations),
            batch,
        )
        fast = torch.stack([*model.loss_terms(*batch, draws).values()]).sum()
        assert fast.item() == pytest.approx(slow.losses["total"].item(), rel=1e-6)
        model.zero_grad()
        fast.backward()
        learned = {name: one for name, one in weights.items() if one.requires_grad}
        gradients = torch.autograd.grad(
            slow.losses["total"], [*learned.values()], allow_unused=True
        )
        for (name, weight), gradient in zip(learned.items(), gradients, strict=True):
            ours = model.get_parameter(name)
            expected = torch.zeros_like(weight) if gradient is None else gradient
            assert torch.allclose(ours.grad, expected, rtol=1e-5, atol=1e-7), name
            ours.data.sub_(ours.grad, alpha=0.1)
            weight.data.sub_(expected, alpha=0.1)
        for norm, statistics in slow.parts["buffers"].items():
            for part, number in zip(STATISTICS, statistics, strict=True):
                weights[f"{norm}.{part}"] = torch.as_tensor(number)
                assert torch.allclose(
                    model.get_buffer(f"{norm}.{part}").double(),
                    weights[f"{norm}.{part}"].double(),
                    atol=1e-5,
                )
    noiseless = [tuple(torch.zeros_like(one) for one in both) for both in draws.noise]
    slow = mhcr(weights, slow_graph, shape, SlowDraws(noiseless))
    users, items = model.eval().propagate()
    assert torch.allclose(users, slow.users, rtol=0, atol=1e-6)
    assert torch.allclose(items, slow.items, rtol=0, atol=1e-6)


def by_hand(variant="as-published", **more):
    """Two users and four items, the last one cold; gates are a half, and there is one hyperedge."""
    pairs = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 2], [1, 2]])
    features = {"video": torch.tensor([[1.0], [2.0], [3.0], [4.0]])}
    chosen = MhcrSettings(width=1, neighbours=1, hops=1, hyperedges=1, variant=variant, **more)
    model = build_of(Graph(2, 4, pairs, features), chosen, batch_size=2)
    root = math.sqrt(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.nodes.users.copy_(torch.tensor([[1.0], [3.0]]))
        model.nodes.items.copy_(torch.tensor([[2 * root], [4.0], [6 * root], [5.0]]))
    return model.eval()


ROOT = math.sqrt(2)
FREE = [1.0, 3.0, 2 * ROOT, 4.0, 6 * ROOT, 5.0]
LAST = [4.0, 8.0, 1 / ROOT, 2.0, 3 / ROOT, 0.0]
"""One hop over edges that weigh 1 / root 2, 1/2, 1/2 and 1 / root 2."""
HYPER = 0.05
"""All are tied to the one hyperedge alike: a row of length 1."""


def test_a_graph_of_four_items_by_hand():
    users, items = by_hand().propagate()
    expected = [(own + hop) / 2 + hop + HYPER for own, hop in zip(FREE, LAST, strict=True)]
    assert torch.cat([users, items]).flatten().tolist() == pytest.approx(expected)


def test_as_written_the_fused_view_is_in_the_score_and_the_last_hop_is_not():
    users, items = by_hand("as-written").propagate()
    # Items are let through by half, users have their items' mean, and of one view half is left.
    views = [4.0 / 2, 8.0 / 2, *(free / 2 for free in FREE[2:])]
    expected = [
        (own + hop) / 2 + view / 2 + HYPER for own, hop, view in zip(FREE, LAST, views, strict=True)
    ]
    assert torch.cat([users, items]).flatten().tolist() == pytest.approx(expected)


def three_by_five(modalities, **chosen):
    """Build a model of three users and five items with these modalities."""
    generator = torch.Generator().manual_seed(1)
    features = {
        one: torch.rand(5, 2 + place, generator=generator) for place, one in enumerate(modalities)
    }
    pairs = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 2], [2, 4]])
    torch.manual_seed(0)
    shape = MhcrSettings(width=4, neighbours=2, hops=2, hyperedges=3, **chosen)
    return build_of(Graph(3, 5, pairs, features), shape, batch_size=8, seed=7)


BATCH = (torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([3, 0]))


def terms_of(model):
    torch.manual_seed(3)
    draws = step_draws(len(model.views), (5, 3), 3, 0.3, torch.device("cpu"))
    return model.loss_terms(*BATCH, draws)


def test_of_one_modality_there_is_no_loss_between_two():
    assert terms_of(three_by_five(["audio"]))["hypergraphs"].item() == 0.0
    assert terms_of(three_by_five(["audio", "image"]))["hypergraphs"].item() > 0.0


def test_candidates_are_those_of_text_or_of_the_first_modality():
    """With text among two, or without, the loss reads the other modality's rows as anchors alone."""
    for modalities, read in ((["text", "image"], "text"), (["video", "image"], "image")):
        model = three_by_five(modalities)
        with torch.no_grad():
            for name, view in model.views.items():
                # No ties but to the first hyperedge, or to any: a modality of equal rows, or not.
                view.hyper.mul_(0.0 if name == read else 1.0)
        noiseless = [(torch.zeros(5, 3), torch.zeros(3, 3))] * 2
        ones = [(torch.ones(5, 3), torch.ones(3, 3))] * 2
        draws = Draws(noiseless, ones, [torch.arange(8)] * 2)
        # All candidates are one vector z, so the loss of a row is
        # -ln(e^(a.z / t) / (n (e^(z.z / t) + e^(a.z / t)))), n nodes of its sort.
        nodes = model._all_nodes(draws.noise, draws.kept)
        rows = dict(zip(model.views, (one.rows for one in nodes.hyper), strict=True))
        other = next(name for name in rows if name != read)
        unit = {name: torch.nn.functional.normalize(one) for name, one in rows.items()}
        near = (unit[other] * unit[read]).sum(dim=1) / 0.2
        losses = torch.log(math.exp(1 / 0.2) + near.exp()) - near
        counts = torch.tensor([3.0] * 3 + [5.0] * 5).log()
        expected = (losses + counts)[[0, 1, 3 + 1, 3 + 2]].sum().item()
        found = model.loss_terms(*BATCH, draws)["hypergraphs"].item() / 1e-5
        assert found == pytest.approx(expected, rel=1e-4), modalities


def test_evaluation_has_noise_only_when_asked_to_and_the_same_each_time():
    quiet, noisy = three_by_five(["text"]), three_by_five(["text"], noise_at_evaluation=True)
    noisy.load_state_dict(quiet.state_dict())
    quiet.eval(), noisy.eval()
    state = torch.get_rng_state()
    without, once, again = (model.propagate() for model in (quiet, noisy, noisy))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(once[0], again[0])
    assert not torch.equal(without[0], once[0])
    generator = torch.Generator().manual_seed(7)
    of_items, of_users = (gumbel(count, 3, torch.device("cpu"), generator) for count in (5, 3))
    assert torch.equal(quiet.vectors([(of_items, of_users)])[1], once[1])


def test_steps_draw_from_torchs_generator():
    model = three_by_five(["text", "image", "video"])
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model.loss(*BATCH).item())
    assert losses[0] == losses[1] != losses[2]


def parameter_count(users, items, dims, width=64, hyperedges=32):
    """Return the number of weights by the formula of the specification."""
    views = sum(items * dim + dim * width + width + dim * hyperedges for dim in dims)
    attention = width**2 + width + 2 * width + width
    gate = 2 * (width**2 + width) + 4 * width
    return (users + items) * width + views + attention + gate


@pytest.mark.parametrize("dims", [(2,), (2, 3), (2, 3, 4)])
def test_the_parameters_are_those_of_the_formula(dims):
    model = three_by_five([one.value for one in Modality][: len(dims)])
    assert trainable_parameter_count(model) == parameter_count(3, 5, dims, width=4, hyperedges=3)


def test_the_formula_is_the_published_count():
    assert parameter_count(50_000, 19_099, (100, 384, 100)) == 15_645_336
