"""A store's layer as MMRec reads features: one float32 array, and who is in which row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.common.files import replace_durably
from crossan.common.stores.reader import FeatureStore

__all__ = ["export_mmrec"]


def export_mmrec(store: FeatureStore, out: Path, layer: int | None = None) -> list[Path]:
    """Write ``<modality>_feat.npy``, ``i_id_mapping.csv`` and ``<modality>_absent.txt``; return their paths.

    MMRec has no mask: items without hidden states are rows of zeros, named in the third file.

    Parameters
    ----------
    store
        Items become numbers in the order of its `item_ids`.
    out
        Folder; files there are replaced.
    layer
        Number of a kept layer; None for the last.

    Raises
    ------
    UsageError
        A layer that is not kept, or a mapping of other items lies in the folder.
    """
    layer = store.layers[-1] if layer is None else layer
    features = store.read(np.arange(len(store.item_ids)), [layer])[:, 0].astype(
        np.float32
    )  # (item, dim)
    features[~store.presence] = 0
    mapping = "item_id\titemID\n" + "".join(
        f"{item_id}\t{n}\n" for n, item_id in enumerate(store.item_ids)
    )
    out.mkdir(parents=True, exist_ok=True)
    names = out / "i_id_mapping.csv"
    if names.is_file() and names.read_text(encoding="utf-8") != mapping:
        raise UsageError(
            f"{names}: expected the {len(store.item_ids):,} items of {store.path}, found others",
            remedy="Choose another --out, or export stores of the same items into one folder.",
        )
    absent = store.item_ids[~store.presence].tolist()
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    modality = store.identity.modality.value
    files = {
        out / f"{modality}_feat.npy": buffer.getvalue(),
        names: mapping.encode(),
        out / f"{modality}_absent.txt": "".join(f"{item_id}\n" for item_id in absent).encode(),
    }
    for path, data in files.items():
        replace_durably(path, data)
    if absent:
        note(
            f"{len(absent):,} items without hidden states are rows of zeros: {out / f'{modality}_absent.txt'}"
        )
    return list(files)
