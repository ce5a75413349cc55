"""``dataset.json``, parsed once into what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.publishing import TABLES_FOLDER
from crossan.common.foreign import read_json, require_shape

__all__ = ["FORMAT_VERSION", "Description", "read_description"]

FORMAT_VERSION = 1

_Text = Annotated[str, Field(max_length=4096)]


def _of_ours(name: object) -> object:
    if name is not None and not (isinstance(name, str) and TABLES_FOLDER.fullmatch(name)):
        raise ValueError("expected tables in a folder of ours")
    return name


class Description(BaseModel):
    """What ``dataset.json`` says.

    Fields that are not listed here are left alone.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: _Text
    source_format: _Text
    licence: _Text
    counts: dict[str, Annotated[int, Field(ge=0)]]
    """How many ``users``, ``items`` and ``interactions`` there were when it was written."""
    digest: _Text
    parts: dict[str, Annotated[int, Field(ge=0)]] | None = None
    """How many interactions its own split has put in each part; None without such a split."""
    tables: Annotated[str | None, BeforeValidator(_of_ours)] = None
    """Folder beside it with the tables of a write that was cut off."""


def read_description(path: Path) -> Description:
    """Read ``dataset.json``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is none.
    DataError
        It does not describe a dataset, or one of another format version.
    ResourceError
        The system refuses to read it.
    """
    fields: Any = read_json(path, DataError)
    # First, as another version may have other fields.
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise DataError(f"{path}: expected format version {FORMAT_VERSION}, found {version!r:.60}")
    return require_shape(fields, Description, str(path), DataError)
