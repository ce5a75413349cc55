"""The names of the folders that a cache has for its datasets and backbones."""

from __future__ import annotations

import re

from crossan.cache_schema.canonical import sha256_hex

__all__ = ["folder_name"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 80


def folder_name(text: str) -> str:
    """Return the name of the folder for a name that may be any text.

    Names are cut to letters, digits, dot, hyphen and underscore. A name that had to be
    changed ends in the start of its own digest, so two names never meet.
    """
    safe = _UNSAFE.sub("-", text).strip(".-")[:_LONGEST_NAME]
    return safe if safe == text and safe else f"{safe or 'name'}-{sha256_hex(text.encode())[:8]}"
