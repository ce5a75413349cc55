r"""A constant sparse matrix times a dense one that is learned.

The product of row r, :math:`\sum_c M_{rc} x_c`, is a weighted sum of looked-up rows, and
`torch.nn.functional.embedding_bag` is the fastest way to it that torch has: on one core and
the graph of MicroLens-50K, 12 ms where the product of torch's sparse tensors takes 27 ms, that of
scipy 40 ms and the usual one of COO tensors 122 ms (`tests/benchmarks/bench_graphs.py`). It works
alike on an accelerator, and adds in the same order each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["SparseMatrix"]


class SparseMatrix:
    """A matrix of constants, by rows.

    Parameters
    ----------
    matrix
        Any sparse matrix of scipy's. Its values are kept as float32.
    device
        Where products are computed.
    is_symmetric
        Whether it equals its transpose, which gradients are multiplied by. Of a matrix that is not
        symmetric the transpose is kept too.
    """

    def __init__(
        self, matrix: sparse.csr_array, device: torch.device, *, is_symmetric: bool
    ) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._rows = _rows_of(sparse.csr_array(matrix), device)
        self._columns = self._rows
        if not is_symmetric:
            self._columns = _rows_of(sparse.csr_array(matrix.T), device)

    @property
    def device(self) -> torch.device:
        """Where products are computed."""
        return self._rows.values.device

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Return the product with a table ``(columns, width)``, which is ``(rows, width)``."""
        product: Tensor = _Product.apply(dense, self)  # type: ignore[no-untyped-call]
        return product

    def rows_of(self, rows: Tensor, dense: Tensor) -> Tensor:
        """Return some rows of the product, without computing the others.

        Parameters
        ----------
        rows
            Rows of the matrix, ``(any,)``; one may stand there several times.
        dense
            A table ``(columns, width)``.

        Returns
        -------
        Tensor
            ``(any, width)``.
        """
        part: Tensor = _PartOfProduct.apply(dense, self.chosen(rows))  # type: ignore[no-untyped-call]
        return part

    def multiply(self, dense: Tensor, scale: float = 1.0) -> Tensor:
        """Return the product with a table, times a number, without a gradient."""
        return self._rows.times(dense, scale)

    def multiply_transposed(self, dense: Tensor, scale: float = 1.0) -> Tensor:
        """Return the product of the transpose with a table ``(rows, width)``, without a gradient."""
        return self._columns.times(dense, scale)

    def chosen(self, rows: Tensor) -> MatrixRows:
        """Return some rows of the matrix."""
        return self._rows.chosen(rows)


@dataclass(frozen=True, slots=True)
class MatrixRows:
    """The entries of some rows of a matrix, row after row."""

    begins: Tensor
    """Where each row begins among the entries, and the end, ``(rows + 1,)`` int32."""
    columns: Tensor
    """Column of each entry, ``(entries,)`` int32."""
    values: Tensor
    """``(entries,)`` float32."""
    column_count: int

    def times(self, dense: Tensor, scale: float = 1.0) -> Tensor:
        """Return the product with a table ``(columns, width)``, times a number, without a gradient."""
        values = self.values.to(dense.dtype)
        return F.embedding_bag(
            self.columns,
            # Detached: where a gradient might be asked for, torch makes ready for its own.
            dense.detach().contiguous(),
            self.begins,
            mode="sum",
            # To scale the entries costs less than another pass over the product.
            per_sample_weights=values if scale == 1.0 else values * scale,
            include_last_offset=True,
        )

    def chosen(self, rows: Tensor) -> MatrixRows:
        """Return some of these rows."""
        if rows.device.type == "cpu":
            return _rows_of(self._scipy_array()[rows.numpy()], rows.device)
        return chosen_by_torch(self, rows)

    def transposed(self) -> MatrixRows:
        """Return the transpose, with a row for every column."""
        if self.begins.device.type == "cpu":
            return _rows_of(sparse.csr_array(self._scipy_array().T), self.begins.device)
        return transposed_by_torch(self)

    def _scipy_array(self) -> sparse.csr_array:
        """Return the same entries, in the same memory."""
        parts = (self.values.numpy(), self.columns.numpy(), self.begins.numpy())
        return sparse.csr_array(parts, shape=(len(self.begins) - 1, self.column_count))


def _rows_of(matrix: sparse.csr_array, device: torch.device) -> MatrixRows:
    """Return all rows of a matrix as tensors; int32 numbers halve what a product reads of them."""
    begins, columns, values = (
        torch.from_numpy(part.astype(dtype, copy=False)).to(device)
        for part, dtype in (
            (matrix.indptr, np.int32),
            (matrix.indices, np.int32),
            (matrix.data, np.float32),
        )
    )
    return MatrixRows(begins, columns, values, matrix.shape[1])


def chosen_by_torch(matrix: MatrixRows, rows: Tensor) -> MatrixRows:
    """Return some rows, by operations that every device has."""
    first = matrix.begins[rows].long()
    counts = matrix.begins[rows + 1].long() - first
    ends = counts.cumsum(dim=0)
    total = int(ends[-1]) if len(rows) else 0
    shifts = (first - (ends - counts)).repeat_interleave(counts, output_size=total)
    entries = shifts + torch.arange(total, device=rows.device)
    begins = F.pad(ends, (1, 0)).int()
    return MatrixRows(begins, matrix.columns[entries], matrix.values[entries], matrix.column_count)


def transposed_by_torch(matrix: MatrixRows) -> MatrixRows:
    """Return the transpose, by operations that every device has."""
    row_count = len(matrix.begins) - 1
    numbers = torch.arange(row_count, dtype=torch.int32, device=matrix.begins.device)
    rows = numbers.repeat_interleave(matrix.begins.diff(), output_size=len(matrix.columns))
    # Stable, so that the sum of a row is taken in the same order each time.
    order = matrix.columns.argsort(stable=True)
    counts = torch.bincount(matrix.columns, minlength=matrix.column_count)
    begins = F.pad(counts.cumsum(dim=0), (1, 0)).int()
    return MatrixRows(begins, rows[order], matrix.values[order], row_count)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.matrix = matrix
        return matrix.multiply(dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return ctx.matrix.multiply_transposed(gradient), None


class _PartOfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, part: MatrixRows) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.part = part
        return part.times(dense)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return ctx.part.transposed().times(gradient), None
