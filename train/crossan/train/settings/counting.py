"""The settings of the kinds that count instead of learning, and of those that compare items."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.train.settings.models import ModelSettings

__all__ = [
    "BigramSettings",
    "ChainSettings",
    "CountingSettings",
    "HybridSettings",
    "ItemKnnSettings",
    "MarkovSettings",
    "TitleKnnSettings",
]


class CountingSettings(ModelSettings):
    """What the kinds without steps have, which is no more than their names."""

    is_trained_by_steps: ClassVar[bool] = False


class BigramSettings(CountingSettings):
    """The items that most often came right after the user's last one."""

    kind: Literal["bigram"] = "bigram"


class ChainSettings(CountingSettings):
    """What the kinds have that count what came soon after what."""

    decay: float = Field(default=0.5, gt=0, le=1)
    """What an item of a history counts beside the one that came after it."""

    window: int = Field(default=10, ge=1)
    """Items of a history that are read at most, the last ones."""

    gap_decay: float = Field(default=0.8, gt=0, le=1)
    """What an item of a training part counts, as a follower, beside the one before it."""

    reach: int = Field(default=10, ge=1)
    """Places at most between two items of a training part of which one follows the other."""


class MarkovSettings(ChainSettings):
    """The items that often came soon after the user's last ones, nearer ones counting more."""

    kind: Literal["markov"] = "markov"


class ItemKnnSettings(CountingSettings):
    """The items whose users are most like those of the history's items."""

    kind: Literal["item-knn"] = "item-knn"

    neighbours: int = Field(default=100, ge=1)
    """Items kept of each item, the most alike. Those that equal the last one are kept too."""

    shrinkage: float = Field(default=0.0, ge=0)
    """What is added to the denominator of the cosine, so that items of few users are less alike.
    0 is the plain cosine; 10 does better on the data that we know."""


class TitleKnnSettings(CountingSettings):
    """The items whose titles are most like those of the user's last items."""

    kind: Literal["title-knn"] = "title-knn"

    decay: float = Field(default=0.5, gt=0, le=1)
    """What an item of a history counts beside the one that came after it."""

    window: int = Field(default=10, ge=1)
    """Items of a history that are read at most, the last ones."""

    neighbours: int = Field(default=100, ge=1)
    """Items kept of each item, the most alike. Those that equal the last one are kept too."""

    characters: int | None = Field(default=None, ge=1)
    """Length of the runs of characters within words that titles are compared by, for languages
    without spaces between words. By default whole words are compared."""

    largest_share: float = Field(default=0.05, gt=0, le=1)
    """Share of the titles that a word may stand in to be compared, unless it stands in 100 or
    fewer. More common words say little and cost most of the time."""


class HybridSettings(CountingSettings):
    """A Markov chain, item-kNN and title-kNN together, each user's scores of one length."""

    kind: Literal["hybrid"] = "hybrid"

    markov_weight: float = Field(default=1.0, ge=0)
    """What the scores of ``markov`` count."""

    item_knn_weight: float = Field(default=1.0, ge=0)
    """What the scores of ``item-knn`` count."""

    title_weight: float = Field(default=1.0, ge=0)
    """What the scores of ``title-knn`` count. With 0 no titles are read."""

    shrinkage: float = Field(default=10.0, ge=0)
    """Shrinkage of ``item-knn``."""

    @model_validator(mode="after")
    def _some_part_counts(self) -> Self:
        if not (self.markov_weight or self.item_knn_weight or self.title_weight):
            raise ValueError("expected a weight above 0 for one part at least, got 0 for all")
        return self
