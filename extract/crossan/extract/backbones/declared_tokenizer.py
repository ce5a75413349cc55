"""Find the tokenizer that a checkpoint's folder declares, and refuse what cannot be honoured.

A ``tokenizer.json`` says by itself what a title becomes, and is read as it stands.
Without one the tokenizer's class has to be the family's, which reads ``vocab.txt``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.checkpoint_files import read_object, read_text
from crossan.extract.backbones.library import load_processor, transformers
from crossan.extract.backbones.tokenizer_meaning import (
    errors_of_tokenizers,
    have_one_meaning,
    identity_of,
    try_out,
)
from crossan.extract.backbones.tokenizer_settings import (
    TOKENIZER_CONFIG,
    TokenizerSettings,
    is_read_by,
    read_settings,
    unread,
)

__all__ = ["DeclaredTokenizer", "declared_tokenizer"]

_JSON = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class DeclaredTokenizer:
    """A folder's tokenizer, without truncation and padding."""

    tokenizer: Tokenizer
    class_name: str
    settings: Mapping[str, Any]
    """What the identity shows of it, as JSON."""
    sha256: str
    """Covers everything that decides which ids a title becomes, hex."""
    is_family_own: bool
    """Whether it is what the family's own class makes of the folder."""
    longest: float
    """Most tokens that its settings allow, infinity where they do not say."""
    truncation_side: str


def declared_tokenizer(
    folder: Path,
    family_class: str,
    model_class: Any,  # noqa: ANN401 - JSON
    row_count: int,
    remedy: str,
) -> DeclaredTokenizer:
    """Return the tokenizer that a folder declares.

    Parameters
    ----------
    family_class
        The class of transformers that reads the family's own tokenizers.
    model_class
        ``tokenizer_class`` of ``config.json``, which stands in for that of
        ``tokenizer_config.json``; None where there is none.
    row_count
        Rows of the embedding in the weights.
    remedy
        The command that fetches the checkpoint's files again.

    Raises
    ------
    UsageError
        Its files are damaged, contradict each other, declare a tokenizer that is not read,
        or one that gives ids which the embedding has no row for.
    """
    settings = read_settings(folder, model_class, remedy)
    family_tokenizer = getattr(transformers, family_class)
    is_own = is_read_by(folder, settings, family_tokenizer)
    text = read_text(folder / _JSON, remedy)
    tokenizer = None if text is None else _parse(folder / _JSON, text, row_count, remedy)
    by_class = None
    if is_own and tokenizer is None:
        by_class = _made_by_class(folder, family_class, remedy)
    elif (
        is_own and tokenizer is not None and family_tokenizer.model in (None, type(tokenizer.model))
    ):
        # tokenizer.json says everything, so the class may fail over it: it is only compared.
        with suppress(UsageError):
            by_class = _made_by_class(folder, family_class, remedy)
    if tokenizer is None:
        if by_class is None or settings.do_basic_tokenize is False or settings.never_split:
            raise unread(folder, settings, family_tokenizer)
        _check_special(folder, settings, by_class, family_class, row_count, remedy)
        _check_rows(folder, by_class, row_count)
        try_out(folder, by_class, row_count, remedy)
        is_family_own = True
    else:
        if is_own:
            _refuse_contradiction(folder, settings, tokenizer)
        _check_added(folder, settings, tokenizer)
        try_out(folder, tokenizer, row_count, remedy)
        is_family_own = by_class is not None and have_one_meaning(by_class, tokenizer)
    if is_family_own:
        # Of two spellings with one meaning always the same, so that both give one identity.
        tokenizer = by_class
    assert tokenizer is not None
    kind = json.loads(tokenizer.to_str())["model"]["type"]
    shown, digest = identity_of(tokenizer, settings.truncation_side, is_whole=not is_family_own)
    return DeclaredTokenizer(
        tokenizer,
        family_class if is_family_own else f"tokenizers.{kind}",
        shown,
        digest,
        is_family_own,
        math.inf if settings.model_max_length is None else settings.model_max_length,
        settings.truncation_side,
    )


def _made_by_class(folder: Path, family_class: str, remedy: str) -> Tokenizer | None:
    """Return what the family's class makes of the folder, None where it makes nothing of it."""
    files = getattr(transformers, family_class).vocab_files_names.values()
    for file in files:
        read_text(folder / file, remedy)
    if not any((folder / file).is_file() for file in files):
        return None
    with errors_of_tokenizers(f"{folder}: {family_class} could not be loaded", remedy):
        tokenizer: Tokenizer = load_processor(family_class, folder).backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _parse(path: Path, text: str, row_count: int, remedy: str) -> Tokenizer:
    with errors_of_tokenizers(f"{path}: no tokenizer", remedy):
        tokenizer = Tokenizer.from_str(text)
    # Before anything else, for to_str() counts up to the largest id.
    _check_rows(path, tokenizer, row_count)
    state = json.loads(tokenizer.to_str())
    strange = _undefined_token(state["post_processor"])
    if strange is not None:
        raise UsageError(
            f"{path}: its template puts the special token {strange!r} around a title,"
            " and does not say which id it has",
            remedy=remedy,
        )
    if state["model"].get("dropout"):
        raise UsageError(
            f"{path}: expected a tokenizer that gives a title the same tokens each time,"
            f" found dropout {state['model']['dropout']}"
        )
    # Those of the file are for its own use in training: titles are cut by --max-length.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _undefined_token(processor: Any) -> str | None:  # noqa: ANN401 - JSON
    """Return a special token that a template uses without defining it, over which Rust panics."""
    for part in (processor or {}).get("processors", [processor or {}]):
        if part.get("type") != "TemplateProcessing":
            continue
        pieces = [piece["SpecialToken"] for piece in part["single"] if "SpecialToken" in piece]
        for piece in pieces:
            if piece["id"] not in part["special_tokens"]:
                return str(piece["id"])
    return None


def _check_special(
    folder: Path,
    settings: TokenizerSettings,
    tokenizer: Tokenizer,
    family_class: str,
    row_count: int,
    remedy: str,
) -> None:
    """Refuse a vocabulary without the special tokens that stand in the ids of titles.

    The family's class adds them behind the last entry, where the weights have no row for
    them, or that of another token.
    """
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    stated = {token.content for token in settings.added_tokens_decoder.values()}
    stated |= set(read_object(folder / "added_tokens.json", remedy) or {})
    template = (state["post_processor"] or {}).get("special_tokens", {})
    needed = {state["model"]["unk_token"], *template}
    absent = [
        token["content"]
        for token in state["added_tokens"]
        if token["content"] not in {*vocabulary, *stated}
        and (token["content"] in needed or token["id"] >= row_count)
    ]
    if absent:
        files = getattr(transformers, family_class).vocab_files_names.values()
        path = folder / next(iter(files))
        raise UsageError(
            f"{path}: expected the special token {absent[0]} among its"
            f" {len(vocabulary):,} entries, found none",
            remedy=remedy,
        )


def _check_rows(where: Path, tokenizer: Tokenizer, row_count: int) -> None:
    """Refuse a vocabulary with ids that the embedding has no row for."""
    vocabulary = tokenizer.get_vocab()
    token = max(vocabulary, key=lambda token: vocabulary[token], default=None)
    if token is not None and vocabulary[token] >= row_count:
        raise UsageError(
            f"{where}: its tokenizer gives ids up to {vocabulary[token]:,} ({token!r}),"
            f" but the embedding in the weights has {row_count:,} rows",
            remedy="Save the weights with the embedding resized to the tokenizer"
            " (resize_token_embeddings), or take the tokenizer that belongs to them",
        )


def _refuse_contradiction(folder: Path, settings: TokenizerSettings, tokenizer: Tokenizer) -> None:
    """Refuse settings that say something else of letters than ``tokenizer.json`` does."""
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    stated = {
        "lowercase": ("do_lower_case", settings.do_lower_case),
        "strip_accents": ("strip_accents", settings.strip_accents),
        "handle_chinese_chars": ("tokenize_chinese_chars", settings.tokenize_chinese_chars),
    }
    for part in normalizer.get("normalizers", [normalizer]):
        if part.get("type") != "BertNormalizer":
            continue
        for key, (name, value) in stated.items():
            if value is not None and part[key] != value:
                raise UsageError(
                    f"{folder}: {TOKENIZER_CONFIG} says {name} {str(value).lower()},"
                    f" but {_JSON} says {key} {str(part[key]).lower()}",
                    remedy="Ask the checkpoint's authors which is right, and mend the other",
                )


def _check_added(folder: Path, settings: TokenizerSettings, tokenizer: Tokenizer) -> None:
    """Refuse added tokens that ``tokenizer.json`` does not know, or under another id."""
    stated = {token.content: id_ for id_, token in settings.added_tokens_decoder.items()}
    for content, id_ in stated.items():
        known = tokenizer.token_to_id(content)
        if str(known) != id_:
            raise UsageError(
                f"{folder}: {TOKENIZER_CONFIG} adds the token {content!r} as {id_},"
                f" {_JSON} knows it as {known}"
            )
