r"""Titles as TF-IDF vectors over their words.

With :math:`n_{it}` how often term t stands in title i, N titles and :math:`d_t` of
them with the term, a vector has :math:`n_{it} \log(N / d_t)`, divided by its length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

__all__ = ["term_vectors"]

_WORD = re.compile(r"\w+")
_ALWAYS_KEPT = 100
"""Titles that a term may stand in, however few titles there are: what they cost is little."""


def term_vectors(
    titles: Sequence[str | None], *, characters: int | None, largest_share: float
) -> sparse.csr_array:
    """Return the vectors of titles, ``(titles, terms)`` float64, zeros where there is none.

    Parameters
    ----------
    titles
        A title for each item, None for an item without one.
    characters
        Length of the runs of characters within words that are the terms; None for whole words.
    largest_share
        Share of the titles that a term may stand in. One that stands in more says little of
        any, and costs most. It is left out after the lengths are taken, as if it were nowhere
        the same.
    """
    numbers: dict[str, int] = {}
    rows, terms, counts = [], [], []
    for row, title in enumerate(titles):
        for term, count in Counter(_terms(title or "", characters)).items():
            rows.append(row)
            terms.append(numbers.setdefault(term, len(numbers)))
            counts.append(count)
    of_row, of_term = np.array(rows, dtype=np.int64), np.array(terms, dtype=np.int64)
    titled_count = len(np.unique(of_row))
    title_counts = np.bincount(of_term, minlength=len(numbers))
    values = np.array(counts, dtype=np.float64) * np.log(titled_count / title_counts)[of_term]
    lengths = np.sqrt(np.bincount(of_row, values**2, minlength=len(titles)))
    # A title of nothing but what all titles have has no direction.
    values /= np.where(lengths > 0, lengths, 1.0)[of_row]
    is_kept = title_counts[of_term] <= max(largest_share * titled_count, _ALWAYS_KEPT)
    places = (of_row[is_kept], of_term[is_kept])
    return sparse.csr_array((values[is_kept], places), shape=(len(titles), len(numbers)))


def _terms(title: str, characters: int | None) -> Iterator[str]:
    for word in _WORD.findall(title.casefold()):
        if characters is None or len(word) <= characters:
            yield word
        else:
            yield from (
                word[start : start + characters] for start in range(len(word) - characters + 1)
            )
