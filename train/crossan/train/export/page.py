"""The page ``README.md`` of an export, whose program its reader can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["readme"]

_PAGE = """\
# {model}, trained on {dataset}

Item vectors and user encoder of a recommender, exported by crossan {crossan}. What is needed to use
them: PyTorch ({torch} or later reads the program), NumPy and PyArrow or safetensors. Neither crossan
nor the data that it was trained on.

| file | holds |
|---|---|
| `items.parquet` | {items:,} items: `item_id`, `title`, `vector` ({width} float32) |
| `items.safetensors` | the vectors alone: `vectors` ({items:,}, {width}) float32, in the order of `items.parquet` |
| `user_encoder.pt2` | a `torch.export` program: `rows` (users, {length}) int64 and `item_vectors` (items, {width}) to user vectors (users, {width}) |
| `user_encoder.safetensors` | the weights of the user encoder by name, for other implementations; `encoders` in `manifest.json` says how they are read{term_words} |
{chain_row}| `manifest.json` | shapes, licences, what it was made from, and the SHA-256 of every file but this page and itself |

`rows` are positions in `items.parquet` of a user's last {length} items, oldest first, with -1 on the
left where there are fewer; at least one must be an item. The score of an item is the product of its
vector and the user's{chain_words}.

## Recommend

```python
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
{chain_import}import torch

FOLDER = Path(".")

manifest = json.loads((FOLDER / "manifest.json").read_text())
for name, file in manifest["files"].items():
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == file["sha256"], name

table = pq.read_table(FOLDER / "items.parquet")
items = table.column("item_id").to_pylist()
vectors = table.column("vector").combine_chunks().flatten().to_numpy()
item_vectors = torch.from_numpy(vectors.copy()).view(len(items), manifest["width"])
user_encoder = torch.export.load(FOLDER / "user_encoder.pt2").module()

{chain_code}

def recommend(history, top=10):
    row_of = {{item: row for row, item in enumerate(items)}}
    rows = [row_of[item] for item in history]
    last = rows[-manifest["input_length"] :]
    padded = [manifest["padding"]] * (manifest["input_length"] - len(last)) + last
    with torch.no_grad():
        scores = item_vectors @ user_encoder(torch.tensor([padded]), item_vectors)[0]
{chain_sum}    scores[rows] = float("-inf")
    best = scores.argsort(descending=True, stable=True)[:top].tolist()
    return [(items[row], scores[row].item()) for row in best]
```

## Is it safe to load?

Parquet and safetensors hold numbers and texts, and nothing in them runs. `torch.export.load` is not
made for files from strangers: it builds a program of PyTorch's own operations, but where a part of
the archive is no plain tensor it falls back to Python's pickle, which runs whatever a forger put
there. This file needs no pickle. Load it from whom you trust, and compare its SHA-256 with a
manifest that you got from them; from anybody else take `user_encoder.safetensors`.

## Licences

{licences}
"""

_CHAIN_ROW = """\
| `chain.safetensors` | what followed what in training: item i adds `gains[begins[i]:begins[i + 1]]` to the items `columns[...]` of the same range |
"""
_TERM_WORDS = ", and `terms` what their results are joined with"
_CHAIN_WORDS = """, plus the logarithm of one and what the last
{window} items have added to it, each {decay} of what the one after it adds, times {co_occurrence}"""
_CHAIN_CODE = """\
chain = safetensors.torch.load_file(FOLDER / "chain.safetensors")


def added(rows):
    total = torch.zeros(len(items))
    for age, row in enumerate(reversed(rows[-manifest["chain"]["window"] :])):
        pairs = slice(chain["begins"][row], chain["begins"][row + 1])
        total[chain["columns"][pairs]] += manifest["chain"]["decay"] ** age * chain["gains"][pairs]
    return torch.log1p(manifest["chain"]["co_occurrence"] * total)

"""
_CHAIN_SUM = "    scores += added(rows)\n"


def readme(manifest: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    manifest
        What ``manifest.json`` holds.
    """
    chain = manifest.get("chain")
    return _PAGE.format(
        chain_row="" if chain is None else _CHAIN_ROW,
        term_words="" if chain is None else _TERM_WORDS,
        chain_words="" if chain is None else _CHAIN_WORDS.format(**chain),
        chain_import="" if chain is None else "import safetensors.torch\n",
        chain_code="" if chain is None else _CHAIN_CODE,
        chain_sum="" if chain is None else _CHAIN_SUM,
        model=manifest["model"],
        dataset=manifest["dataset"]["name"],
        crossan=manifest["crossan"],
        torch=manifest["torch"].partition("+")[0],
        items=manifest["items"],
        width=manifest["width"],
        length=manifest["input_length"],
        licences="\n".join(_licences(manifest)),
    )


def _licences(manifest: Mapping[str, Any]) -> list[str]:
    lines = [f"- the dataset {manifest['dataset']['name']}: {manifest['dataset']['licence']}"]
    for modality, store in manifest["stores"].items():
        for part, licence in store["licences"].items():
            lines.append(f"- {part} of the {modality} features: {licence or 'not recorded'}")
    return [
        *lines,
        "",
        "The vectors were made from these; whether that binds you is theirs to say.",
    ]
