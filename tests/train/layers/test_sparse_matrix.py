"""Products of a constant sparse matrix, whole and by rows, against dense ones."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from crossan.train.layers.sparse_matrix import (
    MatrixRows,
    SparseMatrix,
    chosen_by_torch,
    transposed_by_torch,
)

CPU = torch.device("cpu")
BY_HAND = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, -1.0]])


def make(dense, *, is_symmetric=False):
    return SparseMatrix(sparse.csr_array(dense), CPU, is_symmetric=is_symmetric)


def test_a_product_by_hand_and_its_gradient():
    matrix = make(BY_HAND)
    dense = torch.tensor([[1.0, 4.0], [5.0, 6.0], [7.0, 8.0]], requires_grad=True)
    product = matrix @ dense
    assert matrix.shape == (2, 3)
    assert product.tolist() == [[10.0, 12.0], [3.0 - 7.0, 12.0 - 8.0]]
    (product * torch.tensor([[1.0, 0.0], [0.0, 10.0]])).sum().backward()
    assert dense.grad.tolist() == [[0.0, 3.0 * 10], [2.0, 0.0], [0.0, -1.0 * 10]]


def test_rows_by_hand_one_of_them_twice_and_their_gradient():
    dense = torch.tensor([[1.0], [5.0], [7.0]], requires_grad=True)
    rows = make(BY_HAND).rows_of(torch.tensor([1, 0, 1]), dense)
    assert rows.tolist() == [[-4.0], [10.0], [-4.0]]
    (rows * torch.tensor([[1.0], [1.0], [100.0]])).sum().backward()
    assert dense.grad.tolist() == [[3.0 * 101], [2.0], [-1.0 * 101]]


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dense = random.integers(-3, 4, (rows, columns)) * (random.random((rows, columns)) < 0.4)
    return dense.astype(np.float64), random


@given(matrices())
def test_products_and_gradients_are_those_of_the_dense_matrix(drawn):
    dense, random = drawn
    table = torch.from_numpy(random.normal(size=(dense.shape[1], 3))).requires_grad_()
    rows = torch.from_numpy(random.integers(0, len(dense), random.integers(0, 9)))
    weights = torch.from_numpy(random.normal(size=(len(dense), 3)))
    matrix, twin = make(dense), torch.from_numpy(dense)
    for ours, slow, by in (
        (lambda: matrix @ table, lambda: twin @ table, weights),
        (lambda: matrix.rows_of(rows, table), lambda: (twin @ table)[rows], weights[rows]),
    ):
        assert torch.allclose(ours(), slow(), atol=1e-12)
        gradients = [torch.autograd.grad((way() * by).sum(), table)[0] for way in (ours, slow)]
        assert torch.allclose(*gradients, atol=1e-12)


@given(matrices())
def test_what_an_accelerator_does_gives_the_same_rows(drawn):
    dense, random = drawn
    every = make(dense).chosen(torch.arange(len(dense)))
    rows = torch.from_numpy(random.integers(0, len(dense), random.integers(0, 9)))
    for ours, general in (
        (every.chosen(rows), chosen_by_torch(every, rows)),
        (every.transposed(), transposed_by_torch(every)),
    ):
        for name in MatrixRows.__slots__:
            assert torch.equal(
                torch.as_tensor(getattr(ours, name)), torch.as_tensor(getattr(general, name))
            )


def test_a_symmetric_matrix_is_kept_once():
    dense = np.array([[0.0, 2.0], [2.0, 1.0]])
    table = torch.tensor([[1.0], [10.0]], requires_grad=True)
    (make(dense, is_symmetric=True) @ table)[0].sum().backward()
    assert table.grad.tolist() == [[0.0], [2.0]]


def test_gradients_that_are_one_number_for_all_are_understood():
    table = torch.ones(3, 2, requires_grad=True)
    (make(BY_HAND) @ table).sum().backward()  # its gradient is one number, expanded
    assert table.grad.tolist() == [[3.0] * 2, [2.0] * 2, [-1.0] * 2]


@pytest.mark.parametrize("rows", [[], [0], [0, 0]])
def test_a_matrix_without_entries_gives_zeros(rows):
    matrix, table = make(np.zeros((2, 3))), torch.ones(3, 2)
    assert not (matrix @ table).any()
    assert matrix.rows_of(torch.tensor(rows, dtype=torch.int64), table).shape == (len(rows), 2)
