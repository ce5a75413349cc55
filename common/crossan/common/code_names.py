"""Code of the user's own that a setting names, as ``package.module:Name``.

A run folder may come from anybody, and its settings would choose what runs on
the machine of whoever opens it. So a name is only looked up where somebody at
this machine wants it: the object was passed in from Python, or its module is
listed in the variable ``CROSSAN_ALLOW_CODE``. Nothing is ever unpickled.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import MappingProxyType

from crossan.cache_schema.errors import ConfigError
from crossan.common.plugins import PLUGIN_ERRORS

__all__ = ["ALLOW_CODE", "code_name", "is_importable", "load_code", "names_code", "using_code"]

ALLOW_CODE = "CROSSAN_ALLOW_CODE"
"""Variable with the modules, parted by commas, whose code settings may name; a package stands for
all that is in it."""

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_<][\w.<>]*")
_USED: ContextVar[Mapping[str, object]] = ContextVar(
    "crossan_code_used", default=MappingProxyType({})
)


def names_code(name: str) -> bool:
    """Whether a name is that of code, and not one of a part that is installed."""
    return _NAME.fullmatch(name) is not None


def code_name(part: object) -> str:
    """Return the name that an object has in settings.

    Raises
    ------
    ConfigError
        It is neither a class nor a function nor bound to a name in its module.
    """
    # Of an entry in a table what tells its module is the function that it holds.
    module = getattr(getattr(part, "make", part), "__module__", None)
    name = getattr(part, "__qualname__", None)
    if name is None and module in sys.modules:
        named = vars(sys.modules[module])
        name = next((key for key, value in named.items() if value is part), None)
    full = f"{module}:{name}"
    if name is None or not names_code(full):
        raise ConfigError(
            f"expected a class, a function or an object that a module has a name for, got {part!r}",
            remedy="Bind it to a name at the top of a module",
        )
    return full


def is_importable(name: str, part: object) -> bool:
    """Whether another process finds the same object under the name."""
    module, _, path = name.partition(":")
    if module == "__main__" or "<" in path:
        return False
    try:
        return _resolve(module, path) is part
    except PLUGIN_ERRORS:
        return False


@contextmanager
def using_code(parts: Mapping[str, object]) -> Iterator[None]:
    """Have `load_code` give these objects under their names for the block."""
    token = _USED.set({**_USED.get(), **parts})
    try:
        yield
    finally:
        _USED.reset(token)


def load_code(name: str, setting: str) -> object:
    """Return the object of a name.

    Parameters
    ----------
    name
        One that `names_code`.
    setting
        Which setting names it, for errors, for example ``"model.fusion"``.

    Raises
    ------
    ConfigError
        Nobody here allowed its module, or it cannot be imported.
    """
    used = _USED.get()
    if name in used:
        return used[name]
    module, _, path = name.partition(":")
    if module == "__main__" or "<" in path:
        raise ConfigError(
            f"{setting}={name}: it was defined in a notebook, a script or a function, where nothing"
            " can import it from",
            remedy="Pass it from Python, crossan.api.open_run(RUN, fusion=...), or move it to a"
            " module and train again",
        )
    if not _is_allowed(module):
        raise ConfigError(
            f"{setting}={name}: expected leave to run code of the module {module}, found none:"
            " settings may come from anybody",
            remedy=f"Read that code, then allow it: {ALLOW_CODE}={module}",
        )
    try:
        return _resolve(module, path)
    except PLUGIN_ERRORS as error:
        raise ConfigError(
            f"{setting}={name}: could not be imported: {type(error).__name__}: {error}",
            remedy=f"Have Python find its folder: PYTHONPATH=FOLDER {ALLOW_CODE}={module}",
        ) from error


def _is_allowed(module: str) -> bool:
    allowed = [one.strip() for one in os.environ.get(ALLOW_CODE, "").split(",")]
    return any(one and f"{module}.".startswith(f"{one}.") for one in allowed)


def _resolve(module: str, path: str) -> object:
    part: object = import_module(module)
    for name in path.split("."):
        part = getattr(part, name)
    return part
