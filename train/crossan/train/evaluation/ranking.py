"""Ranks of held-out items over the whole catalogue, and the best-scored items of every user.

The rank of a target is one more than the number of other items whose score is
at least as high, up to rounding. Ties count against the target, so a model that
scores everything alike is ranked last, not first. A masked item (one of the
user's history) counts as lower than any target. A target that is itself masked
is no candidate, so it has no place among them: its rank is `UNREACHABLE`.

Several targets of one user are ranked in one list. Those that tie with each
other come in the order that they are given in, after all else that ties.

Ranks need no sorting: the lower scores are counted. Scores are computed for a
block of users and a block of items at a time, as many as stay in the
processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.evaluation.masking import Histories, Masked
from crossan.train.evaluation.metrics import UNREACHABLE
from crossan.train.evaluation.other_targets import OtherTargets
from crossan.train.evaluation.ranker import Ranker
from crossan.train.settings import HistoryMask

__all__ = ["fewest_candidates", "ranks_by_counting", "top_items"]

_SCORES_PER_BLOCK = {"cpu": 2_500_000, "cuda": 50_000_000}
"""By kind of device.

About 10 MB of float32 stay in a processor's cache; an accelerator is only busy
with more at a time.
"""
_LEAST_USERS_PER_BLOCK = 64
"""For fewer users at a time, reading the item vectors costs more than multiplying them."""


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
    blocks, others = _Blocks.of(ranker), OtherTargets.of(users, targets)
    is_lower = torch.empty(0, dtype=torch.bool, device=ranker.device)
    # In the order of the targets, so that those of one block of users are in few blocks of items:
    # each of those has to be scored twice (see `_count_lower`).
    for rows in targets.argsort(stable=True).split(blocks.users_at_once):
        if is_lower.numel() < len(rows) * blocks.items_at_once:
            is_lower = is_lower.new_empty(len(rows) * blocks.items_at_once)
        known = Masked.of_histories(histories, users[rows], targets[rows], mask_history)
        masked = known.with_more(*others.of_rows(rows))
        counted = _count_lower(ranker, blocks, users[rows], targets[rows], masked, is_lower)
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
        ``count`` items are left, the end holds -1. Of items with equal scores the ones that
        `torch.topk` prefers come first.
    """
    blocks = _Blocks.of(ranker)
    everyone = torch.arange(ranker.user_count, device=ranker.device)
    parts = [torch.zeros((0, count), dtype=torch.int64)]
    for users in everyone.split(blocks.users_at_once):
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


@dataclass(frozen=True, slots=True)
class _Blocks:
    """How many users and items are scored at a time."""

    users_at_once: int
    items_at_once: int
    item_count: int

    @classmethod
    def of(cls, ranker: Ranker) -> _Blocks:
        """Cut so that a block's scores stay in the cache of the ranker's device."""
        size = _SCORES_PER_BLOCK.get(ranker.device.type, _SCORES_PER_BLOCK["cpu"])
        users_at_once = max(_LEAST_USERS_PER_BLOCK, size // max(ranker.item_count, 1))
        items_at_once = min(ranker.item_count, max(1, size // users_at_once))
        return cls(users_at_once, items_at_once, ranker.item_count)

    def ranges(self) -> list[slice]:
        """Return the ranges of catalogue rows, in order."""
        starts = range(0, self.item_count, max(self.items_at_once, 1))
        return [slice(start, min(start + self.items_at_once, self.item_count)) for start in starts]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is known of the targets of one block."""

    lower: Tensor
    """How many items count as lower than each target, masked ones among them, int64."""
    target_scores: Tensor
    """Score of each target."""


def _count_lower(
    ranker: Ranker,
    blocks: _Blocks,
    users: Tensor,
    targets: Tensor,
    masked: Masked,
    is_lower: Tensor,
) -> _Counted:
    """Count for each of some users the items that are lower than a target.

    ``is_lower`` is room for one block's comparisons.
    """
    ranges = blocks.ranges()
    block_of_target = targets // blocks.items_at_once
    with_targets = block_of_target.unique().tolist()
    # A target's score comes out of the same block as those of other items, not from a product of
    # its own, which would round in another way: an item equal to the target must tie with it.
    target_scores: Tensor | None = None
    for block in with_targets:
        block_scores = ranker.scores(users, ranges[block])
        if target_scores is None:
            target_scores = block_scores.new_empty(len(users))
        inside = (block_of_target == block).nonzero().squeeze(1)
        columns = targets[inside] - ranges[block].start
        target_scores[inside] = block_scores[inside, columns]
    assert target_scores is not None  # every user has a target, so some block held one
    # A score this little below the target's may be a tie that was rounded. It counts against it.
    least = target_scores - ranker.rounding(users, targets)
    lower = torch.zeros_like(targets)
    # The ranker still holds the block that was scored last: count that one first, before the
    # others overwrite it.
    last_scored = with_targets[-1]
    for block in (last_scored, *(other for other in range(len(ranges)) if other != last_scored)):
        if block != last_scored:
            block_scores = ranker.scores(users, ranges[block])
        masked.apply(block_scores, ranges[block].start)
        comparison = is_lower[: block_scores.numel()].view(block_scores.shape)
        torch.lt(block_scores, least.unsqueeze(1), out=comparison)
        # Bytes add up ten times as fast as bools.
        lower += comparison.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()
    return _Counted(lower, target_scores)
