"""Attention along edges against dense matrices, and its gradients against differences."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.edge_attention import (
    attention,
    mutual_attention,
    weighted_sums,
    with_neighbours,
)
from crossan.train.layers.edges import Edges
from crossan.train.layers.unit_rows import unit_rows

USERS, ITEMS = 4, 5
PAIRS = [(0, 0), (0, 3), (1, 3), (3, 0), (3, 1), (3, 3), (0, 3)]
"""User 2 and items 2 and 4 are in none; one pair is there twice."""


def edges_of(pairs=PAIRS):
    return Edges.both_ways(*torch.tensor(pairs).T, USERS, ITEMS)


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def dense(weights, edges, shape):
    """Return the matrix whose entries are the weights of edges, targets by sources."""
    matrix = torch.zeros(shape, dtype=weights.dtype)
    return matrix.index_put((edges.targets, edges.sources), weights)


def test_each_pair_is_an_edge_each_way_by_target():
    edges = edges_of()
    pairs = sorted(set(PAIRS))
    forth = [(user, USERS + item) for user, item in pairs]
    assert list(zip(edges.targets.tolist(), edges.sources.tolist(), strict=True)) == [
        *forth,
        *sorted((item, user) for user, item in forth),
    ]
    assert edges.begins.tolist() == [0, 2, 3, 3, 6, 8, 9, 9, 12, 12]
    assert edges.sources[edges.by_source].tolist() == sorted(edges.sources.tolist())


def test_edges_into_some_rows_are_numbered_as_in_the_whole():
    edges = edges_of()
    rows = torch.tensor([7, 2, 0])
    into, positions = edges.into(rows)
    assert into.begins.tolist() == [0, 3, 3, 5]
    assert torch.equal(rows[into.targets], edges.targets[positions])
    assert torch.equal(into.sources, edges.sources[positions])


def test_edges_among_the_first_rows_lead_from_the_others():
    edges = edges_of().among_first(USERS)
    assert edges.begins.tolist() == [0, 2, 3, 3, 6]
    assert edges.sources.tolist() == [0, 3, 3, 0, 1, 3]
    assert len(edges.source_begins) == ITEMS + 1


def test_attention_is_a_softmax_over_the_edges_into_a_target():
    edges = edges_of()
    vectors = F.normalize(numbers(USERS + ITEMS, 3))
    is_edge = dense(torch.ones(len(edges.sources)).double(), edges, (9, 9)) > 0
    logits = (vectors @ vectors.T).masked_fill(~is_edge, float("-inf"))
    expected = logits.softmax(dim=1)[edges.targets, edges.sources]
    assert torch.allclose(mutual_attention(vectors, edges), expected, atol=1e-12)
    assert torch.allclose(attention(vectors, vectors, edges), expected, atol=1e-12)


def test_sums_are_products_with_the_matrix_of_weights():
    edges = edges_of()
    weights, table = numbers(len(edges.sources)), numbers(9, 3, seed=1)
    matrix = dense(weights, edges, (9, 9))
    assert torch.allclose(weighted_sums(weights, table, edges), matrix @ table, atol=1e-12)
    rows = torch.tensor([8, 0, 5])
    into, positions = edges.into(rows)
    sums = with_neighbours(weights[positions], table, into, rows)
    assert torch.allclose(sums, (table + matrix @ table)[rows], atol=1e-12)


def check(function, *tensors):
    assert torch.autograd.gradcheck(function, [one.requires_grad_() for one in tensors])


def test_gradients_are_those_of_differences():
    edges = edges_of()
    rows = torch.tensor([8, 0, 5])
    into, _ = edges.into(rows)
    of_users = edges.among_first(USERS)
    check(lambda x: mutual_attention(x, edges), numbers(9, 3))
    check(lambda q, k: attention(q, k, of_users), numbers(USERS, 3), numbers(ITEMS, 3, seed=1))
    check(lambda w, x: weighted_sums(w, x, edges), numbers(len(edges.sources)), numbers(9, 3))
    check(lambda w, x: with_neighbours(w, x, into, rows), numbers(len(into.sources)), numbers(9, 3))
    check(unit_rows, numbers(3, 2), numbers(1, 2, seed=1))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), min_size=1, max_size=20
    ),
    st.lists(st.integers(0, USERS + ITEMS - 1), unique=True),
    st.integers(0, 100),
)
def test_some_rows_are_those_of_all_and_so_are_gradients(pairs, rows, seed):
    edges, rows = edges_of(pairs), torch.tensor(rows, dtype=torch.int64)
    weights = numbers(len(edges.sources), seed=seed).requires_grad_()
    table = numbers(USERS + ITEMS, 2, seed=seed + 1).requires_grad_()
    into, positions = edges.into(rows)
    some = with_neighbours(weights[positions], table, into, rows)
    whole = (table + weighted_sums(weights, table, edges))[rows]
    assert torch.allclose(some, whole, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad((some**2).sum(), [weights, table]),
        torch.autograd.grad((whole**2).sum(), [weights, table]),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_a_vector_without_length_stays_and_breaks_no_other():
    tables = [torch.zeros(1, 2, requires_grad=True), torch.tensor([[3.0, 4.0]], requires_grad=True)]
    scaled = unit_rows(*tables)
    assert scaled.tolist() == [[0.0, 0.0], [pytest.approx(0.6), pytest.approx(0.8)]]
    scaled[1, 0].backward()
    assert torch.allclose(tables[1].grad, torch.tensor([[0.128, -0.096]]))
    assert tables[0].grad.tolist() == [[0.0, 0.0]]
