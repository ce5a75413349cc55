"""Specs that were checked a moment ago, so that a thousand runs of one kind cost one check."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.train.service.queue import Slots, Usage
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import RunSpec

__all__ = ["Checks"]

_SECONDS = 2.0
_MOST = 256
_UNCHECKED = {"label", "limits", "seed"}
"""Fields that the check of a spec does not look at."""


class Checks:
    """Checks specs at the door of one service.

    Parameters
    ----------
    settings
        The operator's.
    slots
        What runs share.
    """

    def __init__(self, settings: ServiceSettings, slots: Slots) -> None:
        self._settings = settings
        self._slots = slots
        self._passed: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def has_passed(self, spec: RunSpec) -> bool:
        """Return whether `require` would let a spec pass without a look at the disk."""
        limits = spec.limits
        part = Usage(limits.cpus, limits.memory_gib, limits.gpus)
        return self._slots.refusal_of(part) is None and self._has_passed(_key_of(spec))

    def require(self, spec: RunSpec) -> None:
        """Refuse a spec that names what does not exist, or more than there is.

        What passed two seconds ago passes again without a look at the disk. It is looked at once
        more when the run begins.

        Raises
        ------
        ConfigError
            It does.
        """
        # Not at the top: it takes every model's settings, which a server that starts need not load.
        from crossan.train.service.nights.checking import check_spec

        limits = spec.limits
        try:
            self._slots.require_room(Usage(limits.cpus, limits.memory_gib, limits.gpus))
            key = _key_of(spec)
            if not self._has_passed(key):
                check_spec(spec, self._settings)
                self._note(key)
        except ConfigError:
            raise
        except UsageError as error:
            # What is missing is named by the body, not by the address.
            raise ConfigError(error.message, remedy=error.remedy) from error

    def _has_passed(self, key: str) -> bool:
        with self._lock:
            return self._passed.get(key, 0.0) > time.monotonic()

    def _note(self, key: str) -> None:
        with self._lock:
            self._passed[key] = time.monotonic() + _SECONDS
            while len(self._passed) > _MOST:
                self._passed.popitem(last=False)


def _key_of(spec: RunSpec) -> str:
    return f"{type(spec).__name__} {spec.model_dump_json(exclude=_UNCHECKED)}"
