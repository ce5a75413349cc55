"""Reading, writing and checking feature stores.

Belongs here: everything that touches a store's files. Does not belong here:
computing hidden states (extract) and what is learned from them (train).
The names load on first use, so that ``crossan cache --help`` imports no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossan.common.stores.digest import logical_digest
    from crossan.common.stores.folders import create_store, find_stores, read_canary, store_folder
    from crossan.common.stores.integrity import fsck, verify
    from crossan.common.stores.journal import ItemRow, Journal
    from crossan.common.stores.reader import FeatureStore, open_store
    from crossan.common.stores.values import encode_rows

__all__ = [
    "FeatureStore",
    "ItemRow",
    "Journal",
    "create_store",
    "encode_rows",
    "find_stores",
    "fsck",
    "logical_digest",
    "open_store",
    "read_canary",
    "store_folder",
    "verify",
]

_HOME = {
    "FeatureStore": "reader",
    "ItemRow": "journal",
    "Journal": "journal",
    "create_store": "folders",
    "encode_rows": "values",
    "find_stores": "folders",
    "fsck": "integrity",
    "logical_digest": "digest",
    "open_store": "reader",
    "read_canary": "folders",
    "store_folder": "folders",
    "verify": "integrity",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
