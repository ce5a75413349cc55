"""Lists that hold at least so many items that nobody had in training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from crossan.train.service.recommender.ranking import Best, Query, Scores

__all__ = ["best_with_new"]


def best_with_new(scores: Scores, queries: Sequence[Query], is_new: Tensor) -> list[Best]:
    """Return the best items of each query, with as many new ones as it wants.

    Where a list has fewer, the best of the other new items take the places of its last items that
    are not new, as `crossan.train.evaluation.best.best_items` has it.

    Parameters
    ----------
    scores
        What ranks the catalogue.
    queries
        At most as many as it answers together.
    is_new
        Which items of the catalogue nobody had in training, ``(items,)`` bool.
    """
    answers = scores.best(queries)
    # Nearly all lists are as they should be, and the others cost a second look at the catalogue.
    lacking = [
        place
        for place, (query, best) in enumerate(zip(queries, answers, strict=True))
        if query.new and int(is_new[best.rows].sum()) < query.new
    ]
    if lacking:
        again = [queries[place]._replace(top=queries[place].new) for place in lacking]
        for place, new in zip(lacking, scores.best(again, is_new), strict=True):
            answers[place] = _merged(answers[place], new, queries[place].top)
    return answers


def _merged(best: Best, new: Best, top: int) -> Best:
    """Return a list of the best new items, and of the best others in what places are left."""
    new_rows = set(new.rows)
    others = [
        (row, score)
        for row, score in zip(best.rows, best.scores, strict=True)
        if row not in new_rows
    ]
    both = [*zip(new.rows, new.scores, strict=True), *others[: top - len(new.rows)]]
    both.sort(key=lambda item: (-item[1], item[0]))
    return Best([row for row, _ in both], [score for _, score in both])
