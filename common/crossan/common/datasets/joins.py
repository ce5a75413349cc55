"""Meeting the ids of two sources that may write them differently.

Ids are the same where their texts are. Where they are not, an id may still be
meant that is written another way: ``00003`` and ``3.0`` for ``3``, an accent as a
character of its own, blanks around. Such a pair is taken only where it is the
only one that can be meant, and the report says how many there were.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from crossan.common.datasets.report import Examples, Join

__all__ = ["Matching", "join_of", "match_ids", "rename_ids"]

_WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0*")
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Matching:
    """Which ids of one side are which of the other.

    No id has two partners.
    """

    partners: Mapping[str, str]
    """From an id of the left side to the id of the right side."""
    loosely: Mapping[str, str]
    """From an id of the left side that is written differently to how it differs."""


def match_ids(left: Collection[str], right: Collection[str]) -> Matching:
    """Pair the ids of two sides.

    Equal texts come first. The others are compared with blanks cut off, accents
    composed, ``3.0`` read as ``3`` and leading zeros left out, each in addition
    to those before. A pair counts only where no other id of either side, paired
    or not, looks the same by then.
    """
    known = set(right)
    partners = {text: text for text in left if text in known}
    loosely: dict[str, str] = {}
    normal: Callable[[str], str] = _as_it_is
    for difference, step in _STEPS.items():
        if len(partners) in (len(left), len(known)):
            break  # one side has nobody left
        normal = _followed_by(normal, step)
        lefts, rights = _only_ones(left, normal), _only_ones(known, normal)
        for key in lefts:
            if key in rights and lefts[key] not in partners:
                partners[lefts[key]] = rights[key]
                loosely[lefts[key]] = difference
    return Matching(partners, loosely)


def join_of(
    left: str, right: str, lefts: Iterable[str], rights: Iterable[str], matching: Matching
) -> Join:
    """Return what the report says of two lists of ids that were matched.

    Parameters
    ----------
    left, right
        What the lists are of.
    lefts, rights
        The lists.
    matching
        Of the two.
    """
    met = set(matching.partners.values())
    pairs: dict[str, list[str]] = defaultdict(list)
    for text, difference in matching.loosely.items():
        pairs[difference].append(f"{text} = {matching.partners[text]}")
    return Join(
        left=left,
        right=right,
        matched=len(matching.partners),
        loosely={difference: len(texts) for difference, texts in pairs.items()},
        loose_examples=tuple(texts[0] for texts in pairs.values()),
        unmatched=Examples.of(text for text in lefts if text not in matching.partners),
        unused=Examples.of(text for text in rights if text not in met),
    )


def rename_ids(ids: pa.ChunkedArray, matching: Matching) -> pa.ChunkedArray:
    """Return ids of the left side as the right side writes them.

    Those without a partner stay.
    """
    if not matching.loosely:
        return ids
    codes = pc.dictionary_encode(ids).combine_chunks()
    names = [matching.partners.get(text, text) for text in codes.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(names, pa.string()).take(codes.indices)])


def _only_ones(texts: Collection[str], normal: Callable[[str], str]) -> dict[str, str]:
    """Return the texts that no other looks like, each by what it looks like."""
    normals = {text: normal(text) for text in texts}
    counts = Counter(normals.values())
    return {key: text for text, key in normals.items() if counts[key] == 1}


def _as_it_is(text: str) -> str:
    return text


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _as_whole_number(text: str) -> str:
    number = _WHOLE_NUMBER.fullmatch(text)
    return text if number is None else number[1]


def _unpadded(text: str) -> str:
    return (text.lstrip("0") or "0") if _DIGITS.fullmatch(text) else text


_STEPS: Mapping[str, Callable[[str], str]] = {
    "blanks around it": str.strip,
    "accents as characters of their own": _composed,
    ".0 at its end": _as_whole_number,
    "leading zeros": _unpadded,
}
"""What is made alike, step by step, by what the report calls the difference."""


def _followed_by(first: Callable[[str], str], then: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: then(first(text))
