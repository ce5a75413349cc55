"""What operations would allocate, beside what they do allocate."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from crossan.extract.backbones.memory import peak_bytes
from crossan.train.runs.allocations import Allocations
from crossan.train.runs.result_shapes import _RULES, result_on_meta

CPU = torch.device("cpu")
aten = torch.ops.aten


def numbers(*shape):
    return torch.rand(shape)


def rows(*shape, below=3):
    return torch.randint(below, shape)


CASES = [
    (aten.mm.default, (numbers(3, 4), numbers(4, 5))),
    (aten.bmm.default, (numbers(2, 3, 4), numbers(2, 4, 5))),
    (aten.addmm.default, (numbers(5), numbers(3, 4), numbers(4, 5))),
    (aten.baddbmm.default, (numbers(2, 1, 5), numbers(2, 3, 4), numbers(2, 4, 5))),
    (aten.cat.default, ([numbers(2, 3), numbers(4, 3)],)),
    (aten.cat.default, ([numbers(0), numbers(4, 3)],)),
    (aten.cat.default, ([numbers(2, 3), numbers(2, 1).half()], 1)),
    (aten.stack.default, ([numbers(2, 3), numbers(2, 3)], -1)),
    (aten.embedding.default, (numbers(3, 4), rows(2, 5))),
    (aten._softmax.default, (numbers(3, 4), 1, False)),
    (aten._log_softmax.default, (numbers(3, 4), 1, False)),
    (aten._safe_softmax.default, (numbers(3, 4), 1)),
    (aten._softmax_backward_data.default, (numbers(3, 4), numbers(3, 4), 1, torch.float32)),
    (aten._log_softmax_backward_data.default, (numbers(3, 4), numbers(3, 4), 1, torch.float32)),
    (aten.native_layer_norm.default, (numbers(2, 3, 4), [4], numbers(4), numbers(4), 1e-6)),
    (aten.native_layer_norm_backward.default, (numbers(2, 3, 4), numbers(2, 3, 4), [4], numbers(2, 3, 1), numbers(2, 3, 1), numbers(4), numbers(4), [True, True, True])),
    (aten.native_dropout.default, (numbers(3, 4), 0.5, True)),
    (aten.gather.default, (numbers(3, 4), 1, rows(3, 2))),
    (aten.index.Tensor, (numbers(3, 4), [rows(5)])),
    (aten.index.Tensor, (numbers(3, 4, 5), [None, rows(2, 1), rows(6)])),
    (aten.sum.dim_IntList, (numbers(3, 4, 5), [0, -1])),
    (aten.sum.dim_IntList, (rows(3, 4), [1], True)),
    (aten.mean.default, (numbers(3, 4),)),
    (aten.mean.dim, (numbers(3, 4), [0])),
    (aten.logsumexp.default, (numbers(3, 4), [1])),
    (aten.amax.default, (numbers(3, 4), [1], True)),
    (aten.all.dim, (numbers(3, 4) > 0, 1)),
    (aten.any.dim, (numbers(3, 4) > 0, 0, True)),
    (aten.dot.default, (numbers(3), numbers(3))),
    (aten.sort.stable, (numbers(3, 4),), {"stable": True}),
    (aten.sort.default, (numbers(3, 4),)),
    (aten.diag_embed.default, (numbers(3, 4),)),
    (aten.diag_embed.default, (numbers(3, 4), 1)),
    (aten.constant_pad_nd.default, (numbers(3, 4), [1, 0, 0, 2])),
    (aten.linalg_vector_norm.default, (numbers(3, 4), 2, [1])),
    (aten.slice_backward.default, (numbers(2, 4), [3, 4], 0, 0, 2, 1)),
    (aten.select_backward.default, (numbers(4), [3, 4], 0, 1)),
    (aten.scatter.src, (numbers(3, 4), 1, rows(3, 2), numbers(3, 2))),
    (aten.scatter.value, (numbers(3, 4), 1, rows(3, 2), 1.0)),
    (aten.scatter_add.default, (numbers(3, 4), 1, rows(3, 2), numbers(3, 2))),
    (aten.index_add.default, (numbers(3, 4), 0, rows(5), numbers(5, 4))),
    (aten.index_copy.default, (numbers(3, 4), 0, torch.tensor([0, 2]), numbers(2, 4))),
    (aten.index_fill.int_Scalar, (numbers(3, 4), 0, rows(2), 0.0)),
    (aten.index_put.default, (numbers(3, 4), [rows(2)], numbers(2, 4))),
    (aten.leaky_relu_backward.default, (numbers(3, 4), numbers(3, 4), 0.01, False)),
    (aten.softplus_backward.default, (numbers(3, 4), numbers(3, 4), 1.0, 20.0)),
    (aten._scaled_dot_product_flash_attention_for_cpu.default, (numbers(2, 3, 5, 4), numbers(2, 3, 5, 4), numbers(2, 3, 5, 4))),
    (aten.clone.default, (numbers(3, 4).T,)),
    *((like, (numbers(3, 4).T,)) for like in (aten.zeros_like.default, aten.ones_like.default, aten.empty_like.default, aten.rand_like.default, aten.randn_like.default)),
    (aten.full_like.default, (numbers(3, 4), 2.0)),
    # Number by number.
    (aten.mul.Tensor, (numbers(3, 1), numbers(4))),
    (aten.mul.Tensor, (numbers(3, 4).T, numbers(4, 3).T.contiguous().T)),
    (aten.add.Tensor, (numbers(3, 4), numbers(3, 4) > 0.5)),
    (aten.add.Tensor, (numbers(3, 4).half(), numbers(3, 4))),
    (aten.mul.Tensor, (numbers(3, 4).half(), torch.tensor(2.0))),
    (aten.mul.Tensor, (rows(3, 4), 0.5)),
    (aten.lt.Scalar, (numbers(3, 4), 0.5)),
    (aten.eq.Tensor, (rows(3, 4), rows(4))),
    (aten.where.self, (numbers(3, 4) > 0.5, numbers(4), numbers(3, 1))),
    (aten.masked_fill.Scalar, (numbers(3, 4).half(), numbers(3, 4) > 0.5, 0.0)),
    (aten.gelu_backward.default, (numbers(3, 4), numbers(3, 4))),
    (aten.clamp.default, (numbers(3, 4), 0.0, 1.0)),
    (aten.addcmul.default, (numbers(3, 4), numbers(3, 4), numbers(3, 4))),
]  # fmt: skip
BAG = (numbers(3, 4), rows(6).int(), torch.tensor([0, 2, 6]).int(), False, 0, False, numbers(6))


def outlines_of(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, torch.Tensor)]


def on_meta(value):
    if isinstance(value, list):
        return [on_meta(each) for each in value]
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].name())
def test_a_rule_gives_what_the_operator_gives(case):
    operator, args, kwargs = (*case, {})[:3]
    expected = outlines_of(operator(*args, **kwargs))
    found = outlines_of(result_on_meta(operator, [on_meta(each) for each in args], kwargs))
    assert [(each.shape, each.dtype) for each in found] == [
        (each.shape, each.dtype) for each in expected
    ]
    assert [each.stride() for each in found[:1]] == [each.stride() for each in expected[:1]]


def test_every_rule_has_its_case():
    """But those of operators that a CPU does not have, or gives other scratch than a device."""
    cases = {case[0] for case in CASES}
    others = {
        aten._embedding_bag_forward_only.default,
        aten._embedding_bag.default,
        aten._sparse_coo_tensor_with_dims_and_tensors.default,
        aten._scaled_dot_product_efficient_attention.default,
    }
    assert set(_RULES) == (cases & set(_RULES)) | others


def test_bags_are_summed_to_a_row_each():
    operator = aten._embedding_bag_forward_only.default
    args = (*BAG, True)
    expected, found = operator(*args), result_on_meta(operator, [on_meta(a) for a in args], {})
    assert found[0].shape == expected[0].shape == (2, 4)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(40, 200), nn.GELU(), nn.LayerNorm(200), nn.Dropout(0.1), nn.Linear(200, 30)
    )


def test_a_step_on_outlines_allocates_what_it_allocates():
    model, states = net(), numbers(500, 40)

    def step(inputs, layers):
        chosen = F.embedding(rows(800, below=500), inputs)
        layers(chosen).square().sum().backward()

    measured = peak_bytes(lambda: step(states, model), CPU)
    allocations = Allocations()
    outlined = net()
    for layer in outlined:
        for name, parameter in list(layer.named_parameters()):
            setattr(layer, name, allocations.outline(parameter))
    inputs = allocations.outline(states)
    with allocations:
        step(inputs, outlined)
    assert allocations.storages.peak == measured > 800 * 200 * 4


def test_integers_are_computed_and_floats_are_not():
    allocations = Allocations()
    with allocations:
        drawn = torch.zeros(1000, 1000)
        order = torch.arange(10).flip(0)
        mask = order > 4
        chosen = drawn[order[mask]]
    assert order.tolist() == list(range(9, -1, -1))
    assert chosen.shape == (5, 1000)
    with pytest.raises(RuntimeError, match="expected a tensor with numbers, got an outline"):
        drawn.sum()


def test_what_is_released_is_counted_no_more():
    allocations = Allocations()
    with allocations:
        for _ in range(3):
            kept = torch.zeros(250)
        view = kept[10:20]
        del kept
        assert allocations.storages.live == 1000
        del view
    # The next one is made before the one before is let go.
    assert (allocations.storages.live, allocations.storages.peak) == (0, 2000)


def test_a_coarse_allocator_rounds_up():
    allocations = Allocations(granule=512)
    with allocations:
        kept = torch.zeros(1), torch.zeros(129)
    assert allocations.storages.live == 512 + 1024
    del kept


def test_what_is_written_in_place_is_the_tensor_itself():
    allocations = Allocations()
    with allocations:
        total = torch.zeros(4, 4)
        before = allocations.storages.live
        assert total.add_(1.0) is total
        out = torch.empty(4, 4)
        assert torch.mm(total, total, out=out) is out
    assert allocations.storages.live == before + 64
