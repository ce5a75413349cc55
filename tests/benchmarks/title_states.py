"""Titles as TF-IDF vectors, cut to few dimensions: honest hidden states where no pre-trained weights can be had.

Two layers, as a backbone has several: words, and the character 4-grams that
run over them. Nothing but the titles is read, no interaction.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["title_states"]

_SEED = 0
_POWER_ITERATIONS = 3
_GRAM = 4
_FEWEST_TITLES = 2
"""A term of fewer titles joins no two items."""


def title_states(titles: Sequence[str], dim: int) -> np.ndarray:
    """Return the hidden states of titles, ``(titles, 2, dim)`` float16: words, then character 4-grams.

    Each row is scaled to the root of ``dim``, as a LayerNorm leaves it; a title
    without any known term is zeros.
    """
    layers = [
        _reduced(_tf_idf([terms(title) for title in titles]), dim) for terms in (_words, _grams)
    ]
    return torch.stack(layers, dim=1).numpy().astype(np.float16)


def _words(title: str) -> list[str]:
    return re.findall(r"\w+", title.lower())


def _grams(title: str) -> list[str]:
    text = f" {' '.join(_words(title))} "
    return [text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)]


def _tf_idf(documents: Sequence[list[str]]) -> Tensor:
    """Return a sparse ``(titles, terms)`` matrix with rows of length 1: (1 + log count) * log(titles / titles with it)."""
    occurrences = [Counter(terms) for terms in documents]
    spread = Counter(term for counts in occurrences for term in counts)
    known = sorted(term for term, count in spread.items() if count >= _FEWEST_TITLES)
    column = {term: number for number, term in enumerate(known)}
    rows, columns, values = [], [], []
    for row, counts in enumerate(occurrences):
        weights = {
            t: (1 + math.log(n)) * math.log(len(documents) / spread[t])
            for t, n in counts.items()
            if t in column
        }
        length = math.sqrt(sum(weight**2 for weight in weights.values())) or 1.0
        for term, weight in weights.items():
            rows.append(row)
            columns.append(column[term])
            values.append(weight / length)
    shape = (len(documents), len(known))
    return torch.sparse_coo_tensor(
        torch.tensor([rows, columns]), torch.tensor(values), shape, check_invariants=True
    )


def _reduced(matrix: Tensor, dim: int) -> Tensor:
    """Return the rows in the ``dim`` strongest directions, ``(titles, dim)``."""
    torch.manual_seed(_SEED)
    decompose: Callable[..., tuple[Tensor, Tensor, Tensor]] = torch.svd_lowrank
    left, strength, _ = decompose(matrix.coalesce(), q=dim, niter=_POWER_ITERATIONS)
    reduced = left * strength
    return reduced * (math.sqrt(dim) / reduced.norm(dim=1, keepdim=True).clamp(min=1e-6))
