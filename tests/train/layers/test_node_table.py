"""The vectors of users and items as one table: a view where they lie side by side, and alike where not."""

import copy

import pytest
import torch
from torch import nn

from crossan.train.layers.node_table import NodeTable


def apart(table):
    """Move the two vectors to memory of their own."""
    for name in ("users", "items"):
        setattr(table, name, nn.Parameter(getattr(table, name).detach().clone()))
    return table


@pytest.mark.parametrize("change", [lambda table: table, apart, copy.deepcopy, nn.Module.double])
def test_the_table_has_users_and_then_items_and_parts_their_gradients(change):
    table = change(NodeTable(2, 3, width=4))
    whole = table()
    assert torch.equal(whole, torch.cat([table.users, table.items]))
    (whole * torch.arange(20).view(5, 4)).sum().backward()
    assert table.users.grad.tolist() == torch.arange(8.0).view(2, 4).tolist()
    assert table.items.grad.tolist() == torch.arange(8.0, 20.0).view(3, 4).tolist()


def test_nothing_is_copied():
    table = NodeTable(2, 3, width=4)
    assert table().data_ptr() == table.users.data_ptr()
    table.load_state_dict({name: tensor + 1 for name, tensor in table.state_dict().items()})
    assert table().data_ptr() == table.users.data_ptr()
    assert apart(table)().data_ptr() != table.users.data_ptr()


def test_a_step_in_place_is_seen():
    table = NodeTable(1, 1, width=1)
    with torch.no_grad():
        table.items.fill_(7.0)
    assert table()[1].item() == 7.0


def test_vectors_begin_as_uniform_numbers_by_their_count():
    table = NodeTable(500, 2000, width=4)
    for vectors in (table.users, table.items):
        bound = (6 / (len(vectors) + 4)) ** 0.5
        assert vectors.abs().max().item() == pytest.approx(bound, rel=0.05)
        assert vectors.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_it_can_be_built_without_memory():
    with torch.device("meta"):
        table = NodeTable(50_000, 19_099, width=64)
    assert sum(parameter.numel() for parameter in table.parameters()) == 69_099 * 64
    assert table().shape == (69_099, 64)
