"""Exporting a store's layer as MMRec reads features.

MMRec reads one float32 array, and a table that says which item is in which row.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.common.files import replace_durably
from crossan.common.outputs import require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder
from crossan.common.stores.reader import FeatureStore

__all__ = ["export_mmrec"]


def export_mmrec(store: FeatureStore, out: Path, layer: int | None = None) -> list[Path]:
    """Write the three files of an export and return their paths.

    They are ``<modality>_feat.npy``, ``i_id_mapping.csv`` and ``<modality>_absent.txt``.
    MMRec has no mask, so items without hidden states become rows of zeros. The third
    file names them.

    Parameters
    ----------
    store
        Items become numbers in the order of its `item_ids`.
    out
        Folder; files of an earlier export are replaced.
    layer
        Number of a kept layer; None for the last.

    Raises
    ------
    UsageError
        A layer that is not kept, or a folder that holds a mapping of other items, features
        that no export wrote, or a dataset, store or run.
    """
    layer = store.layers[-1] if layer is None else layer
    rows = np.arange(len(store.item_ids))
    features = store.read(rows, [layer])[:, 0].astype(np.float32)  # (item, dim)
    features[~store.presence] = 0
    mapping = "item_id\titemID\n" + "".join(
        f"{item_id}\t{n}\n" for n, item_id in enumerate(store.item_ids)
    )
    require_outside_of_ours(out, f"--out {out}")
    modality = store.identity.modality.value
    feature_file, absent_file = out / f"{modality}_feat.npy", out / f"{modality}_absent.txt"
    # Features of MMRec itself have the same name, but no list of absent items beside them.
    is_ours = absent_file.exists()
    require_replaceable(feature_file, lambda _: is_ours, f"--out {out}")
    for path in (absent_file, out / "i_id_mapping.csv"):
        require_replaceable(path, lambda _: True, f"--out {out}")
    make_folder(out)
    mapping_file = out / "i_id_mapping.csv"
    # Exports of several modalities share the mapping, so all must be of the same items.
    if mapping_file.is_file() and mapping_file.read_text(encoding="utf-8") != mapping:
        raise UsageError(
            f"{mapping_file}: expected the {len(store.item_ids):,} items of {store.path}, "
            "found others",
            remedy="Choose another --out, or export stores of the same items into one folder",
        )
    absent = store.item_ids[~store.presence].tolist()
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    # The list of absent items first: it tells an export that was cut off from foreign features.
    replace_durably(absent_file, "".join(f"{item_id}\n" for item_id in absent).encode())
    replace_durably(mapping_file, mapping.encode())
    replace_durably(feature_file, buffer.getvalue())
    if absent:
        note(f"{len(absent):,} items without hidden states are rows of zeros: {absent_file}")
    return [feature_file, mapping_file, absent_file]
