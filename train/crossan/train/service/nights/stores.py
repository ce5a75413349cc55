"""The stores of a dataset, read without NumPy: which there are, and their newest versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema import Manifest, Modality, StoreIdentity, parse_object
from crossan.cache_schema.errors import CrossanError, StoreNotFoundError, UsageError
from crossan.cache_schema.folder_names import folder_name
from crossan.cache_schema.manifest import version_name, version_number
from crossan.common.files import read_regular
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import StoreChoice

__all__ = ["StoreSighting", "choose", "stores_of", "stores_to_read"]


@dataclass(frozen=True, slots=True)
class StoreSighting:
    """A store as one look at it shows it."""

    path: Path
    identity: StoreIdentity
    version: int
    """The newest, 0 where nothing was written yet."""
    digest: str
    """That of the newest version's manifest, empty where there is none."""

    @property
    def modality(self) -> Modality:
        """Return whose hidden states it holds."""
        return self.identity.modality

    @property
    def fingerprint(self) -> str:
        """Return what tells it from every store of other numbers."""
        return self.identity.fingerprint


def stores_of(settings: ServiceSettings, dataset: str) -> list[StoreSighting]:
    """Return the stores that the cache holds of a dataset, in the order of modalities and paths.

    One that is damaged, or was written by a newer crossan, is left out.

    Parameters
    ----------
    settings
        The operator's.
    dataset
        The name that ``dataset.json`` has, by which the cache files its stores.
    """
    cache = Path(settings.cache).expanduser().absolute()
    sightings = []
    for modality in Modality:
        for folder in sorted((cache / folder_name(dataset) / modality.value).glob("*")):
            sighting = _look(folder)
            if sighting is not None and sighting.modality is modality:
                sightings.append(sighting)
    return sightings


def choose(choice: StoreChoice, settings: ServiceSettings, dataset: str) -> StoreSighting:
    """Return the store that a spec chooses.

    Raises
    ------
    StoreNotFoundError
        The cache holds no such store of the dataset, or not this version of it.
    UsageError
        Several stores have a fingerprint that begins so.
    """
    candidates = [one for one in stores_of(settings, dataset) if one.modality is choice.modality]
    matching = [one for one in candidates if one.fingerprint.startswith(choice.fingerprint)]
    if not matching:
        listed = ", ".join(one.fingerprint[:12] for one in candidates) or "none"
        raise StoreNotFoundError(
            f"stores: expected a store of {choice.modality} with the fingerprint"
            f" {choice.fingerprint[:12]}, found {listed}",
            remedy="Ask for the stores: GET /v1/stores",
        )
    if len(matching) > 1:
        raise UsageError(
            f"stores: {len(matching)} stores of {choice.modality} have a fingerprint that begins"
            f" with {choice.fingerprint}",
            remedy="Give more of its digits",
        )
    (store,) = matching
    if choice.version is not None and choice.version > store.version:
        raise StoreNotFoundError(
            f"stores: expected version {choice.version} of the {choice.modality} store"
            f" {store.fingerprint[:12]}, found {store.version} as the newest",
            remedy="Ask for the stores: GET /v1/stores",
        )
    return store


def stores_to_read(
    choices: Iterable[StoreChoice],
    modalities: Iterable[Modality] | None,
    settings: ServiceSettings,
    dataset: str,
) -> dict[Modality, tuple[StoreSighting, int]]:
    """Return the store and the version that a run reads of each modality.

    Parameters
    ----------
    choices
        What its spec chooses.
    modalities
        Those that it uses; None for all that the cache holds.
    settings, dataset
        As for `stores_of`.

    Raises
    ------
    StoreNotFoundError
        There is no store of a modality that is used.
    UsageError
        There are several, and the spec chooses none.
    """
    chosen = {choice.modality: choice for choice in choices}
    written = [one for one in stores_of(settings, dataset) if one.version]
    used = set(Modality if modalities is None else modalities)
    result: dict[Modality, tuple[StoreSighting, int]] = {}
    for modality in Modality:
        if modality not in used:
            continue
        if modality in chosen:
            store = choose(chosen[modality], settings, dataset)
            result[modality] = store, chosen[modality].version or store.version
            continue
        candidates = [one for one in written if one.modality is modality]
        if len(candidates) > 1:
            listed = ", ".join(one.fingerprint[:12] for one in candidates)
            raise UsageError(
                f"stores: {len(candidates)} stores of {modality} to choose from: {listed}",
                remedy=f"Choose one by 'stores' of the spec: modality {modality}, fingerprint"
                f" {candidates[0].fingerprint[:12]}",
            )
        if candidates:
            result[modality] = candidates[0], candidates[0].version
        elif modalities is not None:
            raise StoreNotFoundError(
                f"stores: expected a store of {modality} of the dataset {dataset}, found none",
                remedy=f"Begin a night with extract: {modality}",
            )
    return result


def _look(folder: Path) -> StoreSighting | None:
    try:
        where = str(folder / "store.json")
        identity = StoreIdentity.from_dict(
            parse_object(read_regular(folder, "store.json"), where), where
        )
        version = max(_versions(folder), default=0)
        digest = _digest(folder, version) if version else ""
    except (CrossanError, OSError):
        return None
    return StoreSighting(folder, identity, version, digest)


def _versions(folder: Path) -> list[int]:
    names = [path.name for path in (folder / "versions").iterdir()]
    numbers = [version_number(name) for name in names]
    return [number for number in numbers if number is not None]


def _digest(folder: Path, version: int) -> str:
    relative = f"versions/{version_name(version)}"
    where = str(folder / relative)
    return Manifest.from_dict(parse_object(read_regular(folder, relative), where), where).digest
