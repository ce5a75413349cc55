"""The graph of users and items by hand, and means over its hops against dense powers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers.graph import (
    adjacency,
    mean_of_hops,
    mean_of_hops_at,
    normalised_bipartite,
)
from crossan.train.layers.sparse_matrix import SparseMatrix

CPU = torch.device("cpu")
USERS, ITEMS = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 2, 1])
"""Two users and four items, the last of which nobody has; user 0 has item 1 twice."""


def test_a_pair_counts_once():
    assert adjacency(USERS, ITEMS, 2, 4).toarray().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


def test_the_graph_of_four_items_by_hand():
    """Both users have degree 2; the items 1, 2, 1 and 0."""
    graph = normalised_bipartite(USERS, ITEMS, 2, 4).toarray()
    half, root = 1 / 2, 2**-0.5
    pairs = np.array([[root, half, 0, 0], [0, half, root, 0]])
    assert graph[:2, 2:] == pytest.approx(pairs)
    assert np.array_equal(graph, graph.T)
    assert not graph[:2, :2].any()
    assert not graph[2:, 2:].any()


def test_epsilon_is_added_to_the_degrees():
    graph = normalised_bipartite(USERS, ITEMS, 2, 4, epsilon=2.0).toarray()
    assert graph[0, 2:] == pytest.approx([(4 * 3) ** -0.5, (4 * 4) ** -0.5, 0, 0])


def test_two_hops_over_four_items_by_hand():
    """Item 0 reaches user 0 and, through it, item 1; the cold item stays by itself."""
    matrix = SparseMatrix(normalised_bipartite(USERS, ITEMS, 2, 4), CPU, is_symmetric=True)
    table = torch.tensor([[0.0], [0.0], [6.0], [0.0], [0.0], [3.0]])
    root = 2**-0.5
    expected = [6 * root / 3, 0, (6 + 6 * root * root) / 3, 6 * root / 2 / 3, 0, 3 / 3]
    assert mean_of_hops(matrix, table, 2).flatten().tolist() == pytest.approx(expected)
    rows = torch.tensor([3, 5, 3])
    at_rows = mean_of_hops_at(matrix, table, 2, rows).flatten().tolist()
    assert at_rows == pytest.approx([expected[row] for row in rows.tolist()])


@given(st.integers(0, 2**32), st.integers(0, 3))
def test_means_and_gradients_are_those_of_dense_powers(seed, hops):
    random = np.random.default_rng(seed)
    user_count, item_count = (int(random.integers(1, 6)) for _ in range(2))
    pairs = random.integers(0, [user_count, item_count], (random.integers(0, 12), 2)).T
    graph = normalised_bipartite(*pairs, user_count, item_count, epsilon=1e-7)
    matrix = SparseMatrix(graph, CPU, is_symmetric=True)
    dense = torch.from_numpy(graph.toarray()).double()
    table = torch.from_numpy(random.normal(size=(len(dense), 3))).requires_grad_()
    powers = [torch.linalg.matrix_power(dense, hop) @ table for hop in range(hops + 1)]
    slow = torch.stack(powers).mean(dim=0)
    rows = torch.from_numpy(random.integers(0, len(dense), 5))
    weights = torch.from_numpy(random.normal(size=(len(dense), 3)))
    for ours, expected, by in (
        (mean_of_hops(matrix, table, hops), slow, weights),
        (mean_of_hops_at(matrix, table, hops, rows), slow[rows], weights[rows]),
    ):
        assert torch.allclose(ours, expected, atol=1e-7)
        gradient, expected_gradient = (
            torch.autograd.grad((way * by).sum(), table, retain_graph=True)[0]
            for way in (ours, expected)
        )
        assert torch.allclose(gradient, expected_gradient, atol=1e-7)
