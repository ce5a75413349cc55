"""The settings of the kinds that propagate vectors over a graph of users and items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from crossan.train.settings.triples import TripleSettings

__all__ = ["GraphSettings", "LayerChoice", "Variant"]

Variant = Literal["as-published", "as-written"]
"""What a model follows where the code of its authors and their paper differ."""

LayerChoice = Literal["last"] | Annotated[int, Field(ge=0)]
"""One of a store's kept layers."""


class GraphSettings(TripleSettings):
    """What the graph models have.

    A run takes the defaults of MMRec, whose code all of them were published with.
    """

    reads_hidden_states: ClassVar[bool] = True

    run_defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 2048,
        "max_epochs": 1000,
        # MMRec stops after more than 20 epochs without a gain.
        "patience": 21,
        "optimiser.weight_decay": 0.0,
    }

    variant: Variant = "as-published"
    """Whether the model is that of the published code or that of the paper."""

    layer: LayerChoice = "last"
    """Kept layer whose hidden states, as they are stored, are the items' features."""

    def kept_layers(self) -> tuple[int, ...] | None:
        """Return the layer that is read of every store, None for all that it keeps."""
        return None if self.layer == "last" else (self.layer,)
