"""The command that extracts what the stores of a run lack, with the options of those stores."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from crossan.cache_schema.identity import StoreIdentity
from crossan.common.stores import FeatureStore
from crossan.train.settings import DataSettings
from crossan.train.settings.tower import Tower, modality_of

__all__ = ["extract_command"]

_LOCAL = "local/"
"""Begins the id of a checkpoint that was given as a folder, whose path no store records."""

_DEFAULTS = {"--dtype": "float32", "--stored-dtype": "float16", "--codec": "raw"}


def extract_command(
    modalities: Iterable[Tower],
    data: DataSettings,
    stores: Mapping[Tower, FeatureStore] | None = None,
) -> str:
    """Return the command that extracts some modalities into a run's cache.

    With other options than a store was made with, its extraction would begin
    another store, which the run does not read. So each store's options are given,
    in a command of its own.

    Parameters
    ----------
    modalities
        What to extract.
    data
        Names the dataset and the cache.
    stores
        The run's, by modality. The options of a modality without one are the
        defaults.
    """
    known = stores or {}
    modalities = list(modalities)
    unknown = [modality_of(one).value for one in modalities if one not in known]
    where = ["--dataset", str(data.dataset), "--cache", str(data.cache)]
    commands = [["crossan-extract", "--modality", ",".join(unknown), *where]] if unknown else []
    commands += [_command(known[modality], where) for modality in modalities if modality in known]
    return " && ".join(map(shlex.join, commands))


def _command(store: FeatureStore, where: list[str]) -> list[str]:
    identity, modality = store.identity, ["--modality", store.identity.modality.value]
    if identity.inputs.get("imported"):
        name = store.path.absolute().parents[1].name
        command = ["crossan", "cache", "import", "SRC", "--format", "FORMAT", *modality]
        command += ["--dataset", name, *where[2:], "--backbone", str(identity.backbone.get("id"))]
        return [*command, *_layers(identity), *_unless_default(identity, "--stored-dtype")]
    return ["crossan-extract", *modality, *where, *_extract_options(identity)]


def _extract_options(identity: StoreIdentity) -> list[str]:
    backbone, inputs, capture = identity.backbone, identity.inputs, identity.capture
    options = []
    # A store may come from elsewhere, so none of these is sure to be there.
    if isinstance(name := backbone.get("id"), str):
        is_local = name.startswith(_LOCAL)
        options += ["--backbone", "FOLDER" if is_local else name]
        if not is_local and isinstance(revision := backbone.get("revision"), str):
            options += ["--revision", revision]
    options += _layers(identity)
    if isinstance(pooling := capture.get("pooling"), str):
        options += ["--pooling", pooling]
    if isinstance(max_length := inputs.get("max_length"), int):
        options += ["--max-length", str(max_length)]
    if "clip_kept_as" in inputs:
        options += ["--clips", "FOLDER"]
    return [*options, *_unless_default(identity, *_DEFAULTS)]


def _layers(identity: StoreIdentity) -> list[str]:
    return ["--layers", ",".join(map(str, identity.layers))]


def _unless_default(identity: StoreIdentity, *names: str) -> list[str]:
    values = {
        "--dtype": identity.capture.get("compute_dtype"),
        "--stored-dtype": identity.stored_dtype,
        "--codec": identity.codec,
    }
    options = []
    for name in names:
        if isinstance(value := values[name], str) and value != _DEFAULTS[name]:
            options += [name, value]
    return options
