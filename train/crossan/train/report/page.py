"""Make one page of run folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.files import replace_durably
from crossan.common.outputs import folder_of_ours, require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder, require_writable
from crossan.train.layers.tower import read_gate_weights
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.shapes import LockNames
from crossan.train.runs.inputs import open_inputs
from crossan.train.settings import gate_temperature

__all__ = ["Elsewhere", "write_report"]

_TITLE = b"<title>crossan: "
"""What a page has near its beginning, by which an earlier one is known."""
_COLUMNS = ("hr@5", "hr@10", "hr@20", "hr@50", "ndcg@10", "ndcg@20", "mrr@10")
_SLICES = {
    "target": "target",
    "target_popularity_decile": "decile of the target's popularity, 10 the most popular",
    "history_length": "kept items before the target",
}
"""Ways to slice the test users, by the names of `crossan.train.evaluation.slices.test_slices`.

The values are the headings that the page shows.
"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where the user says that the runs' data lie now."""

    dataset: Path | None = None
    cache: Path | None = None


def write_report(runs: Sequence[Path], out: Path, elsewhere: Elsewhere = Elsewhere()) -> None:
    """Write the page for one run, or for a run and its twin.

    A page is made of the run folders alone. Where the user says where the data
    lie, these are compared with what the runs recorded.

    Raises
    ------
    IncompatibleError
        They are not what a run was trained on.
    UsageError
        A run is not finished, ``out`` is something else than an earlier page or
        lies among files of ours, or ``crossan[report]`` is not installed.
    ResourceError
        ``out`` cannot be written.
    """
    # Before the runs are read: a name that cannot be written should not cost that time.
    _require_writable(out)
    try:
        import jinja2

        from crossan.train.report.plots import curve_figure, gate_figure
    except ModuleNotFoundError as error:
        raise UsageError(
            f"report: {error.name} is not installed", remedy="pip install 'crossan[report]'"
        ) from None
    except OSError as error:  # matplotlib keeps its list of fonts in a file
        raise ResourceError(
            f"report: matplotlib found no folder for its cache: {error}",
            remedy="Set MPLCONFIGDIR to a folder that can be written",
        ) from error
    if elsewhere != Elsewhere():
        for path in runs:
            open_inputs(RunFolder(path), elsewhere.dataset, elsewhere.cache)
    opened = [_read(path, name) for path, name in zip(runs, _names(runs), strict=True)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("page.html.jinja").render(
        title=opened[0]["name"],
        columns=_COLUMNS,
        rows=[row for run in opened for row in _rows(run)] + _popularity_rows(opened),
        runs=opened,
        slices=[(title, _slice_rows(opened, key)) for key, title in _SLICES.items()],
        loss=curve_figure({run["label"]: _curve(run, "loss") for run in opened}, "training loss"),
        hit_ratio=curve_figure(
            {run["label"]: _curve(run, "hr@10") for run in opened}, "validation HR@10"
        ),
        gain=curve_figure(
            {run["label"]: _curve(run, "ndcg@10") for run in opened}, "validation NDCG@10"
        ),
        gates=[
            (run["label"], gate_figure(run["gates"], run["modalities"]))
            for run in opened
            if run["gates"] is not None
        ],
    )
    make_folder(out.parent)
    replace_durably(out, page.encode())


def _require_writable(out: Path) -> None:
    shown_as = f"--out {out}"
    if out.is_dir():
        raise UsageError(
            f"{shown_as}: expected a file to write, found a folder",
            remedy=f"Name a file in it: --out {out}/report.html",
        )
    require_writable(out.absolute().parent, shown_as)
    ours = folder_of_ours(out.parent)
    if ours is not None:
        kind, root = ours
        # Beside the run's own files, none of which is named so.
        is_page_of_run = out.parent.resolve() == root and out.suffix == ".html"
        if kind != "run" or not is_page_of_run:
            require_outside_of_ours(out.parent, shown_as)
    require_replaceable(out, lambda start: _TITLE in start, shown_as)


def _names(runs: Sequence[Path]) -> list[str]:
    """Name every run after its folder.

    Where two folders share a name, the names are the paths below the folder
    that all runs have in common.
    """
    paths = [path.resolve() for path in runs]
    names = [path.name for path in paths]
    # Compared with the distinct paths: the same run given twice may show its name twice.
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
            f"{path}: expected result.json, found none; the run is not finished",
            remedy=f"crossan-train --config {path}/config.toml --out {path} --resume",
        )
    gates = read_gate_weights(
        folder.best_checkpoint().tensors["model"], gate_temperature(settings.model)
    )
    notes = [result["model"]]
    if settings.features.permute_seed is not None:
        notes.append("features shuffled")
    if any(counts["stale"] for counts in result.get("contents", {}).values()):
        notes.append("stale contents")
    return {
        "name": name,
        "label": f"{name} ({', '.join(notes)})",
        "result": result,
        "metrics": folder.metrics(),
        "config": (path / "config.toml").read_text(encoding="utf-8"),
        "modalities": [Modality(name) for name in folder.lock(LockNames)["stores"]],
        "gates": None if gates is None else gates.tolist(),
    }


def _rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    result = run["result"]
    name = run["label"]
    cold = result["cold_test"]
    cold_cells = dict.fromkeys(_COLUMNS) | {"hr@10": cold["hr@10"], "ndcg@10": cold["ndcg@10"]}
    return [
        {"who": name, "split": "validation", "values": result["valid"]},
        {"who": name, "split": "test", "values": result["test"]},
        {"who": name, "split": f"test, {cold['targets']:,} cold targets", "values": cold_cells},
    ]


def _popularity_rows(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the baseline, none where a run of popularity has them already."""
    if any(run["result"]["model"] == "popularity" for run in runs):
        return []
    popularity = runs[0]["result"]["popularity"]
    return [
        {"who": "popularity", "split": "validation", "values": popularity["valid"]},
        {"who": "popularity", "split": "test", "values": popularity["test"]},
    ]


def _slice_rows(runs: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return a row for every part of the users and every run that has this part.

    The parts are in the order of the first run.
    """
    slices = [(run["label"], run["result"]["slices"][key]) for run in runs]
    # A dict, not a set: it keeps the order of the first run and adds what only others have.
    parts = dict.fromkeys(part for _, of_run in slices for part in of_run)
    return [
        {"part": part, "who": label, "users": of_run[part]["users"], "values": of_run[part]}
        for part in parts
        for label, of_run in slices
        if part in of_run
    ]


def _curve(run: dict[str, Any], what: str) -> tuple[list[int], list[float]]:
    """Return the epochs of a run, and its training loss or one validation metric at each."""
    points: list[tuple[int, Any]] = [
        (line["epoch"], line.get("loss") if what == "loss" else (line.get("valid") or {}).get(what))
        for line in run["metrics"]
    ]
    # A model that only counts has no loss.
    points = [(epoch, value) for epoch, value in points if value is not None]
    return [epoch for epoch, _ in points], [value for _, value in points]
