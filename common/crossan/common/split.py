"""Which rule parts a dataset into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LEAVE_LAST_OUT", "RefitScope", "Split", "SplitName", "TrainedOn"]

SplitName = Literal["leave-last-out", "mmrec-random", "fixed"]
"""leave-last-out holds out each user's last two items by time, as the paper does; mmrec-random
holds out some of each user's items at random, as MMRec does; fixed holds out what the publisher of
the dataset did, whose files say it."""

RefitScope = Literal["validation", "all"]
"""What a refit trains on beside the training parts: the validation items, or all that is held out."""

TrainedOn = Literal["none", "validation", "all"]
"""The same of any run, where none stands for one that is no refit."""


@dataclass(frozen=True, slots=True)
class Split:
    """A rule with what it needs to be repeated."""

    name: SplitName = "leave-last-out"

    seed: int = 0
    """Of ``mmrec-random`` alone."""

    @property
    def is_random(self) -> bool:
        """Whether the held-out items are drawn, so that some are older than those trained on."""
        return self.name == "mmrec-random"

    @property
    def is_by_time(self) -> bool:
        """Whether each user has one target in each part, and all else is older.

        Of the other splits all items are kept, a user may have several targets or
        none, and no target is part of a history.
        """
        return self.name == "leave-last-out"

    def facts(self) -> dict[str, int | str | None]:
        """Return ``split`` and ``split_seed`` as ``result.json`` has them."""
        return {"split": self.name, "split_seed": self.seed if self.is_random else None}


LEAVE_LAST_OUT = Split()
"""The paper's."""
