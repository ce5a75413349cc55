"""The fine-tuned model: what is trained of it, what a checkpoint holds, and where it begins."""

import pytest
import torch
from pydantic import ValidationError
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from crossan.cache_schema.modality import Modality
from crossan.train.models.fine_tuned import assemble
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.settings import FineTunedSettings
from support.tuned import around, tiny, tiny_arrays

HEAD = 2 * (768 * 64 + 64) + 128 * 64 + 64
ENCODER = 100_224
OF_TABLE_4 = {
    "full": 108_891_648 + 85_798_656 + HEAD + ENCODER,
    "adapter": 48 * (2 * 768 * 512 + 512 + 768) + HEAD + ENCODER,
    "lora": 48 * (2 * 768 * 512) + 48 * 768 + HEAD + ENCODER,
}


@pytest.mark.parametrize(
    ("tuning", "count"), [("full", 194_897_216), ("adapter", 38_017_088), ("lora", 37_992_512)]
)
def test_the_parameters_are_those_of_table_4(tuning, count):
    with torch.device("meta"):
        base = [
            around(lambda: BertModel(BertConfig(), add_pooling_layer=False), Modality.TEXT),
            around(lambda: ViTModel(ViTConfig(), add_pooling_layer=False), Modality.IMAGE),
        ]
        model = assemble(FineTunedSettings(tuning=tuning), base, 10)
    assert trainable_parameter_count(model) == count == OF_TABLE_4[tuning]


def build(tuning, seed=0, **more):
    torch.manual_seed(seed)
    chosen = {"tuning": tuning, "bottleneck_dim": 3, "rank": 2, "width": 4, **more}
    backbones = [tiny(Modality.TEXT), tiny(Modality.IMAGE)]
    return assemble(FineTunedSettings(**chosen), backbones, 10).eval()


def inputs():
    generator = torch.Generator().manual_seed(0)
    return [tiny_arrays(modality, 3, generator) for modality in (Modality.TEXT, Modality.IMAGE)]


def pooled(encoder):
    """Return the vectors of both backbones, side by side."""
    with torch.no_grad():
        return torch.cat(
            [
                module(arrays.read(range(3)))
                for module, arrays in zip(encoder.backbones, inputs(), strict=True)
            ],
            dim=1,
        )


def test_low_rank_pairs_begin_as_the_frozen_model():
    assert torch.equal(pooled(build("lora").item_encoder), pooled(build("full").item_encoder))


def test_published_pairs_drop_what_was_pretrained_and_say_so(capsys):
    ours = build("lora", published_lora=True)
    assert not torch.allclose(pooled(ours.item_encoder), pooled(build("full").item_encoder))
    assert "the pretrained weights of queries and values are dropped" in capsys.readouterr().err
    assert trainable_parameter_count(ours) == trainable_parameter_count(build("lora"))


@pytest.mark.parametrize("tuning", ["full", "adapter", "lora"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_checkpoint_leaves_out_is_the_same_in_any_model(tuning, seed):
    """The weights of one model make another the same, whatever that was drawn from."""
    model, other = build(tuning), build(tuning, seed)
    for each in model.parameters():
        if each.requires_grad:
            torch.nn.init.normal_(each, std=0.3)
    other.load_state_dict(model.state_dict())
    assert torch.equal(pooled(other.item_encoder), pooled(model.item_encoder))


def test_a_checkpoint_holds_what_was_trained_alone():
    for tuning in ("full", "adapter", "lora"):
        model = build(tuning)
        trained = {name for name, each in model.named_parameters() if each.requires_grad}
        assert model.state_dict().keys() == trained


def test_a_checkpoint_holds_the_random_weights_of_published_pairs():
    """They are frozen, and no file of a backbone has them."""
    model, other = (build("lora", seed, published_lora=True) for seed in (0, 1))
    assert not torch.equal(pooled(other.item_encoder), pooled(model.item_encoder))
    other.load_state_dict(model.state_dict())
    assert torch.equal(pooled(other.item_encoder), pooled(model.item_encoder))


def test_weights_that_lack_a_trained_one_are_refused():
    model = build("adapter")
    weights = dict(model.state_dict())
    del weights["item_encoder.fusion.merge.bias"]
    with pytest.raises(RuntimeError, match="merge.bias"):
        model.load_state_dict(weights)


def test_a_second_model_has_backbones_of_its_own():
    backbones = [tiny(Modality.TEXT)]
    settings = FineTunedSettings(tuning="adapter", bottleneck_dim=3, width=4)
    first, second = (assemble(settings, backbones, 10) for _ in range(2))
    assert trainable_parameter_count(first) == trainable_parameter_count(second)
    ours, theirs = ({id(each) for each in model.parameters()} for model in (first, second))
    assert not ours & theirs


def test_dropout_comes_before_the_adapter():
    """BERT drops out what its dense gives; with everything dropped, the adapter sees zeros."""
    module = build("adapter").item_encoder.backbones[0]
    dropout, adapter = module.model.encoder.layer[0].attention.output.dropout
    dropout.p = 1.0
    torch.nn.init.ones_(adapter.up.bias)
    output = module.model.encoder.layer[0].attention.output.dropout.train()
    assert torch.equal(output(torch.randn(2, 8)), adapter(torch.zeros(2, 8)))
    assert output(torch.randn(2, 8)).any()


@pytest.mark.parametrize("tuning", ["adapter", "lora"])
def test_nothing_else_of_a_backbone_has_a_gradient(tuning):
    encoder = build(tuning).item_encoder
    encoder(inputs(), torch.ones(3, 2, dtype=torch.bool)).sum().backward()
    for name, each in encoder.backbones.named_parameters():
        assert (each.grad is not None) == each.requires_grad, name


def test_published_pairs_need_pairs():
    with pytest.raises(ValidationError, match="expected tuning=lora with published_lora"):
        FineTunedSettings(tuning="full", published_lora=True)
