"""One row of a table or figure, as a run that can be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DATASETS", "LEAVE_LAST_OUT", "PaperDataset", "Recipe", "StoreSource"]

LEAVE_LAST_OUT = "leave-last-out"
"""The paper's split, and the default of ``data.split``."""
_MICROLENS = "https://github.com/westlake-repl/MicroLens (no redistribution)"
_IISAN = "https://github.com/GAIR-Lab/IISAN (no licence stated)"


@dataclass(frozen=True, slots=True)
class PaperDataset:
    """One of the datasets of Table 2, or another that rows are measured on."""

    key: str
    """How names of recipes spell it."""

    title: str

    users: int

    published: tuple[int, int, int]
    """Users, items and interactions of the published files."""

    kept: tuple[int, int, int] | None
    """The same of what the protocol keeps of them, the last 13 items of each user; None where
    nobody has counted."""

    published_at: str = _MICROLENS
    """Where the files are published, and what may be done with them."""

    def is_told_by(self, counts: Mapping[str, int]) -> bool:
        """Whether a dataset folder with these counts holds it, published or cut to the protocol."""
        dataset_counts = tuple(counts.get(what) for what in ("users", "items", "interactions"))
        return dataset_counts in {self.published, self.kept}


DATASETS = {
    dataset.key: dataset
    for dataset in (
        # Table 2 counts this one before the protocol cuts sequences, and the next one after.
        PaperDataset("100k", "MicroLens-100K", 100_000, (100_000, 19_738, 719_405), None),
        PaperDataset(
            "50k", "MicroLens-50K", 50_000, (50_000, 19_220, 359_708), (50_000, 19_099, 339_511)
        ),
        # Not of the paper: what was chosen on MicroLens-50K is tried on it, unchanged.
        PaperDataset(
            "sci",
            "Amazon Scientific",
            12_076,
            (12_076, 20_825, 85_211),
            (12_076, 20_314, 81_711),
            _IISAN,
        ),
    )
}
"""The datasets that rows are of, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSource:
    """A store that a row reads in place of one by the paper's backbone."""

    modality: str
    """What its features are of."""

    backbone: str
    """Id on the Hugging Face hub, or the name that ``crossan cache import`` gave it. A checkpoint
    from a folder counts as it where all below is the same."""

    licence: str

    layers: tuple[int, ...]
    """Numbers of the hidden states that it keeps."""

    dim: int
    """Width of a hidden state."""

    pooling: str | None
    """How hidden states are pooled, None where they were imported."""

    made_by: str | None
    """The command that makes it, with ``{dataset}`` and ``{cache}``. None for ``crossan-extract``
    with the backbone, the layers and the pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A row: what to train, on what, and what the paper says comes of it."""

    name: str
    """For example ``table3/100k-TIVA``."""

    title: str
    """What its table is about."""

    source: str
    """Where the figure stands: table, dataset and row."""

    row: str
    """The row as its source prints it."""

    model: str
    """What is trained, in words."""

    kind: str
    """``model.kind``."""

    dataset: PaperDataset

    modality: tuple[str, ...]
    """Modalities that it reads, none for a model without content."""

    reads_media: bool
    """Whether it reads titles and media themselves, by backbones that it trains."""

    protocol: str
    """``data.split``."""

    settings: Mapping[str, object]
    """Settings by dotted name. What is not here is the default."""

    defining: frozenset[str]
    """Names of the settings without which it would be another row."""

    is_trained: bool
    """Whether weights are learned, so that the seed matters."""

    searched: Mapping[str, object]
    """What its authors search, by dotted name: a list of values, or a range as a plan of a sweep has
    it. Empty for the search space of section 5."""

    figures: Mapping[str, float]
    """Figures by name (``hr@10``, ``mutual_information``, ``seconds``, ``gpu_mb``,
    ``parameters``), empty where the source prints none."""

    is_ours: bool
    """Whether the figures are our own measurements and not the paper's."""

    title_tokens: int | None
    """Tokens that titles are cut to when features are extracted, None for the tokenizer's own
    limit."""

    stores: tuple[StoreSource, ...]
    """The stores that it reads, empty for those of the paper's backbones."""

    of: tuple[str, ...]
    """Recipes whose runs it is made of, by name, empty for a row that is trained by itself. One
    that stands here twice has two runs, the second by the next seed."""

    refits: str | None
    """Name of the recipe whose run is trained again on the validation items, None for a row that
    is judged as it was trained."""

    same_run: str | None
    """Name of the recipe with the same settings, None where there is none before it."""

    curve: str | None
    """Name of the curve that it is a point of, None for a row of a table."""

    notes: tuple[str, ...]
    """What to know of the figure or the settings."""
