"""The sizes that the accelerator is measured at, and the small ones that try the script itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DRY", "FULL", "Shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of everything a run of the script takes."""

    name: str
    users: int
    items: int
    layers: int
    dim: int
    bottleneck: int
    batch_sizes: tuple[int, ...]
    """Users of a step."""
    epochs: int
    """Of each training that is timed; the first of them warms up."""
    streamed_items: int
    """Of the catalogue that is streamed from its stores."""
    streamed_users: int
    streamed_ram: str
    """``--max-ram`` of that training."""
    backbone: str
    """Size of the backbones, a name of ``base_backbones.SIZES``; ``init-tiny`` for the smallest."""
    extracted_items: dict[str, int]
    """Items of each modality that extraction is timed with."""
    square: int
    """Rows of the matrices whose product gives the peak."""
    copied_bytes: int
    """Size of the copy that gives the bandwidth."""
    limited_bytes: int
    """Memory of a card that a step of all users does not fit into, but the hidden states do."""
    rounds: int
    """Repeats of what is timed; the median counts."""


FULL = Shape(
    name="MicroLens-100K",
    users=100_000,
    items=19_738,
    layers=7,
    dim=768,
    bottleneck=512,
    batch_sizes=(128, 512, 1024),
    epochs=3,
    streamed_items=1_000_000,
    streamed_users=77_000,
    streamed_ram="8GiB",
    backbone="base",
    extracted_items={"text": 8192, "image": 1024, "audio": 256, "video": 96},
    square=8192,
    copied_bytes=2**32,
    limited_bytes=3 * 2**30,
    rounds=20,
)
"""The paper's: four modalities, seven kept layers of 768 numbers."""

DRY = Shape(
    name="dry run",
    users=150,
    items=60,
    layers=2,
    dim=16,
    bottleneck=8,
    batch_sizes=(32, 64),
    epochs=2,
    streamed_items=240,
    streamed_users=40,
    streamed_ram="64MiB",
    backbone="init-tiny",
    extracted_items={"text": 8, "image": 6, "audio": 3, "video": 3},
    square=64,
    copied_bytes=2**16,
    limited_bytes=2**30,
    rounds=2,
)
"""Everything once, in seconds, on a CPU."""
