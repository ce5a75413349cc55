"""What the rounding of ``model.compute=bfloat16`` does to quality, seed by seed.

``git show COMMIT:train/crossan/train/layers/fused.py > before.py`` and
``python tests/benchmarks/bench_rounding.py --out FOLDER --before before.py`` train CROSSAN with the
layer of an earlier commit, with ours, and with ours in float32, on bench_microlens_mm. Words of the
titles stand in for text and their character 4-grams for pictures (`title_states`), each
``LAYERS`` times, so that a tower rounds as often as over a backbone's layers.

Products of bfloat16 are computed in float32 and rounded, as a processor with instructions for them
does; one without takes a minute for what takes a second.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from title_states import title_states
from torch import Tensor

from crossan import api
from crossan.common.datasets import open_dataset
from crossan.train.layers import tower
from crossan.train.layers.fused import mix_and_adapt

SETTINGS: dict[str, object] = {
    "model": {"bottleneck_dim": 64, "top_k": 2},
    "optimiser": {"adapter_lr": 1e-3, "lr": 1e-3},
    "batch_size": 256,
    "patience": 5,
}
DIM, LAYERS = 128, 6
FIGURE = "hr@10"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where stores and runs go; kept")
    parser.add_argument("--before", type=Path, required=True, help="fused.py of an earlier commit")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    make_stores(arguments.out, arguments.data / "bench_microlens_mm")
    multiply_in_float32()
    ways = {
        "before": (layer_of(arguments.before), "bfloat16"),
        "after": (mix_and_adapt, "bfloat16"),
        "float32": (mix_and_adapt, "float32"),
    }
    cells = [f"{way} {split}" for split in ("valid", "test") for way in ways]
    print(f"| seed | {' | '.join(cells)} |\n|{'---|' * (len(cells) + 1)}")
    for seed in arguments.seeds:
        results = []
        for way, (layer, compute) in ways.items():
            tower.mix_and_adapt = layer  # type: ignore[assignment]
            results.append(trained(arguments.out, f"{way}-{seed}", seed, compute, arguments.epochs))
        figures = [
            f"{result[split][FIGURE]:.2%}" for split in ("valid", "test") for result in results
        ]
        print(f"| {seed} | {' | '.join(figures)} |", flush=True)


def make_stores(out: Path, source: Path) -> None:
    """Import the dataset and write a store of each of the two modalities, unless they are there."""
    if (out / "c").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    crossan = Path(sys.executable).with_name("crossan")
    pairs = ("--sequences", source / "pairs.tsv", "--out", out / "d")
    subprocess.run([crossan, "data", "import", "--format", "table", source, *pairs], check=True)
    items = open_dataset(out / "d").items()
    states = title_states([title or "" for title in items["title"].to_pylist()], DIM)
    (out / "ids").write_text("\n".join(items["item_id"].to_pylist()) + "\n", encoding="utf-8")
    for number, modality in enumerate(("text", "image")):
        np.save(out / "states.npy", np.repeat(states[:, number : number + 1], LAYERS, axis=1))
        named = (
            "--format",
            "npy",
            "--modality",
            modality,
            "--dataset",
            "d",
            "--backbone",
            "tf-idf",
        )
        places = (out / "states.npy", "--ids", out / "ids", "--cache", out / "c")
        subprocess.run([crossan, "cache", "import", *places, *named], check=True)


def layer_of(source: Path) -> Callable[..., Tensor]:
    """Return the layer of another commit's file."""
    spec = importlib.util.spec_from_file_location("fused_before", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer: Callable[..., Tensor] = module.mix_and_adapt
    return layer


def multiply_in_float32() -> None:
    """Have batched products of bfloat16 computed in float32 and rounded once."""
    bmm, baddbmm = torch.bmm, torch.baddbmm

    def rounded_bmm(left: Tensor, right: Tensor) -> Tensor:
        return bmm(left.float(), right.float()).to(left.dtype)

    def rounded_baddbmm(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return baddbmm(total.float(), left.float(), right.float()).to(left.dtype)

    def chosen(
        exact: Callable[..., Tensor], rounded: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: (
            rounded(*args) if args[-1].dtype == torch.bfloat16 else exact(*args, **kwargs)
        )

    torch.bmm, torch.baddbmm = chosen(bmm, rounded_bmm), chosen(baddbmm, rounded_baddbmm)


def trained(
    out: Path, name: str, seed: int, compute: str, epochs: int
) -> api.Run | dict[str, dict[str, float]]:
    """Return the result of a run, trained unless it was."""
    model = {**SETTINGS["model"], "compute": compute}  # type: ignore[dict-item]
    settings = {**SETTINGS, "model": model, "seed": seed, "max_epochs": epochs}
    run = api.train(
        dataset=out / "d", cache=out / "c", out=out / "runs" / name, model="crossan",
        settings=settings, device="cpu", resume=True,
    )  # fmt: skip
    return run.result


if __name__ == "__main__":
    main()
