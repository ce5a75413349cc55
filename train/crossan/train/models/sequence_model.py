"""Item vectors from content, ids or both, and a sequence encoder over them."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.features import Fetched, ItemInputs
from crossan.train.layers.id_embedding import ID_ROWS, IdEmbedding
from crossan.train.layers.sequence_encoder import EncoderForm, SequenceEncoder
from crossan.train.layers.tuned_encoder import TunedEncoder
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import HiddenStateSettings, SequenceSettings

__all__ = ["SequenceModel", "make_content_model", "make_sequence_encoder"]


class SequenceModel(nn.Module):
    """Score items by the dot product of a user vector and an item vector.

    With ``model.scores=cosine`` both have the length 1, by whichever way they are made, so the
    product is the cosine in training, evaluation, export and serving alike.

    Parameters
    ----------
    item_encoder
        From hidden states to item vectors; None where items are their ids alone.
    sequence_encoder
        From item vectors to user vectors.
    id_embedding
        A vector of its own for every item, added to the encoder's; None where items are their
        content alone.
    """

    def __init__(
        self,
        item_encoder: ItemEncoder | TunedEncoder | None,
        sequence_encoder: SequenceEncoder,
        id_embedding: IdEmbedding | None = None,
    ) -> None:
        super().__init__()
        if item_encoder is None and id_embedding is None:
            raise ValueError("expected an item encoder, an id embedding or both, got neither")
        self.item_encoder, self.sequence_encoder = item_encoder, sequence_encoder
        self.id_embedding = id_embedding

    def item_vectors(self, features: ItemInputs | Fetched, rows: Tensor) -> Tensor:
        """Return the item vectors of catalogue rows ``(any,)``, shape ``(any, width)``."""
        if self.item_encoder is None:
            return self._with_ids(None, rows)
        return self._with_ids(self.item_encoder(*features.gather(rows)), rows)

    def plain_item_vectors(self, features: ItemInputs | Fetched, rows: Tensor) -> Tensor:
        """Return the same by plain modules and autograd.

        This is the slow twin of `item_vectors`.
        """
        if self.item_encoder is None:
            return self._with_ids(None, rows)
        return self._with_ids(self.item_encoder.plain(*features.gather(rows)), rows)

    def catalogue_vectors(
        self, content_of: Callable[[ItemEncoder | TunedEncoder], Tensor]
    ) -> Tensor:
        """Return the item vectors of the whole catalogue, ``(items, width)``.

        Parameters
        ----------
        content_of
            Returns the content vectors, ``(items, width)``, by the encoder; not called where items
            have no content.
        """
        content = None if self.item_encoder is None else content_of(self.item_encoder)
        ids = None if self.id_embedding is None else self.id_embedding.everyone()
        return self._joined(content, ids)

    def parameter_groups(self) -> ParameterGroups:
        """Return the parameters by the learning rate they take."""
        encoder = self.item_encoder
        adapters = [] if encoder is None else encoder.adapter_parameters()
        text = [] if encoder is None else encoder.text_parameters()
        ids = [] if self.id_embedding is None else [*self.id_embedding.parameters()]
        grouped = {id(parameter) for parameter in (*adapters, *ids, *text)}
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        rest = [parameter for parameter in trained if id(parameter) not in grouped]
        return ParameterGroups(rest, adapters, ids, text)

    def item_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters that make item vectors, and nothing else."""
        makers = (self.item_encoder, self.id_embedding)
        of_each = (maker.parameters() for maker in makers if maker is not None)
        return [each for of_one in of_each for each in of_one if each.requires_grad]

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the weights that have a row for every catalogue item."""
        return () if self.id_embedding is None else (ID_ROWS,)

    def _with_ids(self, content: Tensor | None, rows: Tensor) -> Tensor:
        ids = None if self.id_embedding is None else self.id_embedding(rows)
        return self._joined(content, ids)

    def _joined(self, content: Tensor | None, ids: Tensor | None) -> Tensor:
        """Return item vectors of their two parts, of which one may be missing."""
        parts = [part for part in (content, ids) if part is not None]
        vectors = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        # What the encoder reads and what it is scored against are one table, so both have length 1.
        is_cosine = self.sequence_encoder.form.scores == "cosine"
        return F.normalize(vectors, dim=-1) if is_cosine else vectors


def make_sequence_encoder(
    settings: SequenceSettings, input_length: int, *, follows_iisan: bool = False
) -> SequenceEncoder:
    """Return the sequence encoder that settings describe, with random weights.

    ``follows_iisan`` draws and drops out as IISAN's code does.
    """
    return SequenceEncoder(
        settings.width,
        input_length,
        settings.blocks,
        settings.heads,
        settings.dropout,
        settings.activation,
        form=EncoderForm(settings.norm, settings.positions, settings.scores),
        follows_iisan=follows_iisan,
    )


def make_content_model(
    settings: HiddenStateSettings,
    context: ModelContext,
    item_encoder: ItemEncoder,
    *,
    follows_iisan: bool = False,
) -> SequenceModel:
    """Return a model of items by their content, with a vector per id where settings ask for it.

    Parameters
    ----------
    settings
        Those of the model.
    context
        What the model is built for.
    item_encoder
        From hidden states to item vectors.
    follows_iisan
        Whether the sequence encoder is as IISAN's code has it.
    """
    sequence_encoder = make_sequence_encoder(
        settings, context.input_length, follows_iisan=follows_iisan
    )
    # Drawn last: every other weight begins as it does without a vector per id.
    ids = None
    if settings.id_embedding:
        ids = IdEmbedding(context.is_trained(), settings.width, settings.id_dropout)
    return SequenceModel(item_encoder, sequence_encoder, ids)
