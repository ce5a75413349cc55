"""The settings of the kinds that count instead of learning, and of those that compare items."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from crossan.train.settings.models import ModelSettings

__all__ = ["BigramSettings", "CountingSettings", "ItemKnnSettings", "MarkovSettings"]


class CountingSettings(ModelSettings):
    """What the kinds without steps have, which is no more than their names."""

    is_trained_by_steps: ClassVar[bool] = False


class BigramSettings(CountingSettings):
    """The items that most often came right after the user's last one."""

    kind: Literal["bigram"] = "bigram"


class MarkovSettings(CountingSettings):
    """The items that often came soon after the user's last ones, nearer ones counting more."""

    kind: Literal["markov"] = "markov"

    decay: float = Field(default=0.5, gt=0, le=1)
    """What an item of a history counts beside the one that came after it."""

    window: int = Field(default=10, ge=1)
    """Items of a history that are read at most, the last ones."""

    gap_decay: float = Field(default=0.8, gt=0, le=1)
    """What an item of a training part counts, as a follower, beside the one before it."""

    reach: int = Field(default=10, ge=1)
    """Places at most between two items of a training part of which one follows the other."""


class ItemKnnSettings(CountingSettings):
    """The items whose users are most like those of the history's items."""

    kind: Literal["item-knn"] = "item-knn"

    neighbours: int = Field(default=100, ge=1)
    """Items kept of each item, the most alike. Those that equal the last one are kept too."""

    shrinkage: float = Field(default=0.0, ge=0)
    """What is added to the denominator of the cosine, so that items of few users are less alike.
    0 is the plain cosine; 10 does better on the data that we know."""
