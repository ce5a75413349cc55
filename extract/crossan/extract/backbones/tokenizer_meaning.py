"""What a tokenizer makes of titles, whatever its files look like."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.canary_inputs import CANARY_TITLES
from crossan.extract.backbones.library import first_line

__all__ = [
    "UNKNOWN_SHARE",
    "errors_of_tokenizers",
    "have_one_meaning",
    "identity_of",
    "least_unknown",
    "try_out",
    "unknown_share",
]

UNKNOWN_SHARE = 0.9
"""Share of unknown tokens above which a tokenizer cannot be that of the checkpoint."""

_OTHER_SCRIPTS = (
    "حقيبة جلدية صغيرة بلون أسود",
    "Маленькая чёрная кожаная сумка",
    "Μικρή μαύρη δερμάτινη τσάντα",
    "תיק עור קטן בצבע שחור",
    "काले चमड़े का छोटा बैग",
    "ছোট কালো চামড়ার ব্যাগ",
    "சிறிய கருப்பு தோல் பை",
    "กระเป๋า หนัง ใบ เล็ก สี ดำ",
    "작은 검은색 가죽 가방",
    "小さい 黒い かわ の かばん",
    "黑色小皮包",
    "პატარა შავი ტყავის ჩანთა",
    "փոքր սև կաշվե պայուսակ",
)
"""A small black leather bag, for tokenizers that know no Latin letters.

The canary's titles hold Latin letters and digits for the most part.
"""

_SPARSE_WORDS = 50
"""Rows of the embedding per entry from which a list of words cannot be the checkpoint's."""

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

    Special tokens are not counted. A character that a tokenizer without an unknown
    token leaves out counts as one.
    """
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = tokenizer.token_to_id(model["unk_token"])
    # One by one: a batch would start threads, which the processes that decode must not inherit.
    encodings = [tokenizer.encode(title, add_special_tokens=False) for title in titles]
    ids = [token for encoding in encodings for token in encoding.ids]
    left_out = 0
    if unknown is None:
        left_out = sum(map(_left_out, titles, encodings))
    return left_out + sum(token == unknown for token in ids), left_out + len(ids)


def _left_out(title: str, encoding: Encoding) -> int:
    """Return how many characters of a title, but for blanks, became no part of a token."""
    covered = {place for start, end in encoding.offsets for place in range(start, end)}
    return sum(place not in covered and not letter.isspace() for place, letter in enumerate(title))


def least_unknown(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return `unknown_share` of trial titles in the script that a tokenizer knows best.

    These are the titles of the canary where it knows enough of them.
    """
    canary = unknown_share(tokenizer)
    if _is_known(*canary):
        return canary
    shares = [canary, *(unknown_share(tokenizer, [title]) for title in _OTHER_SCRIPTS)]
    return min(shares, key=lambda share: share[0] / max(share[1], 1) if share[1] else 1.0)


def _is_known(unknown: int, count: int) -> bool:
    return count > 0 and unknown <= UNKNOWN_SHARE * count


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


def try_out(folder: Path, tokenizer: Tokenizer, row_count: int, remedy: str) -> None:
    """Refuse a tokenizer that fails over a title, or that knows hardly any word.

    Parameters
    ----------
    row_count
        Rows of the embedding in the weights.

    Raises
    ------
    UsageError
        It does, or its vocabulary was made for another kind of tokenizer.
    """
    with errors_of_tokenizers(f"{folder}: its tokenizer fails over a title", remedy):
        for title in (*_PROBES, *_OTHER_SCRIPTS):
            tokenizer.encode(title)
    state = json.loads(tokenizer.to_str())
    entries = [entry for entry in tokenizer.get_vocab() if isinstance(entry, str)]
    if state["model"]["type"] == "WordPiece":
        prefix = state["model"]["continuing_subword_prefix"]
        marked = sum(entry.startswith(_PIECE_MARKS) for entry in entries)
        if marked > sum(entry.startswith(prefix) for entry in entries):
            raise UsageError(
                f"{folder}: {marked:,} of {len(entries):,} entries of the vocabulary are pieces of"
                " sentencepiece or byte-level BPE, but its tokenizer is WordPiece",
                remedy=remedy,
            )
    if _is_known(*least_unknown(tokenizer)) or _is_list_of_words(tokenizer, state, row_count):
        return
    unknown, count = unknown_share(tokenizer)
    how_few = f"no word: all {count:,}"
    if unknown < count:
        how_few = f"hardly any word: {unknown:,} of {count:,}"
    raise UsageError(
        f"{folder}: its tokenizer knows {how_few} tokens of the canary titles are unknown;"
        f" its vocabulary has {len(entries):,} entries,"
        f" the embedding in the weights {row_count:,} rows",
        remedy=remedy,
    )


def _is_list_of_words(tokenizer: Tokenizer, state: dict[str, Any], row_count: int) -> bool:
    """Return whether a tokenizer is a list of whole words that may fit the checkpoint.

    Such a list may know none of the trial titles, but then it knows its words, and
    the embedding was made for about as many.
    """
    vocabulary = tokenizer.get_vocab()
    if state["model"]["type"] != "WordLevel" or len(vocabulary) * _SPARSE_WORDS < row_count:
        return False
    special = {token["content"] for token in state["added_tokens"]} | {state["model"]["unk_token"]}
    words = [word for word in vocabulary if word not in special]
    unknown, count = unknown_share(tokenizer, words[:: max(len(words) // 200, 1)])
    return 2 * unknown < count


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
