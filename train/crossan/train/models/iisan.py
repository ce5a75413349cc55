"""IISAN (Fu et al., SIGIR 2024) over two modalities, as its published code runs it.

Source: the cached variant of GAIR-Lab/IISAN at commit 67f5c1f. An item has a
tower for each modality and an inter-modal tower
(`crossan.train.layers.iisan_towers`), then two linear maps per tower, and one
more from the three outputs side by side to the item vector. There is no MOMEF.
The sequence encoder has ReLU, begins xavier normal and has no dropout inside
its feed-forward nets, as there.

Towers, item vectors, user vectors, loss and gradients are those of the code
(``tests/conformance/test_iisan.py``). What differs:

- The code masks padding and rejected negatives by adding -1e9 or setting
  -1e4, ours leaves them out; both give them a weight of 0.
- The outputs lie in the order of modalities with the inter-modal tower last,
  where the code has image, text, inter.
- The code begins the last map of the image tower xavier normal with a bias of
  zero and the other heads as torch's Linear does; ours all begin like these.
- Learning rates: the code chooses them by parts of names. Adapters take 1e-4;
  so do the gates of the image tower and the first of its two last maps; that of
  the text tower takes 5e-5; all else, the other gates and heads included, takes
  the 2e-4 of the sequence encoder. With us whole towers take
  ``optimiser.adapter_lr``.
- Dropout, where the code has one in the adapters but never applies it, is not
  there at all.
- Which two modalities these are is free, and an absent one is masked.
"""

from __future__ import annotations

from crossan.train.layers.fusions import ConcatFusion
from crossan.train.layers.iisan_towers import IisanGates, IisanTowers
from crossan.train.models.item_encoder import ItemEncoder, adapter_dtype, require_modalities
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_content_model
from crossan.train.settings import IisanSettings, InterModalSettings

__all__ = ["assemble", "build"]


def build(settings: IisanSettings, context: ModelContext) -> SequenceModel:
    """Build IISAN with random weights for the stores of a run.

    Raises
    ------
    UsageError
        The run has another number of modalities than two.
    """
    require_modalities(settings, len(context.features.dims))
    return assemble(settings, context, is_paired=True)


def assemble(
    settings: InterModalSettings, context: ModelContext, *, is_paired: bool
) -> SequenceModel:
    """Build IISAN, or IISAN-E where the inter-modal gate is not one number for a pair."""
    dims = context.features.dims
    gates = [
        IisanGates(len(dims), settings.gate_temperature, is_paired=is_paired)
        for _ in range(context.features.layer_count)
    ]
    towers = IisanTowers(
        dims,
        settings.bottleneck_dim,
        settings.width,
        gates,
        settings.activation,
        adapter_dtype(settings),
    )
    item_encoder = ItemEncoder(towers, ConcatFusion(len(dims) + 1, settings.width))
    return make_content_model(settings, context, item_encoder, follows_iisan=True)
