"""Any recipe on the built-in sample, in seconds: that it runs, not what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.modality import Modality
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder, require_writable
from crossan.train.recipes.extraction import run_step
from crossan.train.recipes.recipe import Recipe
from crossan.train.recipes.writing import default_settings

if TYPE_CHECKING:
    from crossan.common.config import Base

__all__ = ["Sample", "prepare_other_titles", "prepare_sample", "sample_base"]

_MARKERS = (".crossan-recipe-sample", "report.html")
"""Files that are written last: ours, and that of a demo."""
_OTHER_MARKER = ".crossan-recipe-other-titles"
"""The same for the second store of titles."""

_WIDTHS = ("model.bottleneck_dim", "model.rank")
_DIVISOR = 32
"""By how much adapters are narrower, so that the widths of a curve stay a curve."""
_SMALL: Mapping[str, object] = {
    "model.width": 16,
    "optimiser.lr": 3e-3,
    "optimiser.adapter_lr": 3e-3,
    "batch_size": 512,
    "max_epochs": 1,
    "patience": 1,
    "data.drop_items": True,
}
"""What the sample is trained with, but for settings that define the row."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Where the sample lies, laid out as ``crossan demo`` does."""

    folder: Path

    @property
    def dataset(self) -> Path:
        """Return the dataset folder."""
        return self.folder / "dataset"

    @property
    def backbones(self) -> Path:
        """Return the folder of the tiny backbones."""
        return self.folder / "backbones"

    @property
    def cache(self) -> Path:
        """Return the folder of stores."""
        return self.folder / "cache"

    @property
    def other_cache(self) -> Path:
        """Return a folder with another store of titles, for recipes of two."""
        return self.folder / "other-titles"

    def is_whole(self) -> bool:
        """Whether the sample and its stores were finished."""
        from crossan.common.stores import find_stores

        return any((self.folder / name).is_file() for name in _MARKERS) and all(
            find_stores(self.cache, "sample", modality) for modality in Modality
        )


def prepare_sample(folder: Path) -> Sample:
    """Write the sample, tiny backbones and its stores to a folder, what is there already not again.

    A folder of ``crossan demo`` serves as it is. The three commands are printed
    as they run; one that was interrupted goes on.

    Raises
    ------
    StepError
        A command ended badly.
    """
    sample = Sample(folder)
    if sample.is_whole():
        return sample
    require_writable(folder, f"--sample {folder}")
    make_folder(folder)
    dataset, cache, backbones = map(str, (sample.dataset, sample.cache, sample.backbones))
    if not (sample.dataset / "dataset.json").is_file():
        run_step(["crossan", "data", "sample", dataset])
    # An interruption leaves the folder alone, or with a part of the four in it.
    if not all((sample.backbones / modality.value).is_dir() for modality in Modality):
        run_step(["crossan", "backbones", "init-tiny", backbones])
    places = ["--dataset", dataset, "--cache", cache, "--backbone", backbones]
    run_step(["crossan-extract", "--modality", "all", *places])
    replace_durably(folder / _MARKERS[0], b"made by crossan recipe run --scale sample\n")
    return sample


def prepare_other_titles(sample: Sample) -> None:
    """Add a second store of titles to a sample, pooled otherwise, unless it is there.

    It lies in a cache of its own, as recipes of one store would have to choose otherwise.

    Raises
    ------
    StepError
        The command ended badly.
    """
    if (sample.folder / _OTHER_MARKER).is_file():
        return
    command = ["crossan-extract", "--modality", "text", "--dataset", str(sample.dataset)]
    command += ["--cache", str(sample.other_cache), "--backbone", str(sample.backbones)]
    run_step([*command, "--pooling", "mean"])
    replace_durably(sample.folder / _OTHER_MARKER, b"made by crossan recipe run --scale sample\n")


def sample_base(recipe: Recipe, sample: Sample) -> Base:
    """Return the settings that make a recipe small enough for the sample.

    Settings that define the row stay as they are, but for the width of adapters,
    which is divided by 32. Settings that its model does not read are left out. Backbones that
    are trained are those of the sample, and a recipe of two stores reads the sample's titles
    and `prepare_other_titles`.
    """
    from crossan.common.config import Base
    from crossan.common.stores import find_stores
    from crossan.train.settings.kinds import model_settings_classes
    from crossan.train.settings.unread import need_of

    fields = model_settings_classes()[recipe.kind].model_fields
    settings = default_settings(recipe)
    small: dict[str, object] = {
        name: value
        for name, value in _SMALL.items()
        if name not in recipe.defining
        and _is_of_kind(name, fields)
        and need_of(settings, name) is None
    }
    for name in _WIDTHS:
        width = recipe.settings.get(name)
        if isinstance(width, int):
            small[name] = max(width // _DIVISOR, 1)
    if recipe.reads_media:
        small |= {f"model.{name}": str(sample.backbones / name) for name in recipe.modality}
    if len(recipe.stores) > 1:
        titles = [
            store
            for cache in (sample.cache, sample.other_cache)
            for store in find_stores(cache, modality=Modality.TEXT)
        ]
        small["data.store"] = list(map(str, titles))
    return Base("--scale sample", small)


def _is_of_kind(name: str, fields: Mapping[str, object]) -> bool:
    group, _, last = name.rpartition(".")
    return group != "model" or last in fields
