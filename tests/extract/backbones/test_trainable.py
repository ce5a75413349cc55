"""Backbones to be trained: the same numbers as a store's, and modules that are all in use."""

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract import trainable
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.trainable import open_trainable
from crossan.train.layers.backbone_adapters import Bottleneck, LowRankLinear
from crossan.train.models.fine_tuned import tune
from crossan.train.settings import FineTunedSettings

FAMILIES = {
    "bert": Modality.TEXT,
    "vit": Modality.IMAGE,
    "ast": Modality.AUDIO,
    "videomae": Modality.VIDEO,
    "vivit": Modality.VIDEO,
}
LAYERS = 2


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def source(family, small):
    return FAMILIES[family], str(small / family)


@pytest.fixture
def batch(source):
    """Four items as a store's extraction prepares them."""
    backbone = load_backbone(*source, layers="all", device="cpu")
    return backbone, [backbone.prepare(medium) for medium in canary_inputs(backbone)]


def final_norm(model):
    return getattr(model, "layernorm", None) or torch.nn.Identity()


def test_the_vectors_are_those_of_a_store_after_the_final_norm(source, batch):
    """A pooled norm is the norm of what is pooled where one position is pooled."""
    backbone, inputs = batch
    module = open_trainable(*source).take_module().eval()
    with torch.no_grad():
        ours = module(inputs)
        stored = torch.from_numpy(backbone.encode(inputs))[:, -1]
        expected = final_norm(module.model)(stored)
    assert ours.shape == (4, backbone.dim)
    if backbone.pooling == "cls":
        assert torch.allclose(ours, expected, atol=1e-6)
    else:
        assert ours.isfinite().all()
        assert not torch.equal(ours[0], ours[1])


@pytest.mark.parametrize(("tuning", "kind"), [("adapter", Bottleneck), ("lora", LowRankLinear)])
def test_every_module_that_is_put_in_is_in_use(source, batch, tuning, kind):
    _, inputs = batch
    settings = FineTunedSettings(tuning=tuning, bottleneck_dim=3, rank=2, activation="gelu")
    module = tune(open_trainable(*source), settings).eval()
    put_in = [each for each in module.modules() if isinstance(each, kind)]
    assert len(put_in) == 2 * LAYERS
    for each in put_in:
        for weight in (each.up, each.down):
            torch.nn.init.normal_(getattr(weight, "weight", weight), std=0.3)
    vectors = module(inputs)
    # Not their plain sum, which a norm holds fixed.
    (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors) ** 2).sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_a_module_is_given_once_and_loaded_again_for_the_next(source):
    backbone = open_trainable(*source)
    first, second = backbone.take_module(), backbone.take_module()
    assert first is not second
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one is not other
        assert torch.equal(one, other)


def test_what_fixes_the_inputs_does_not_name_the_weights(source):
    backbone = open_trainable(*source)
    assert "weights_sha256" in backbone.weights()
    assert "weights_sha256" not in str(backbone.inputs())


def test_titles_are_cut_where_the_settings_say(small):
    backbone = open_trainable(Modality.TEXT, str(small / "bert"), max_length=4)
    assert backbone.inputs()["max_length"] == 4


def test_a_family_without_known_modules_says_how_to_go_on(small, monkeypatch):
    monkeypatch.setattr(trainable, "_SITES", ())
    backbone = open_trainable(Modality.TEXT, str(small / "bert"))
    with pytest.raises(UsageError, match="expected the outputs of its blocks") as refused:
        tune(backbone, FineTunedSettings(tuning="adapter"))
    assert "model.tuning=full" in refused.value.remedy
    tune(backbone, FineTunedSettings(tuning="full"))
    assert np.isfinite(backbone.dim)
