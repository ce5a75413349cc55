"""From run folders to one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.record.run_folder import RunFolder

__all__ = ["write_report"]

_COLUMNS = ("hr@5", "hr@10", "hr@20", "hr@50", "ndcg@10", "ndcg@20", "mrr@10")
_SLICES = {
    "target": "target",
    "target_popularity_decile": "decile of the target's popularity, 10 the most popular",
    "history_length": "kept items before the target",
}
"""Ways to slice, as `crossan.train.evaluation.slices.test_slices` names them and as the page does."""


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Write the page for one run, or for a run and its twin.

    Raises
    ------
    UsageError
        A run that is not finished, no place for a file, or ``crossan[report]`` is not installed.
    """
    _require_place(out)
    try:
        import jinja2

        from crossan.train.report.plots import curve_figure, gate_figure
    except ModuleNotFoundError as error:
        raise UsageError(
            f"report: {error.name} is not installed", remedy="pip install 'crossan[report]'"
        ) from None
    opened = [_read(path, name) for path, name in zip(runs, _names(runs), strict=True)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("page.html.jinja").render(
        title=opened[0]["name"],
        columns=_COLUMNS,
        rows=[row for run in opened for row in _rows(run)] + _popularity_rows(opened[0]),
        runs=opened,
        slices=[(title, _slice_rows(opened, key)) for key, title in _SLICES.items()],
        loss=curve_figure({run["name"]: _curve(run, "loss") for run in opened}, "training loss"),
        hit_ratio=curve_figure(
            {run["name"]: _curve(run, "hr@10") for run in opened}, "validation HR@10"
        ),
        gain=curve_figure(
            {run["name"]: _curve(run, "ndcg@10") for run in opened}, "validation NDCG@10"
        ),
        gates=[
            (run["name"], gate_figure(run["gates"], run["modalities"]))
            for run in opened
            if run["gates"]
        ],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}-{os.getpid()}")
    staged.write_text(page, encoding="utf-8")
    staged.replace(out)


def _require_place(out: Path) -> None:
    if out.is_dir():
        raise UsageError(
            f"--out {out}: expected a file to write, found a folder",
            remedy=f"Name one in it: --out {out}/report.html",
        )
    nearest = next(parent for parent in out.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise UsageError(
            f"--out {out}: expected a folder at {nearest}, found a file",
            remedy="Choose another --out",
        )


def _names(runs: Sequence[Path]) -> list[str]:
    """Return the names of the run folders; where two are the same, their paths below what they have in common."""
    paths = [path.resolve() for path in runs]
    names = [path.name for path in paths]
    if len(set(names)) == len(set(paths)):
        return names
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def _read(path: Path, name: str) -> dict[str, Any]:
    folder = RunFolder(path)
    settings = folder.settings()
    result = folder.result()
    if result is None:
        raise UsageError(
            f"{path}: expected result.json, found none: the run is not finished",
            remedy=f"crossan-train --config {path}/config.toml --out {path} --resume",
        )
    weights = folder.best_checkpoint().tensors["model"]
    return {
        "name": name,
        "result": result,
        "metrics": folder.metrics(),
        "config": (path / "config.toml").read_text(encoding="utf-8"),
        "is_permuted": settings.features.permute_seed is not None,
        "modalities": [Modality(name) for name in folder.lock()["stores"]],
        "gates": _gate_weights(weights),
    }


def _gate_weights(weights: Any) -> list[Any]:  # noqa: ANN401 - named tensors
    """Return ``(tower, layer, modality + 1)`` from a checkpoint's gate logits, one ``(tower, inputs)`` tensor a layer."""
    layers = sorted(
        (name for name in weights if ".gates." in name and name.endswith("logits")),
        key=lambda name: int(name.split(".gates.")[1].split(".")[0]),
    )
    by_layer = [weights[name].softmax(dim=-1).tolist() for name in layers]
    return [list(tower) for tower in zip(*by_layer, strict=True)]


def _rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    result = run["result"]
    name = f"{run['name']} (features shuffled)" if run["is_permuted"] else run["name"]
    cold = result["cold_test"]
    cold_cells = dict.fromkeys(_COLUMNS) | {"hr@10": cold["hr@10"], "ndcg@10": cold["ndcg@10"]}
    return [
        {"who": name, "split": "validation", "values": result["valid"]},
        {"who": name, "split": "test", "values": result["test"]},
        {"who": name, "split": f"test, {cold['targets']:,} cold targets", "values": cold_cells},
    ]


def _popularity_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    popularity = run["result"]["popularity"]
    return [
        {"who": "popularity", "split": "validation", "values": popularity["valid"]},
        {"who": "popularity", "split": "test", "values": popularity["test"]},
    ]


def _slice_rows(runs: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return one row for every part and run that has it, the parts in the order of the first run."""
    parts = [(run["name"], run["result"]["slices"][key]) for run in runs]
    return [
        {"part": part, "who": name, "users": found[part]["users"], "values": found[part]}
        for part in dict.fromkeys(part for _, found in parts for part in found)
        for name, found in parts
        if part in found
    ]


def _curve(run: dict[str, Any], what: str) -> tuple[list[int], list[float]]:
    lines = run["metrics"]
    return [line["epoch"] for line in lines], [
        line["loss"] if what == "loss" else line["valid"][what] for line in lines
    ]
