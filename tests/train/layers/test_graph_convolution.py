"""A convolution by blocks against the same in plain dense torch, with gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse

from crossan.train.layers import graph_convolution
from crossan.train.layers.graph_convolution import (
    Weights,
    convolution,
    convolution_at,
    wide_convolution,
)
from crossan.train.layers.sparse_matrix import SparseMatrix

USERS, ITEMS, WIDE, WIDTH = 5, 4, 7, 3
NODES = USERS + ITEMS
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[2, 1000], ids=["blocks", "whole"])
def blocks(request, monkeypatch):
    """Blocks that divide neither the rows nor the columns, and one of everything."""
    monkeypatch.setattr(graph_convolution, "_ROWS_PER_BLOCK", request.param)
    monkeypatch.setattr(graph_convolution, "_COLUMNS_PER_BLOCK", request.param)


def numbers(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return drawn.requires_grad_()


def weights_of(wide, is_sum):
    shapes = [(wide, wide), (WIDTH, wide), (WIDTH,)]
    shapes += [(WIDTH, wide + WIDTH * (not is_sum)), (WIDTH,)]
    return Weights(*(numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)))


def mean_of(rows, columns, seed):
    """Return a mean over some columns, with a row that has none."""
    random = np.random.default_rng(seed)
    matrix = (random.random((rows, columns)) < 0.5).astype(float)
    matrix[0] = 0
    matrix[1] = 1
    # Halves and quarters, which float32 holds as they are.
    matrix *= 0.25
    return SparseMatrix(sparse.csr_array(matrix), CPU, is_symmetric=False), torch.tensor(matrix)


def plainly(means, vectors, ids, weights):
    """Return a layer from the means over neighbours, in the order of the equation."""
    messages = F.leaky_relu(means @ weights.messages)
    itself = F.leaky_relu(F.linear(vectors, weights.own, weights.own_bias)) + ids
    if weights.joining.shape[1] == messages.shape[1]:
        return F.leaky_relu(F.linear(messages, weights.joining, weights.bias) + itself)
    return F.leaky_relu(F.linear(torch.cat([messages, itself], 1), weights.joining, weights.bias))


def assert_alike(ours, expected, tensors):
    assert torch.allclose(ours, expected, atol=1e-12)
    factors = numbers(*ours.shape, seed=99).detach()
    gradients = (torch.autograd.grad((one * factors).sum(), tensors) for one in (ours, expected))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("is_sum", [False, True], ids=["concat", "sum"])
def test_a_layer_of_all_nodes_and_of_some(is_sum):
    weights = weights_of(WIDTH, is_sum)
    mean, matrix = mean_of(NODES, NODES, seed=1)
    vectors, ids = numbers(NODES, WIDTH, seed=10), numbers(NODES, WIDTH, seed=11)
    tensors = [vectors, ids, *weights.all()]
    expected = plainly(matrix @ vectors, vectors, ids, weights)
    assert_alike(convolution(vectors, ids, weights, mean), expected, tensors)
    rows = torch.tensor([8, 0, 3])
    expected = plainly(matrix @ vectors, vectors, ids, weights)[rows]
    assert_alike(convolution_at(rows, vectors, ids, weights, mean), expected, tensors)


@pytest.mark.parametrize("is_sum", [False, True], ids=["concat", "sum"])
def test_the_wide_layer(is_sum):
    weights = weights_of(WIDE, is_sum)
    over_items, matrix = mean_of(USERS, ITEMS, seed=2)
    users, items, means = (
        numbers(rows, WIDE, seed=seed) for seed, rows in ((7, USERS), (8, ITEMS), (9, ITEMS))
    )
    ids = numbers(NODES, WIDTH, seed=11)
    ours = wide_convolution(users, items, means, ids, weights, over_items)
    of_neighbours = torch.cat([matrix @ items, means])
    expected = plainly(of_neighbours, torch.cat([users, items]), ids, weights)
    assert_alike(ours, expected, [users, items, means, ids, *weights.all()])


def test_gradients_are_given_to_what_asks_for_them():
    weights, (over_items, _) = weights_of(WIDE, is_sum=False), mean_of(USERS, ITEMS, seed=2)
    users, items, means = (numbers(rows, WIDE, seed=rows) for rows in (USERS, ITEMS, ITEMS))
    ids = numbers(NODES, WIDTH, seed=11)
    given = [users, items, means, ids]
    whole = wide_convolution(*given, weights, over_items)
    of_weights = torch.autograd.grad(whole.sum(), weights.all())
    constants = wide_convolution(*(one.detach() for one in given), weights, over_items)
    constants.sum().backward()
    for one, expected in zip(weights.all(), of_weights, strict=True):
        assert torch.equal(one.grad, expected)


def test_a_second_pass_backwards_is_refused():
    """The messages have become their own gradients."""
    weights, (mean, _) = weights_of(WIDTH, is_sum=False), mean_of(NODES, NODES, seed=1)
    result = convolution(
        numbers(NODES, WIDTH, seed=1), numbers(NODES, WIDTH, seed=2), weights, mean
    )
    result.sum().backward(retain_graph=True)
    with pytest.raises(AttributeError):
        result.sum().backward()
