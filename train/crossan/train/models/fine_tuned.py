r"""BERT, ViT and others trained inside the step: whole, by adapters or by low-rank pairs.

Source: the uncached variant of GAIR-Lab/IISAN at commit 67f5c1f, which the paper's
rows of full fine-tuning, Adapter and LoRA (Tables 3 and 4) were run with. The last
hidden state of each backbone, after its final norm, is pooled as the stores pool
it; a linear map and a GELU follow (`crossan.train.layers.tuned_encoder`), and one
more map from the outputs side by side to the item vector. The sequence encoder is
IISAN's. Outputs and gradients are those of the code
(``tests/conformance/test_fine_tuned.py``). What differs:

- LoRA keeps the pretrained weights of queries and values. The code replaces these
  layers by new ones and copies no weight, so that 48 of 144 attention matrices of
  two base models are random and frozen; ``model.published_lora`` does the same.
- The outputs lie in the order of modalities, where the code has image, text.
- Half precision is bfloat16, whose range needs no scaled loss, and not float16.
- Any number of modalities may be in use, and an absent one is zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import init

from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.train.features.backbone_door import TrainableBackbone
from crossan.train.features.raw_inputs import RawInputs
from crossan.train.layers.backbone_adapters import Bottleneck, LowRankLinear, replace_modules
from crossan.train.layers.fusions import ConcatFusion
from crossan.train.layers.tuned_encoder import TunedEncoder
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_sequence_encoder
from crossan.train.settings import FineTunedSettings

__all__ = ["assemble", "build", "tune"]


def build(settings: FineTunedSettings, context: ModelContext) -> SequenceModel:
    """Build the model around the pretrained backbones of a run.

    Raises
    ------
    TypeError
        The run has other inputs than those of backbones.
    """
    inputs = context.inputs
    if not isinstance(inputs, RawInputs):
        raise TypeError(f"expected the inputs of backbones, got {type(inputs).__name__}")
    backbones = [source.backbone for source in inputs.sources]
    return assemble(settings, backbones, context.input_length)


def assemble(
    settings: FineTunedSettings, backbones: Sequence[TrainableBackbone], input_length: int
) -> SequenceModel:
    """Build the model around backbones, in the order of their modalities.

    Its ``state_dict`` leaves out pretrained weights that no step changes.
    """
    if settings.published_lora:
        note(
            "model.published_lora: the pretrained weights of queries and values are dropped, as in"
            " IISAN's code; for better vectors leave it out"
        )
    modalities = [backbone.modality for backbone in backbones]
    modules = [tune(backbone, settings) for backbone in backbones]
    kept_out = {
        id(parameter)
        for module in modules
        for parameter in module.parameters()
        if not parameter.requires_grad and id(parameter) not in _drawn(module, settings)
    }
    encoder = TunedEncoder(
        modules,
        [_head(backbone, settings.width) for backbone in backbones],
        ConcatFusion(len(backbones), settings.width),
        chunk_size=settings.chunk_size,
        dtype=torch.bfloat16 if settings.compute == "bfloat16" else None,
        text_position=modalities.index(Modality.TEXT) if Modality.TEXT in modalities else None,
    )
    sequence_encoder = make_sequence_encoder(settings, input_length, follows_iisan=True)
    model = SequenceModel(encoder, sequence_encoder)
    trained = {name for name, each in model.named_parameters() if id(each) not in kept_out}
    _save_only(model, trained)
    return model


def tune(backbone: TrainableBackbone, settings: FineTunedSettings) -> nn.Module:
    """Return a backbone's module with what is trained of it set free or put in.

    Parameters
    ----------
    backbone
        Gives the module.
    settings
        What is trained, and how wide it is.
    """
    module = backbone.take_module()
    module.requires_grad_(settings.tuning == "full")
    if settings.tuning == "adapter":

        def with_adapter(output: nn.Module) -> nn.Module:
            adapter = Bottleneck(backbone.dim, settings.bottleneck_dim, settings.activation)
            return nn.Sequential(output, adapter)

        replace_modules(module, backbone.outputs, with_adapter)
    if settings.tuning == "lora":

        def with_pair(linear: nn.Module) -> nn.Module:
            if not isinstance(linear, nn.Linear):
                raise TypeError(f"expected a linear layer, got {type(linear).__name__}")
            if settings.published_lora:
                linear.reset_parameters()
            return LowRankLinear(linear, settings.rank, settings.alpha)

        replace_modules(module, backbone.projections, with_pair)
    return module


def _drawn(module: nn.Module, settings: FineTunedSettings) -> set[int]:
    """Return the frozen parameters that are random numbers of this run and no checkpoint's."""
    if not settings.published_lora:
        return set()
    pairs = (each for each in module.modules() if isinstance(each, LowRankLinear))
    return {id(pair.linear.weight) for pair in pairs}


def _head(backbone: TrainableBackbone, width: int) -> nn.Linear:
    """Return the map from a backbone's vector to the width of item vectors, drawn as in IISAN."""
    head = nn.Linear(backbone.dim, width)
    if backbone.modality is not Modality.TEXT:
        init.xavier_normal_(head.weight)
        init.zeros_(head.bias)
    return head


def _save_only(model: nn.Module, names: set[str]) -> None:
    """Have a model's ``state_dict`` hold some parameters only, and be loaded with these."""

    def leave_out(
        module: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: object
    ) -> None:
        del module, metadata
        for name in [name for name in state if name.removeprefix(prefix) not in names]:
            del state[name]

    def expect_no_others(
        module: nn.Module, keys: torch.nn.modules.module._IncompatibleKeys
    ) -> None:
        del module
        keys.missing_keys[:] = [name for name in keys.missing_keys if name in names]

    model.register_state_dict_post_hook(leave_out)
    model.register_load_state_dict_post_hook(expect_no_others)
