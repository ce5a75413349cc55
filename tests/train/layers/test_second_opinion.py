"""Low-rank pairs against `peft`, an implementation by others."""

import importlib.util

import pytest
import torch

from crossan.cache_schema.modality import Modality
from crossan.train.models.fine_tuned import assemble
from crossan.train.settings import FineTunedSettings
from support.tuned import tiny, tiny_arrays

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("peft") is None,
        reason="peft is not installed, so nobody else was asked: pip install peft",
    ),
    # What it calls of transformers is to go in a later release.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TARGETS = {Modality.TEXT: ["query", "value"], Modality.IMAGE: ["q_proj", "v_proj"]}


@pytest.mark.parametrize("modality", TARGETS)
def test_outputs_and_gradients_are_those_of_peft(modality):
    import peft

    rank, settings = 3, FineTunedSettings(tuning="lora", rank=3, width=4)
    ours = assemble(settings, [tiny(modality)], 10).eval().item_encoder.backbones[0]
    theirs = tiny(modality).take_module().eval()
    config = peft.LoraConfig(
        r=rank, lora_alpha=1, target_modules=TARGETS[modality], bias="lora_only"
    )
    theirs.model = peft.get_peft_model(theirs.model, config)
    pairs = draw_alike(ours, theirs)
    items = tiny_arrays(modality, 4, torch.Generator().manual_seed(0)).items
    given, expected = ours(items), theirs(items)
    assert torch.allclose(given, expected, atol=1e-6)
    weights = torch.linspace(-1, 1, given.numel()).view_as(given)
    for outputs in (given, expected):
        (outputs * weights).sum().backward()
    assert len(pairs) == 2 * 2 * 3  # blocks, layers of each, a pair and a bias
    for one, other in pairs:
        assert torch.allclose(one.grad, other.grad, atol=1e-6)
    counts = [
        sum(each.numel() for each in module.parameters() if each.requires_grad)
        for module in (ours, theirs)
    ]
    assert counts[0] == counts[1]


def draw_alike(ours, theirs):
    """Give both the same pairs and biases, and return these side by side."""
    others = [each for each in theirs.modules() if hasattr(each, "lora_A")]
    pairs = [each for each in ours.modules() if hasattr(each, "up")]
    found = []
    for pair, other in zip(pairs, others, strict=True):
        found += [
            (pair.down, other.lora_A["default"].weight),
            (pair.up, other.lora_B["default"].weight),
            (pair.linear.bias, other.base_layer.bias),
        ]
    with torch.no_grad():
        for one, other in found:
            other.copy_(torch.nn.init.normal_(one, std=0.3))
    return found
