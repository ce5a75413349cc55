"""What the lists of a form offer, each value with its text."""

from __future__ import annotations

from crossan.cache_schema.modality import Modality
from crossan.train.service.nights.datasets import dataset_names, places
from crossan.train.service.nights.stores import StoreSighting, stores_of
from crossan.train.service.server import Service

__all__ = ["MODALITIES", "Choices", "dataset_choices", "spec_choices", "store_choices"]

Choices = list[tuple[str, str]]
"""Values with their texts."""
MODALITIES: Choices = [(modality.value, modality.value) for modality in Modality]


def spec_choices(service: Service) -> dict[str, object]:
    """Return what the fields of a spec offer, as templates name it."""
    return {"datasets": dataset_choices(service), "stores": store_choices(service)}


def dataset_choices(service: Service) -> Choices:
    """Return the datasets that a spec may name."""
    return [(name, name) for name in dataset_names(service.settings)]


def store_choices(service: Service) -> list[tuple[str, Choices]]:
    """Return the stores that a spec may choose, by modality, without modalities that have none."""
    offered: dict[str, Choices] = {}
    for name, dataset in places(service.settings).items():
        for store in stores_of(service.settings, dataset.description.name):
            choice = (store.fingerprint, _text_of(name, store))
            offered.setdefault(store.modality.value, []).append(choice)
    return sorted(offered.items(), key=lambda one: MODALITIES.index((one[0], one[0])))


def _text_of(dataset: str, store: StoreSighting) -> str:
    backbone = store.identity.backbone.get("id") or store.path.name
    newest = f"newest version {store.version}" if store.version else "empty"
    return f"{dataset}: {backbone} {store.fingerprint[:12]}, {newest}"
