"""What a checkpoint's ``tokenizer_config.json`` says of its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.checkpoint_files import read_object
from crossan.extract.backbones.library import first_fault, transformers

__all__ = ["TOKENIZER_CONFIG", "TokenizerSettings", "is_read_by", "read_settings", "unread"]

TOKENIZER_CONFIG = "tokenizer_config.json"

_IN_PYTHON = ("RoFormerTokenizer", "RoFormerTokenizerFast")
"""Classes that split words in Python, of which their ``tokenizer.json`` says nothing."""

_BESIDE = ("special_tokens_map.json", "added_tokens.json")
"""Files that transformers reads together with ``tokenizer_config.json``."""


class AddedToken(BaseModel):
    """A token of ``added_tokens_decoder``."""

    content: str


class TokenizerSettings(BaseModel):
    """What is read of the file.

    Of other entries no notice is taken.
    """

    model_config = ConfigDict(strict=True)

    tokenizer_class: str | None = None
    model_max_length: int | float | None = Field(default=None, gt=0)
    truncation_side: Literal["left", "right"] = "right"
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    do_basic_tokenize: bool | None = None
    never_split: list[str] | None = None
    word_tokenizer_type: str | None = None
    subword_tokenizer_type: str | None = None
    auto_map: dict[str, Any] | list[Any] | None = None
    added_tokens_decoder: dict[str, AddedToken] = {}


def read_settings(
    folder: Path,
    model_class: Any,  # noqa: ANN401 - JSON
    remedy: str,
) -> TokenizerSettings:
    """Read the settings of a folder's tokenizer.

    Parameters
    ----------
    model_class
        ``tokenizer_class`` of ``config.json``, for where the settings name none.

    Raises
    ------
    UsageError
        The file, or one that is read with it, is damaged or says what cannot be.
    """
    for name in _BESIDE:
        read_object(folder / name, remedy)
    content = read_object(folder / TOKENIZER_CONFIG, remedy) or {}
    try:
        settings = TokenizerSettings.model_validate(content)
    except ValidationError as error:
        raise UsageError(
            f"{folder / TOKENIZER_CONFIG}: {first_fault(error)}", remedy=remedy
        ) from None
    if settings.tokenizer_class is not None:
        return settings
    # Code beside the weights is never run: a class that only it has is refused by its name.
    mapped = settings.auto_map
    remote = mapped.get("AutoTokenizer") if isinstance(mapped, dict) else mapped
    named = next((part for part in remote if part), None) if isinstance(remote, list) else remote
    declared = model_class if isinstance(model_class, str) else named and str(named)
    return settings.model_copy(update={"tokenizer_class": declared})


def is_read_by(folder: Path, settings: TokenizerSettings, own: type) -> bool:
    """Return whether the family's own class reads the declared tokenizer.

    Raises
    ------
    UsageError
        The declared class does more in Python than its ``tokenizer.json`` says, or is unknown.
    """
    name = settings.tokenizer_class
    # Names with "Fast" are those of earlier releases for the same classes.
    declared = own if name is None else _class_of(name) or _class_of(name.removesuffix("Fast"))
    fast: type = transformers.PreTrainedTokenizerFast
    is_analysed = settings.word_tokenizer_type or settings.subword_tokenizer_type
    if declared is None or not issubclass(declared, fast) or is_analysed or name in _IN_PYTHON:
        raise unread(folder, settings, own)
    return issubclass(declared, own)


def _class_of(name: str) -> type | None:
    # Only names of tokenizers: any other attribute of transformers is none of a checkpoint's.
    if not name.isidentifier() or "Tokenizer" not in name:
        return None
    declared = getattr(transformers, name, None)
    return declared if isinstance(declared, type) else None


def unread(folder: Path, settings: TokenizerSettings, own: Any) -> UsageError:  # noqa: ANN401
    """Return the error over a tokenizer that is not read."""
    name = settings.tokenizer_class
    files = [file for file in own.vocab_files_names.values() if (folder / file).exists()]
    others = [path.name for pattern in ("*.model", "vocab.json") for path in folder.glob(pattern)]
    if not files and not others and name is None:
        expected = " or ".join(own.vocab_files_names.values())
        return UsageError(f"{folder}: expected {expected} beside the weights, found none")
    declared = f"found {name or own.__name__}" + (f" with {others[0]}" if others else "")
    analyser = settings.word_tokenizer_type or settings.subword_tokenizer_type
    if analyser:
        declared += f", which splits words by {analyser}"
    elif settings.do_basic_tokenize is False or settings.never_split:
        declared += " with do_basic_tokenize or never_split"
    return UsageError(
        f"{folder / TOKENIZER_CONFIG}: expected a tokenizer that tokenizer.json describes,"
        f" or {own.__name__} with {next(iter(own.vocab_files_names.values()))}, {declared}",
        remedy="Save it as tokenizer.json in a copy of the folder, where its class can:"
        f" cp -r {folder} {folder}-2, then in Python"
        f" AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained('{folder}-2')",
    )
