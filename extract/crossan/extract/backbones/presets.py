"""The backbones that can be given by a short name.

They are the paper's four, and a video backbone that is free for commercial use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.checkpoint_files import check_folder

__all__ = ["PRESETS", "Preset", "default_preset", "find_preset", "resolve"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One published checkpoint and what its licence allows."""

    name: str
    modality: Modality
    hub_id: str
    family: str
    licence: str
    """As its model card states."""
    is_commercial: bool
    """Whether the licence allows commercial use."""
    is_default: bool
    revision: str
    """A commit of the hub repository, or a ref where no commit of its main branch will do.

    Pinned, so that teammates get the same fingerprint.
    """
    note: str


PRESETS = (
    Preset(
        "bert-base",
        Modality.TEXT,
        "google-bert/bert-base-uncased",
        "bert",
        "Apache-2.0",
        True,
        True,
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        "the paper's",
    ),
    Preset(
        "vit-base",
        Modality.IMAGE,
        "google/vit-base-patch16-224",
        "vit",
        "Apache-2.0",
        True,
        True,
        "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        "the paper's",
    ),
    Preset(
        "ast",
        Modality.AUDIO,
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "audio-spectrogram-transformer",
        "BSD-3-Clause",
        True,
        True,
        "f826b80d28226b62986cc218e5cec390b1096902",
        "the paper's",
    ),
    Preset(
        "videomae-base",
        Modality.VIDEO,
        "MCG-NJU/videomae-base",
        "videomae",
        "CC-BY-NC-4.0",
        False,
        True,
        "dc740ceda42fce44faed2ea03c6d447db72f6af9",
        "the paper's; not for commercial use: take vivit-base",
    ),
    Preset(
        "vivit-base",
        Modality.VIDEO,
        "google/vivit-b-16x2-kinetics400",
        "vivit",
        "MIT",
        True,
        False,
        # The main branch has pickled weights only, which we never load; this ref adds safetensors.
        "refs/pr/3",
        "32 frames; free for commercial use",
    ),
)
"""Every backbone that can be given by a name; any other is given by hub id or folder."""


def resolve(source: str, revision: str | None) -> tuple[str, str | None]:
    """Return the hub id or folder, and the revision, that ``--backbone`` means.

    A preset fills in its hub id and its pinned revision. An existing folder of
    the same name wins over a preset.
    """
    preset = None if check_folder(Path(source)) else find_preset(source)
    if preset is None:
        return source, revision
    return preset.hub_id, revision or preset.revision


def default_preset(modality: Modality) -> Preset:
    """Return the paper's backbone of a modality."""
    return next(preset for preset in PRESETS if preset.modality is modality and preset.is_default)


def find_preset(name: str) -> Preset | None:
    """Return the preset of this name or hub id, None for any other backbone."""
    return next((preset for preset in PRESETS if name in {preset.name, preset.hub_id}), None)
