"""Sorted rows are those of torch, zeros of both signs and infinities among them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers import sorted_rows as module
from crossan.train.layers.sorted_rows import sorted_rows

NUMBERS = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3e38, -3e38, float("inf"), 0.1, -0.1]
)


@given(rows=st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=1, max_size=9))
def test_values_are_in_order_and_columns_say_where_they_come_from(rows):
    table = torch.tensor(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS_PER_BLOCK", 4)
        values, columns = sorted_rows(table)
    assert torch.equal(values, table.sort(dim=1).values)
    assert torch.equal(table.gather(1, columns), values)
    assert torch.equal(columns.sort(dim=1).values, torch.arange(5).expand(len(rows), 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_part_of_a_wider_table_is_sorted_too(dtype):
    table = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)[:, 1:6]
    values, columns = sorted_rows(table)
    assert torch.equal(values, table.sort(dim=1).values)
    assert torch.equal(table.gather(1, columns), values)
