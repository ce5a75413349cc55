"""Reading ``--modality``."""

from __future__ import annotations

import difflib

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality

__all__ = ["ALL", "parse_modalities"]

ALL = "all"
"""What stands for every modality on the command line."""


def parse_modalities(text: str, option: str = "--modality") -> tuple[Modality, ...]:
    """Read ``"text,image"`` or ``"all"``.

    Parameters
    ----------
    text
        As it was typed.
    option
        How errors name it.

    Returns
    -------
    tuple[Modality, ...]
        In the fixed order of `Modality`, without repeats.

    Raises
    ------
    UsageError
        A name that is none of the four.
    """
    if text.strip() == ALL:
        return tuple(Modality)
    known = [modality.value for modality in Modality]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, [*known, ALL], n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UsageError(
                f"{option} {text}: expected {', '.join(known)} or all, got '{name}'{hint}"
            )
    return tuple(modality for modality in Modality if modality.value in names)
