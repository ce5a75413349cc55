"""The settings of the kinds that propagate vectors over a graph of users and items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.train.settings.models import LayersRead
from crossan.train.settings.triples import TripleSettings

__all__ = [
    "Bm3Settings",
    "FreedomSettings",
    "GraphSettings",
    "GrcnSettings",
    "LayerChoice",
    "MgcnSettings",
    "MhcrSettings",
    "MmgcnSettings",
    "Variant",
]

Variant = Literal["as-published", "as-written"]
"""What a model follows where the code of its authors and their paper differ."""

_PAPERS_ROUNDS = 3
"""Rounds of routing of GRCN."""

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

    def kept_layers(self) -> LayersRead:
        """Return which of a store's kept layers is read."""
        return "last" if self.layer == "last" else (self.layer,)


class FreedomSettings(GraphSettings):
    """A graph of users and items drawn anew each epoch, and a frozen one of items (FREEDOM)."""

    kind: Literal["freedom"] = "freedom"

    variant: Variant = "as-published"
    """as-published takes the mean over an item's nearest, and learns the features. as-written has
    neighbours both ways, normalised by the degrees of both, and leaves the features frozen."""

    hops: int = Field(default=2, ge=0)
    """Hops over the graph of users and items."""

    item_hops: int = Field(default=1, ge=1)
    """Hops over the graph of items."""

    neighbours: int = Field(default=10, ge=1)
    """Nearest items of each in the graph of items, itself among them."""

    image_weight: float = Field(default=0.1, ge=0.0, le=1.0)
    """Weight of the images in the graph of items, where there are other modalities, which share
    the rest alike."""

    pruned_share: float = Field(default=0.8, ge=0.0, lt=1.0)
    """Share of the pairs that an epoch leaves out; the paper searches 0.8 and 0.9."""

    content_weight: float = Field(default=1e-3, ge=0.0)
    """Weight of the losses of projected features; the paper searches 0 and 1e-5 to 1e-3."""


class Bm3Settings(GraphSettings):
    """Learn from pairs alone, by two views of each vector (BM3)."""

    kind: Literal["bm3"] = "bm3"

    variant: Variant = "as-published"
    """as-published adds the norm of all vectors, over the number of items. as-written adds the mean
    of the squared norms of the vectors in a batch."""

    hops: int = Field(default=2, ge=0)
    """Hops over the graph of users and items; the paper searches 1 and 2."""

    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Dropout of the second view of a vector; the paper searches 0.3 and 0.5."""

    norm_weight: float = Field(default=0.1, ge=0.0)
    """Weight of the norm; the paper searches 0.1 and 0.01."""

    content_weight: float = Field(default=2.0, ge=0.0)
    """Weight of the losses that bring the features' views together."""


class ViewSettings(GraphSettings):
    """What the kinds have that fuse a view of every modality."""

    run_defaults: ClassVar[Mapping[str, Any]] = {
        **GraphSettings.run_defaults,
        "optimiser.lr_decay": 0.96,
    }

    neighbours: int = Field(default=10, ge=1)
    """Items that each keeps as alike in a modality, itself among them."""

    item_hops: int = Field(default=1, ge=0)
    """Hops over the graph of alike items."""

    norm_weight: float = Field(default=1e-4, ge=0)
    """Weight of the squared lengths of a batch's vectors, half their sum by ``batch_size``."""

    contrast_weight: float = Field(default=0.01, ge=0)
    """Weight of the contrastive terms between the fused view and the graph of users and items."""


class MgcnSettings(ViewSettings):
    """Multi-view graph convolution, whose items are purified by their content (MGCN)."""

    kind: Literal["mgcn"] = "mgcn"

    variant: Variant = "as-published"
    """The contrastive terms compare with the vectors of the batch as published, with those of all
    users or all items as written."""

    hops: int = Field(default=2, ge=0)
    """Hops over the graph of users and items."""


class MhcrSettings(ViewSettings):
    """MGCN's views beside a hypergraph of each modality, learned with it (MHCR)."""

    kind: Literal["mhcr"] = "mhcr"

    variant: Variant = "as-published"
    """The score has the last hop over the graph as published, and the fused view of all modalities
    in its stead as written."""

    hops: int = Field(default=7, ge=0)
    """Hops over the graph of users and items."""

    hyperedges: int = Field(default=32, ge=1)
    """Hyperedges of each modality."""

    hyper_rounds: int = Field(default=4, ge=1)
    """Rounds from the items to the hyperedges and back."""

    hyper_temperature: float = Field(default=0.5, gt=0)
    """Temperature of the softmax over hyperedges."""

    hyper_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the ties to hyperedges that a step of training leaves out."""

    hyper_share: float = Field(default=0.05, ge=0)
    """Length of the hypergraph's part of a vector."""

    output_norm_weight: float = Field(default=0.1, ge=0)
    """Weight of the norms of both tables of vectors, by the number of items."""

    hyper_weight: float = Field(default=1e-5, ge=0)
    """Weight of the contrastive terms between the hypergraphs of two modalities."""

    rank_weight: float = Field(default=0.01, ge=0)
    """Weight of the agreement of sorted coordinates of hypergraph and view."""

    noise_at_evaluation: bool = False
    """Whether the ties to hyperedges have Gumbel noise outside training too, as the published code
    has it. It is drawn from ``seed``, once for all users; published, each batch has its own."""


class GrcnSettings(GraphSettings):
    """A graph whose edges content weighs (GRCN).

    Widths and rounds are those of its code.
    """

    kind: Literal["grcn"] = "grcn"

    variant: Variant = "as-published"
    """as-written routes from items to their users, as the paper does; the published code's routing
    changes nothing, and as-published has none."""

    content_width: int = Field(default=64, ge=1)
    """Width of the preferences of users and of projected hidden states, for each modality."""

    norm_weight: float = Field(default=1e-3, ge=0)
    """Weight of the squares of ids and preferences in the loss. MMRec searches 1e-5 to 0.1."""

    routing_rounds: int | None = Field(default=None, ge=1)
    """Rounds of routing, by default 3. Only as-written reads it."""

    @model_validator(mode="after")
    def _only_the_paper_routes(self) -> Self:
        if self.routing_rounds is not None and self.variant == "as-published":
            raise ValueError(
                "expected no routing_rounds with variant=as-published, whose routing changes"
                f" nothing, got {self.routing_rounds}; variant=as-written reads it"
            )
        return self

    @property
    def rounds(self) -> int:
        """Rounds of routing that are done."""
        if self.variant == "as-published":
            return 0
        return _PAPERS_ROUNDS if self.routing_rounds is None else self.routing_rounds


class MmgcnSettings(GraphSettings):
    """A tower of graph convolutions for each modality (MMGCN).

    Widths and layers are those of its code.
    """

    kind: Literal["mmgcn"] = "mmgcn"

    variant: Variant = "as-published"
    """as-written learns the vectors of users and ids, as the paper says; in the published code they
    are no parameters, and as-published leaves them at their random start."""

    combination: Literal["concat", "sum"] = "concat"
    """How a layer joins what comes from neighbours with a node's own vector: side by side through a
    linear layer, or as a sum. The published code has a switch for it that is always on concat."""

    visual_width: int = Field(default=256, ge=1)
    """Width that hidden states of images and videos are brought to before the first layer."""

    norm_weight: float = Field(default=1e-5, ge=0)
    """Weight of the squares of ids and visual preferences in the loss; as-published it changes no
    parameter. MMRec searches 0 and 1e-5 to 0.1."""
