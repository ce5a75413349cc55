"""Backbones by name: the paper's four, and a video backbone free for commercial use."""

from __future__ import annotations

from dataclasses import dataclass

from crossan.cache_schema.modality import Modality

__all__ = ["PRESETS", "Preset", "default_preset", "find_preset"]


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
    note: str


PRESETS = (
    Preset(
        "bert-base", Modality.TEXT, "google-bert/bert-base-uncased", "bert", "Apache-2.0", True, True, "the paper's"
    ),
    Preset("vit-base", Modality.IMAGE, "google/vit-base-patch16-224", "vit", "Apache-2.0", True, True, "the paper's"),
    Preset(
        "ast",
        Modality.AUDIO,
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "audio-spectrogram-transformer",
        "BSD-3-Clause",
        True,
        True,
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
        "32 frames; free for commercial use",
    ),
)
"""Every backbone that has a name of its own here; any other is given by hub id or folder."""


def default_preset(modality: Modality) -> Preset:
    """Return the paper's backbone of a modality."""
    return next(preset for preset in PRESETS if preset.modality is modality and preset.is_default)


def find_preset(name: str) -> Preset | None:
    """Return the preset of this name or hub id, None where there is none."""
    return next((preset for preset in PRESETS if name in {preset.name, preset.hub_id}), None)
