"""The words and figures that every format of a comparison shares."""

from __future__ import annotations

from crossan.train.comparison.measuring import ComparedRow, Comparison

__all__ = ["METRIC_NAMES", "TEXT_BEGINS", "facts", "footnotes", "p_value", "row_facts", "share"]

METRIC_NAMES = {"hr@10": "HR@10", "ndcg@10": "NDCG@10", "hr@20": "HR@20", "ndcg@20": "NDCG@20"}
TEXT_BEGINS = "compared on "
_PARTS = {"valid": "validation", "test": "test"}


def facts(comparison: Comparison) -> str:
    """Return what the rows were ranked on, which belongs beside every table of them."""
    split = comparison.split
    if comparison.split_seed is not None:
        split += f" with seed {comparison.split_seed}"
    users, items = comparison.users, comparison.items
    parts = [
        f"{TEXT_BEGINS}{_PARTS[comparison.part]}: {users:,} users over all {items:,} items",
        f"split {split}",
        f"history masked: {comparison.mask_history}",
    ]
    if comparison.cold_targets is not None:
        parts.append(f"cold targets {share(comparison.cold_targets, comparison.targets)}")
    if comparison.unwinnable_targets is not None:
        unwinnable = share(comparison.unwinnable_targets, comparison.targets)
        parts.append(f"unwinnable targets {unwinnable}")
    return "; ".join(parts)


def footnotes(comparison: Comparison) -> list[str]:
    """Return what a reader must know of the figures, a line each."""
    lines = list(comparison.notes)
    if comparison.targets > comparison.users:
        lines.append(
            f"{comparison.targets:,} targets, several of some users: HR is the share of a user's"
            " targets that is found, which others call Recall"
        )
    lines += [f"{row.row.name}: {mark}" for row in comparison.rows for mark in row.marks]
    return lines


def row_facts(row: ComparedRow) -> list[str]:
    """Return model, number of seeds, trainable parameters, epochs and seconds per epoch."""
    return [
        row.row.model,
        str(len(row.row.runs)),
        f"{row.trainable_parameters:,}",
        f"{row.epochs:.3g}" if row.epochs % 1 else f"{row.epochs:.0f}",
        f"{row.seconds_per_epoch:.3g}",
    ]


def share(count: int, of_all: int) -> str:
    """Return a count with its share, as ``12 (3.4%)``."""
    return f"{count:,} ({count / of_all:.1%})" if of_all else f"{count:,}"


def p_value(value: float | None) -> str:
    """Return a p-value to four digits, never as a zero that it is not."""
    if value is None:
        return "-"
    return "<.0001" if value < 1e-4 else f"{value:.4f}"
