"""Ranks of held-out items over the whole catalogue, and the best-scored items of every user.

The rank of a target is one more than the number of other items whose score is
at least as high, up to rounding. Ties count against the target, so a model that
scores everything alike is ranked last, not first. A masked item (one of the
user's history) counts as lower than any target. A target that is itself masked
is no candidate, so it has no place among them: its rank is `UNREACHABLE`.

Several targets of one user are ranked in one list. Those that tie with each
other come in the order that they are given in, after all else that ties.

Ranks need no sorting: the lower scores are counted (`crossan.train.evaluation.lower`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from crossan.common.heartbeat import beat
from crossan.train.evaluation.best_by_gains import best_by_gains
from crossan.train.evaluation.lower import Blocks, counter_for
from crossan.train.evaluation.masking import Histories, Masked
from crossan.train.evaluation.metrics import UNREACHABLE
from crossan.train.evaluation.other_targets import OtherTargets
from crossan.train.evaluation.ranker import Ranker, RanksSparsely
from crossan.train.settings import HistoryMask

__all__ = ["fewest_candidates", "ranks_by_counting", "top_items"]


@torch.inference_mode()
def ranks_by_counting(
    ranker: Ranker,
    targets: Tensor,
    histories: Histories,
    mask_history: HistoryMask = "all",
    users: Tensor | None = None,
) -> Tensor:
    """Rank every target among all items.

    Parameters
    ----------
    ranker
        The users' scores; a NaN ranks last.
    targets
        Catalogue row of each held-out item, ``(targets,)``, no item twice for one
        user.
    histories
        Catalogue rows of the items that each user's targets are ranked after.
    mask_history
        See `HistoryMask`.
    users
        User of each target, ``(targets,)``, in order. By default every user has one.

    Returns
    -------
    Tensor
        1-based ranks, ``(targets,)`` int64; `UNREACHABLE` where the target is masked.
    """
    if users is None:
        users = torch.arange(len(targets), device=ranker.device)
    ranks = torch.zeros(len(targets), dtype=torch.int64, device=ranker.device)
    if not len(targets):
        return ranks
    scores = torch.zeros(len(targets), dtype=torch.float64)
    counter, others = counter_for(ranker), OtherTargets.of(users, targets)
    # In the order of the targets, so that those of one block of users are in few blocks of items:
    # each of those has to be scored twice (see `DenseCounter`).
    for rows in targets.argsort(stable=True).split(counter.users_at_once):
        beat()
        known = Masked.of_histories(histories, users[rows], targets[rows], mask_history)
        masked = known.with_more(*others.of_rows(rows))
        counted = counter.count(users[rows], targets[rows], masked)
        block_ranks = ranker.item_count - counted.lower
        # Ranked last it would still be a hit where a cut-off reaches the whole catalogue.
        block_ranks[known.hidden_targets] = UNREACHABLE
        ranks[rows] = block_ranks
        scores[rows.cpu()] = counted.target_scores.double().cpu()
    return others.put_in_order(ranks, scores)


def fewest_candidates(
    item_count: int,
    targets: Tensor,
    histories: Histories,
    mask_history: HistoryMask,
    users: Tensor | None = None,
) -> int:
    """Return the smallest number of items that any target is ranked among.

    Masked items are no candidates. Parameters are as for `ranks_by_counting`; the result is
    ``item_count`` where nobody is ranked.
    """
    users = torch.arange(len(targets)) if users is None else users
    masked = Masked.of_histories(histories, users.cpu(), targets.cpu(), mask_history)
    return item_count - int(masked.count_per_row(item_count).max(initial=0))


@torch.inference_mode()
def top_items(ranker: Ranker, histories: Histories, count: int) -> Tensor:
    """Return the best-scored items of each user that the history does not hold.

    Returns
    -------
    Tensor
        Catalogue rows, best first, ``(users, count)`` int64 on the CPU. Where fewer than
        ``count`` items are left, the end holds -1. Of items with equal scores the earlier
        catalogue row comes first where the ranker `RanksSparsely`, otherwise the ones that
        `torch.topk` prefers.
    """
    if isinstance(ranker, RanksSparsely):
        return best_by_gains(ranker, histories, count)[0]
    blocks = Blocks.of(ranker)
    everyone = torch.arange(ranker.user_count, device=ranker.device)
    parts = [torch.zeros((0, count), dtype=torch.int64)]
    for users in everyone.split(blocks.users_at_once):
        beat()
        masked = Masked.of_histories(histories, users, None, "all")
        rows = torch.full((len(users), count), -1, device=ranker.device)
        best: Tensor | None = None
        for items in blocks.ranges():
            scores = masked.apply(ranker.scores(users, items), items.start)
            block_best, columns = scores.topk(min(count, scores.shape[1]), dim=1)
            if best is None:
                best = block_best.new_full((len(users), count), float("-inf"))
            # The best so far compete with the best of this block, each with its catalogue row.
            best, winners = torch.cat([best, block_best], dim=1).topk(count, dim=1)
            rows = torch.cat([rows, columns + items.start], dim=1).gather(1, winners)
        is_empty = best == float("-inf") if best is not None else rows < 0
        parts.append(rows.masked_fill(is_empty, -1).cpu())
    return torch.cat(parts)
