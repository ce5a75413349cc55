"""The figures of a run as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossan.common.console import Column, print_table, print_text

__all__ = ["metric_label", "print_refit", "print_result", "print_stale"]

_METRICS = ("hr@10", "hr@20", "ndcg@10", "ndcg@20", "mrr@10")


def metric_label(name: str, split: str) -> str:
    """Return what people call a metric of ``result.json``, for example ``HR@10``.

    Where users may have several targets, ``hr`` is the recall.
    """
    label = name.upper()
    return label if split == "leave-last-out" else label.replace("HR@", "Recall@")


def print_result(result: dict[str, Any]) -> None:
    """Print the metrics of validation and test, and what else ``result.json`` says of test."""
    # What is known of a refit is its own: a reader must not take it for the run's.
    model = f"{result['model']} (refit)" if "refit" in result else result["model"]
    rows = []
    for split in ("valid", "test"):
        if split not in result:
            continue
        rows.append((split, model, result[split]))
        # A run of popularity is its own baseline; a run without a test part has none recorded.
        if "popularity" in result and result["model"] != "popularity":
            rows.append((split, "popularity", result["popularity"][split]))
    print_table(
        [
            Column("targets"),
            Column("model"),
            *(Column(metric_label(name, result["split"]), is_number=True) for name in _METRICS),
        ],
        [
            [split, model, *(f"{metrics[name]:.4f}" for name in _METRICS)]
            for split, model, metrics in rows
        ],
    )
    if "test" in result:
        _print_test(result)
    else:
        _print_cold(result, ("valid",))
    print_stale(result["contents"])


def print_refit(result: Mapping[str, Any]) -> None:
    """Print what the refit of a run was trained on, of which no figure is known."""
    refit, count = result["refit"], result["refit"]["epochs"]
    epochs = "1 epoch" if count == 1 else f"{count:,} epochs"
    held_out = "validation and test items" if refit["trained_on"] == "all" else "validation items"
    print_text(
        f"refit on all {result['interactions']:,} interactions with the {held_out},"
        f" for {epochs}, as the run above chose: {result['run']}"
    )


def print_stale(contents: Mapping[str, Mapping[str, int]]) -> None:
    """Print which hidden states are not of the items' own contents, nothing where all are."""
    stale = [
        f"{modality} {counts['stale']:,} of {counts['compared']:,}"
        for modality, counts in contents.items()
        if counts["stale"]
    ]
    if stale:
        print_text(f"items with other contents than their hidden states: {', '.join(stale)}")


def _print_test(result: dict[str, Any]) -> None:
    target_count, split = result["targets"]["test"], result["split"]
    if split != "leave-last-out":
        seed = "" if result["split_seed"] is None else f" with seed {result['split_seed']}"
        print_text(
            f"split {split}{seed}: {target_count:,} test targets of {result['users']:,} users"
        )
    _print_cold(result, ("valid", "test"))
    lists = result["recommendations"]
    print_text(
        f"lists of {lists['top']}: {lists['coverage']:.1%} of the catalogue,"
        f" Gini {lists['gini']:.2f}, mean popularity {lists['mean_popularity']:.1f}"
        f" against {lists['history_mean_popularity']:.1f} of the histories"
    )
    unwinnable = result["unwinnable_test_targets"]
    print_text(
        f"ranked over all {result['items']:,} items, history masked: {result['mask_history']};"
        f" unwinnable test targets {unwinnable:,} ({unwinnable / target_count:.1%})"
    )


def _print_cold(result: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Print the figures of the targets that nobody had in training, a line for each part."""
    hr, ndcg = (metric_label(name, result["split"]) for name in ("hr@10", "ndcg@10"))
    for part in parts:
        # A refit has no validation targets, and a run of before recorded no cold ones of them.
        cold, targets = result.get(f"cold_{part}"), result.get("targets")
        if cold is not None:
            of_all = f" of {targets[part]:,}" if targets else ""
            print_text(
                f"cold {part} targets: {cold['targets']:,}{of_all},"
                f" {hr} {cold['hr@10']:.4f}, {ndcg} {cold['ndcg@10']:.4f}"
            )
