"""The contrastive loss between hypergraphs against the plain formula, with more and fewer hyperedges than width."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from crossan.train.layers.hyper_contrast import hyper_contrast
from crossan.train.layers.hypergraph import Hypergraph


def plainly(rows, candidates, nodes, at, counts):
    unit = [F.normalize(one) for one in rows]
    picked = [one[at] for one in unit]
    far = sum((one @ unit[candidates][nodes].T / 0.2).exp().sum(dim=1) for one in picked)
    near = sum(
        ((picked[a] * picked[b]).sum(dim=1) / 0.2).exp()
        for a in range(len(picked))
        for b in range(a + 1, len(picked))
    )
    return (counts * -(near / far).log()).sum()


@pytest.mark.parametrize("hyperedges", [2, 5])
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_the_loss_and_its_gradients_are_the_plain_ones(hyperedges, modalities):
    torch.manual_seed(0)
    ties, edges = (
        [torch.rand(*shape, dtype=torch.float64).requires_grad_() for _ in range(modalities)]
        for shape in ((7, hyperedges), (hyperedges, 3))
    )
    graphs = [Hypergraph(one, other, one @ other) for one, other in zip(ties, edges, strict=True)]
    at, counts = torch.tensor([3, 5]), torch.tensor([1, 3])
    nodes = slice(3, None)
    fast = hyper_contrast(graphs, 1, nodes, at, counts, 0.2)
    slow = plainly([one.rows for one in graphs], 1, nodes, at, counts)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-10)
    leaves = [*ties, *edges]
    for one, other in zip(
        torch.autograd.grad(fast, leaves, retain_graph=True),
        torch.autograd.grad(slow, leaves),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-10)


def test_one_hypergraph_has_nothing_to_agree_with():
    graph = Hypergraph(torch.ones(3, 2), torch.ones(2, 2), torch.ones(3, 2))
    assert hyper_contrast([graph], 0, slice(0, 3), torch.tensor([0]), torch.tensor([1]), 0.2) == 0
