"""One view of a node from several, by hand."""

import math

import pytest
import torch

from crossan.train.layers.view_fusion import fused_view


def test_the_common_part_and_what_is_preferred_beside_it():
    views = [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 8.0]])]
    attention = [torch.tensor([[math.log(3.0)]]), torch.tensor([[0.0]])]
    preferences = [torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, 0.25]])]
    # Shares are 3/4 and 1/4, so the common part is [3, 2].
    expected = [(3 + 1 * (4 - 3) + 0) / 3, (2 + 0.5 * (0 - 2) + 0.25 * (8 - 2)) / 3]
    assert fused_view(views, attention, preferences)[0].tolist() == pytest.approx(expected)


def test_of_one_view_half_is_left():
    view = torch.tensor([[4.0, -2.0]])
    fused = fused_view([view], [torch.tensor([[7.0]])], [torch.tensor([[0.3, 0.9]])])
    assert fused[0].tolist() == pytest.approx([2.0, -1.0])
