"""What extraction and training share: stores, datasets, settings, console, the ``crossan`` command.

Nothing here decodes media or runs a backbone. `open_store` is the way in for
other programs, without torch: see ``docs/howto/share-a-store.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["FeatureStore", "open_store"]

if TYPE_CHECKING:
    from crossan.common.stores import FeatureStore, open_store


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crossan.common import stores  # not at once: the commands' --help needs none of it

    return getattr(stores, name)
