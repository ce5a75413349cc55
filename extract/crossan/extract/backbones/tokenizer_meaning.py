"""What a tokenizer makes of titles, whatever its files look like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.canary_inputs import CANARY_TITLES
from crossan.extract.backbones.library import first_line

__all__ = ["errors_of_tokenizers", "have_one_meaning", "identity_of", "try_out", "unknown_share"]

_IDENTITY_PARTS = ("normalizer", "pre_tokenizer", "post_processor")
"""Parts that the identity shows, beside a digest of everything."""

_SHOWN_BYTES = 4_096
"""Most bytes of one part in an identity; sentencepiece brings character maps of 300 kB."""

_PIECE_MARKS = ("\u2581", "\u0120")
"""What sentencepiece and byte-level BPE put before a word; WordPiece never does."""

_PROBES = (*CANARY_TITLES, "\U000f0000 \u0378", "")
"""Titles that must become tokens without an error: the canary's, unassigned characters, nothing."""


@contextmanager
def errors_of_tokenizers(message: str, remedy: str) -> Iterator[None]:
    """Raise `UsageError` for anything that the tokenizers library raises in the block.

    Parameters
    ----------
    message
        What was being done; the library's own words follow it.

    Raises
    ------
    UsageError
        The library refused what a file of the checkpoint says.
    """
    try:
        yield
    # It raises plain exceptions, and where its code in Rust panics one that is not even that.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UsageError(f"{message}: {first_line(error)}", remedy=remedy) from None


def unknown_share(tokenizer: Tokenizer, titles: Sequence[str] = CANARY_TITLES) -> tuple[int, int]:
    """Return how many tokens of some titles are the unknown token, and how many there are.

    Special tokens are not counted.
    """
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    # One by one: a batch would start threads, which the processes that decode must not inherit.
    encodings = [tokenizer.encode(title, add_special_tokens=False) for title in titles]
    ids = [token for encoding in encodings for token in encoding.ids]
    return sum(token == unknown for token in ids), len(ids)


def have_one_meaning(tokenizer: Tokenizer, other: Tokenizer) -> bool:
    """Return whether two tokenizers give any title the same ids, however they are spelt."""
    if _state_of(tokenizer) != _state_of(other):
        return False
    # What is put around a title can be spelt in several ways, which all show in the ids.
    return all(tokenizer.encode(title).ids == other.encode(title).ids for title in CANARY_TITLES)


def _state_of(tokenizer: Tokenizer) -> list[Any]:
    state = json.loads(tokenizer.to_str())
    added = sorted(state["added_tokens"], key=lambda token: int(token["id"]))
    return [state["model"], state["normalizer"], state["pre_tokenizer"], added]


def try_out(folder: Path, tokenizer: Tokenizer, remedy: str) -> None:
    """Refuse a tokenizer that fails over a title, or that knows no word.

    Raises
    ------
    UsageError
        It does, or its vocabulary was made for another kind of tokenizer.
    """
    with errors_of_tokenizers(f"{folder}: its tokenizer fails over a title", remedy):
        for title in _PROBES:
            tokenizer.encode(title)
    state = json.loads(tokenizer.to_str())
    words = [word for word in tokenizer.get_vocab() if isinstance(word, str)]
    if state["model"]["type"] == "WordPiece":
        prefix = state["model"]["continuing_subword_prefix"]
        marked = sum(word.startswith(_PIECE_MARKS) for word in words)
        if marked > sum(word.startswith(prefix) for word in words):
            raise UsageError(
                f"{folder}: {marked:,} of {len(words):,} entries of the vocabulary are pieces of"
                " sentencepiece or byte-level BPE, but its tokenizer is WordPiece",
                remedy=remedy,
            )
    unknown, count = unknown_share(tokenizer)
    own_unknown, own_count = unknown_share(tokenizer, words[:: max(len(words) // 200, 1)])
    if count and unknown == count and 2 * own_unknown > own_count:
        raise UsageError(
            f"{folder}: its tokenizer knows no word: all {count:,} tokens of the canary titles"
            f" are unknown, and {own_unknown:,} of {own_count:,} of its own vocabulary",
            remedy=remedy,
        )


def identity_of(
    tokenizer: Tokenizer, truncation_side: str, *, is_whole: bool
) -> tuple[dict[str, Any], str]:
    """Return what the identity shows of a tokenizer, and the digest of what decides its ids.

    Parameters
    ----------
    is_whole
        Whether the digest covers the whole tokenizer. For a family's own class the
        vocabulary and three parts say everything, and give the digest of old.
    """
    state = json.loads(tokenizer.to_str())
    parts: dict[str, Any] = {name: state[name] for name in _IDENTITY_PARTS}
    if truncation_side != "right":
        parts["truncation_side"] = truncation_side
    if not is_whole:
        return parts, digest_of({"vocabulary": tokenizer.get_vocab(), "settings": parts})
    digest = digest_of(parts | {name: state[name] for name in ("model", "added_tokens")})
    model = {key: value for key, value in state["model"].items() if key not in {"vocab", "merges"}}
    shown = {name: _shortened(part) for name, part in (parts | {"model": model}).items()}
    return shown, digest


def _shortened(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a part of a tokenizer, or its digest where it is long."""
    is_long = len(json.dumps(part)) > _SHOWN_BYTES
    return {"sha256": digest_of(part)} if is_long else part
