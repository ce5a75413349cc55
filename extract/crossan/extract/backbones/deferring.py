"""Put off the import of a module of which another one only takes functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["deferred"]


class _StandIn(ModuleType):
    """A module that imports the real one once a function of it is called."""

    def __init__(self, name: str, function_names: tuple[str, ...]) -> None:
        super().__init__(name)
        for function_name in function_names:
            setattr(self, function_name, _late(name, function_name))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
        # Python itself looks for special names, which no module has to have.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_imported(self.__name__), name)


@contextmanager
def deferred(module: str, *function_names: str) -> Iterator[None]:
    """Let ``from MODULE import FUNCTION`` in the block import nothing.

    The functions do what they always do, and import their module when they are first
    called. Any other name is imported at once. A module that is loaded already is left
    alone, and after the block it is imported as ever.
    """
    if module in sys.modules:
        yield
        return
    stand_in = _StandIn(module, function_names)
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(module) is stand_in:
            del sys.modules[module]


def _late(module: str, name: str) -> Callable[..., Any]:
    def late(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the real one's
        return getattr(_imported(module), name)(*args, **kwargs)

    late.__name__ = late.__qualname__ = name
    late.__module__ = module
    return late


def _imported(module: str) -> ModuleType:
    if isinstance(sys.modules.get(module), _StandIn):
        del sys.modules[module]
    return import_module(module)
