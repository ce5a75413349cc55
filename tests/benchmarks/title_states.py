"""Titles as TF-IDF vectors, cut to few dimensions: honest hidden states where no pre-trained weights can be had.

Two layers, as a backbone has several: words, and the character 4-grams that
run over them. Nothing but the titles is read, no interaction.

``python tests/benchmarks/title_states.py --dataset FOLDER --cache FOLDER`` makes the
store of a dataset's titles that the recipes ``quality/tf-idf-...`` read, by
``crossan cache import``. ``--layers 4`` has both in turn until there are four, to stand
beside a backbone of four kept states: towers that meet in gates have as many layers each.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossan.common.datasets import open_dataset

__all__ = ["title_states"]

DIM = 256
_SEED = 0
_POWER_ITERATIONS = 3
_GRAM = 4
_FEWEST_TITLES = 2
"""A term of fewer titles joins no two items."""


def main() -> None:
    """Make the store of a dataset's titles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="dataset folder")
    parser.add_argument("--cache", type=Path, required=True, help="folder of stores")
    parser.add_argument("--layers", type=int, default=2, help="layers that the store keeps")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.dataset)
    items = dataset.items()
    with tempfile.TemporaryDirectory() as folder:
        states, ids = Path(folder) / "title_states.npy", Path(folder) / "title_states.ids"
        both = title_states([title or "" for title in items["title"].to_pylist()], DIM)
        np.save(states, both[:, np.arange(arguments.layers) % both.shape[1]])
        ids.write_text("\n".join(items["item_id"].to_pylist()) + "\n", encoding="utf-8")
        places = ["--ids", ids, "--dataset", dataset.name, "--cache", arguments.cache]
        subprocess.run(
            [
                *(Path(sys.executable).with_name("crossan"), "cache", "import", states),
                *("--format", "npy", "--modality", "text", "--backbone", "tf-idf"),
                *places,
            ],
            check=True,
        )


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


if __name__ == "__main__":
    main()
