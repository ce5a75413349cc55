"""The figures of a run as a person reads them."""

from __future__ import annotations

from typing import Any

__all__ = ["print_result"]


def print_result(result: dict[str, Any]) -> None:
    """Print the metrics of validation and test, and what stands beside them in ``result.json``."""
    columns = ("hr@10", "hr@20", "ndcg@10", "ndcg@20", "mrr@10")
    print(f"{'':<18}" + "".join(f"{name.upper():>10}" for name in columns))
    rows = [("valid", "CROSSAN", result["valid"])]
    if "test" in result:
        popularity = [
            (split, "popularity", result["popularity"][split]) for split in ("valid", "test")
        ]
        rows += [popularity[0], ("test", "CROSSAN", result["test"]), popularity[1]]
    for split, who, metrics in rows:
        print(f"{split:<6}{who:<12}" + "".join(f"{metrics[name]:>10.4f}" for name in columns))
    if "test" not in result:
        return
    cold, users = result["cold_test"], result["users"]
    print(
        f"cold targets: {cold['targets']:,} of {users:,}, HR@10 {cold['hr@10']:.4f}, NDCG@10 {cold['ndcg@10']:.4f}"
    )
    shown = result["recommendations"]
    print(
        f"lists of {shown['top']}: {shown['coverage']:.1%} of the catalogue, Gini {shown['gini']:.2f}, mean popularity"
        f" {shown['mean_popularity']:.1f} against {shown['history_mean_popularity']:.1f} of the histories"
    )
    print(
        f"ranked over all {result['items']:,} items, history masked: {result['mask_history']};"
        f" unwinnable test targets {result['unwinnable_test_targets']:,} ({result['unwinnable_test_targets'] / users:.1%})"
    )
