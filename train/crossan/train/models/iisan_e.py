"""IISAN-E, the paper's extension of IISAN to any number of modalities (section 6.1).

"We extend its structure by incorporating additional intra-SAN layers", and "use
a gated sum to combine the hidden states of all MFMs into the inter-SAN". No code
of it exists. Table 4 pins the rest: with four modalities 30,889,784 parameters
at an adapter width of 512, and 58,432,824 at 1,024. Those are M intra-modal
towers and one inter-modal tower of the same shape, one gate number per modality
and layer for each of the two, and Linear((M + 1) * width, width).

Left open is whether the weights of the gated sum are tied. We take a softmax of
numbers divided by the temperature of IISAN's gates: the weights sum to 1, and
for two modalities IISAN is contained, with one number more than it has.
Everything else is as in `crossan.train.models.iisan`, deviations included.
"""

from __future__ import annotations

from crossan.train.models.iisan import assemble
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.settings import IisanESettings

__all__ = ["build"]


def build(settings: IisanESettings, context: ModelContext) -> SequenceModel:
    """Build IISAN-E with random weights for the stores of a run."""
    return assemble(settings, context, is_paired=False)
