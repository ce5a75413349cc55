"""Settings from files, the environment and flags into one checked, frozen object.

What belongs here: merging the sources of settings, checking names and values
with errors that say who gave them, and writing settings back. What does not:
any setting itself.

Precedence, lowest first: defaults, a recipe, TOML files in order, ``CROSSAN_*``
variables (``CROSSAN_MODEL__TOP_K=3`` sets ``model.top_k``), flags and ``--set key=value``.
An unknown name is an error that gives the nearest known one, and all problems
are reported at once.
"""

from crossan.common.config.base import Kinds, OneOf, Settings
from crossan.common.config.comparing import settings_differences
from crossan.common.config.groups import Group, group_of
from crossan.common.config.listing import Setting, settings_in
from crossan.common.config.loading import load_settings, settings_with
from crossan.common.config.nearest import nearest
from crossan.common.config.sources import Base, FlagValue
from crossan.common.config.writing import dotted, to_toml, toml_value

__all__ = [
    "Base",
    "FlagValue",
    "Group",
    "Kinds",
    "OneOf",
    "Setting",
    "Settings",
    "dotted",
    "group_of",
    "load_settings",
    "nearest",
    "settings_differences",
    "settings_in",
    "settings_with",
    "to_toml",
    "toml_value",
]
