"""Make the sample's items, each about one topic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ITEMS_PER_TOPIC", "TOPIC_COUNT", "SampleItem", "make_items"]

ITEMS_PER_TOPIC = 25
_COLD_PER_TOPIC = 7
_WORDS = (
    "harbour sailing anchor tide lighthouse rope deck regatta",
    "sourdough oven flour crust baker rolling yeast bread",
    "goalkeeper penalty striker stadium league derby header pitch",
    "violin orchestra sonata conductor strings quartet cello recital",
    "telescope nebula comet orbit galaxy eclipse crater meteor",
    "puppy kitten leash whiskers paws collar vet adoption",
    "carburettor gearbox turbo drift exhaust clutch rally piston",
    "orchid compost seedling pruning greenhouse trellis mulch blossom",
    "glacier summit rope crevasse basecamp ridge avalanche climber",
    "lipstick mascara eyeliner contour palette blush foundation serum",
    "chess gambit checkmate bishop endgame castling rook opening",
    "pottery kiln glaze clay wheel ceramic vase porcelain",
)
_FILLERS = (
    "the",
    "my",
    "a",
    "best",
    "how",
    "to",
    "with",
    "day",
    "one",
    "this",
    "and",
    "new",
    "for",
    "today",
)
TOPIC_COUNT = len(_WORDS)

_RARE = {"title": 3, "image": 8, "video": 8}
"""Items without this modality."""
_BROKEN = 2
"""Files of each kind that are cut short or empty, below the default --max-bad of 1 %."""


@dataclass(frozen=True, slots=True)
class SampleItem:
    """One item before its media are written."""

    number: int
    """Its position in the catalogue."""
    topic: int
    is_cold: bool
    """Held out of every training part."""
    title: str | None
    has_image: bool
    has_video: bool
    has_sound_file: bool
    """Whether it has a sound file of its own; else its video's sound track serves."""
    has_sound_track: bool
    broken: frozenset[str]
    """Kinds of its files that are damaged."""

    @property
    def item_id(self) -> str:
        """The item id, for example ``i042``."""
        return f"i{self.number:03d}"


def make_items(seed: int) -> list[SampleItem]:
    """Return the sample's items.

    Topics are dealt out in turn, so neighbours in the catalogue differ.
    """
    random = np.random.default_rng([seed, 0])
    count = TOPIC_COUNT * ITEMS_PER_TOPIC
    lacking = {
        kind: set(random.choice(count, size, replace=False).tolist())
        for kind, size in _RARE.items()
    }
    # These have no sound file, and are heard through their video.
    shared = set(random.choice(count, count // 4, replace=False).tolist())
    # Only items that have every file are damaged, so that each fault costs one modality.
    incomplete = shared.union(*lacking.values())
    whole = [number for number in range(count) if number not in incomplete]
    damaged = random.choice(whole, 3 * _BROKEN, replace=False).tolist()
    broken = {
        kind: set(damaged[start : start + _BROKEN])
        for kind, start in (("image", 0), ("video", _BROKEN), ("audio", 2 * _BROKEN))
    }
    return [
        SampleItem(
            number=number,
            topic=number % TOPIC_COUNT,
            is_cold=number // TOPIC_COUNT >= ITEMS_PER_TOPIC - _COLD_PER_TOPIC,
            title=None if number in lacking["title"] else _title(number % TOPIC_COUNT, random),
            has_image=number not in lacking["image"],
            has_video=number not in lacking["video"],
            has_sound_file=number not in shared,
            has_sound_track=bool(random.random() < 0.8),
            broken=frozenset(kind for kind, items in broken.items() if number in items),
        )
        for number in range(count)
    ]


def _title(topic: int, random: np.random.Generator) -> str:
    words = random.choice(_WORDS[topic].split(), 4, replace=False).tolist()
    fillers = random.choice(_FILLERS, 2, replace=False).tolist()
    text = " ".join(random.permutation(words + fillers).tolist())
    return text.capitalize()
