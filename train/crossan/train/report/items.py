"""The items behind the numbers: what a run finds, what it misses, what it holds alike.

Few users and items are shown, and no user id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.errors import UsageError
from crossan.train.evaluation.encoding import make_rankers
from crossan.train.record.user_ranks import UserRanks
from crossan.train.report.blocks import Block, Cards, Item, Note, Section, Shelf
from crossan.train.report.pictures import Picture, look_up
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.vectors import item_vectors
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import pad_left, test_split

__all__ = ["items_section"]

_TOP = 10
_COLD_SHOWN, _MISSES_SHOWN, _USERS_SHOWN = 10, 6, 3
_ANCHORS, _NEIGHBOURS = 3, 7
_HISTORY_SHOWN = 8
_TARGET = "target"
_WINNABLE = 2**53
"""Ranks below this one; a masked target has it."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the catalogue and of the targets of a run."""

    opened: OpenedRun
    ranks: UserRanks
    targets: Rows
    """Catalogue row of every target, ``(targets,)``, user after user."""
    owners: Rows
    """The user of every target, ``(targets,)``."""
    histories: Sequence[Rows]
    counts: Rows
    """How often each item occurs in training, ``(items,)``."""


class _Shown(NamedTuple):
    """An item before its title and picture are looked up."""

    row: int
    detail: str = ""
    tag: str = ""


def items_section(opened: OpenedRun, ranks: UserRanks, label: str) -> Section:
    """Return items that the run ranks well and badly, and items that it holds alike.

    Parameters
    ----------
    opened
        The run, on the data that it was trained on.
    ranks
        Where it ranked the test targets.
    label
        The run, as the page calls it.
    """
    split, user_ids = (
        test_split(opened.kept, opened.settings.data.input_length),
        opened.kept.user_ids,
    )
    # Of a split with users without targets the others were ranked.
    ranked = np.unique(split.users.numpy())
    known = _Known(
        opened,
        ranks,
        np.asarray(split.targets, dtype=np.int64).reshape(-1),
        np.repeat(np.arange(len(ranks.user_ids)), np.diff(ranks.offsets)),
        [split.histories[user] for user in ranked.tolist()],
        training_counts(opened.kept.training_items, len(opened.kept.item_ids)),
    )
    if len(known.targets) != len(ranks.ranks) or not np.array_equal(
        ranks.user_ids, user_ids[ranked]
    ):
        return Section(
            "items", "Items", [Note("The dataset has changed since the run was ranked.")]
        )
    parts = [*_cold(known), *_users(known), *_misses(known), *_neighbours(known)]
    rows = {shown.row for _, _, shelves in parts for _, items in shelves for shown in items}
    ids = opened.kept.item_ids
    pictures = look_up(opened.dataset, [str(ids[row]) for row in sorted(rows)])
    blocks: list[Block] = [_cards(part, ids, pictures) for part in parts]
    return Section("items", "Items", blocks, f"Of {label}, on the test targets.")


_Shelf = tuple[str, list[_Shown]]
_Part = tuple[str, str, list[_Shelf]]
"""Title, remark and shelves of one group of cards."""


def _cards(part: _Part, ids: npt.NDArray[np.str_], pictures: dict[str, Picture]) -> Cards:
    title, detail, shelves = part

    def item(shown: _Shown) -> Item:
        item_id = str(ids[shown.row])
        name, picture = pictures[item_id]
        return Item(item_id, name, shown.detail, picture, shown.tag)

    filled = [Shelf(label, [item(shown) for shown in items]) for label, items in shelves]
    is_short = len(filled) > 1 and all(len(shelf.items) == 2 for shelf in filled)
    return Cards(title, filled, detail, is_short)


def _cold(known: _Known) -> list[_Part]:
    """Return the cold targets that were ranked best, each item once."""
    order = np.flatnonzero(known.ranks.is_cold & (known.ranks.ranks < _WINNABLE))
    order = order[np.argsort(known.ranks.ranks[order], kind="stable")]
    best: dict[int, int] = {}
    for target in order.tolist():
        best.setdefault(int(known.targets[target]), int(known.ranks.ranks[target]))
        if len(best) == _COLD_SHOWN:
            break
    if not best:
        return []
    items = [_Shown(row, f"rank {rank:,}") for row, rank in best.items()]
    remark = "In no training sequence, so known by their content alone; the best rank of each."
    return [("Cold items, best ranked", remark, [("", items)])]


def _users(known: _Known) -> list[_Part]:
    """Return users with their history, what they are shown and their target.

    One was served well, one as most are, and one between them; the first of each kind.
    """
    best = np.minimum.reduceat(known.ranks.ranks, known.ranks.offsets[:-1])
    order = np.argsort(best, kind="stable")
    order = order[best[order] < _WINNABLE]
    places = [int(share * (len(order) - 1)) for share in (0.05, 0.25, 0.5)]
    users = (
        list(dict.fromkeys(int(order[index]) for index in places))[:_USERS_SHOWN]
        if len(order)
        else []
    )
    if not users:
        return []
    # A random split draws which items are the history, and has no order in it.
    is_timed = known.opened.settings.data.split == "leave-last-out"
    words = "History, the latest last" if is_timed else "History, in no order"
    parts: list[_Part] = []
    for number, (user, top) in enumerate(zip(users, _top_items(known, users), strict=True), 1):
        begin, end = known.ranks.offsets[user], known.ranks.offsets[user + 1]
        targets = {int(row): int(rank) for row, rank in
                   zip(known.targets[begin:end], known.ranks.ranks[begin:end], strict=True)}  # fmt: skip
        history = known.histories[user]
        shown = [
            _Shown(row, f"{rank}", _TARGET if row in targets else "")
            for rank, row in enumerate(top, 1)
        ]
        missed = [
            _Shown(row, f"rank {rank:,}", _TARGET)
            for row, rank in targets.items()
            if row not in top
        ]
        last = [_Shown(int(row)) for row in history[-_HISTORY_SHOWN:]]
        shelves = [(words, last), ("Shown first", shown)]
        shelves += [("Target, beyond the first ten", missed[:_TOP])] if missed else []
        parts.append((f"User {number}", f"{len(history)} items before the target", shelves))
    return parts


@torch.inference_mode()
def _top_items(known: _Known, users: Sequence[int]) -> list[list[int]]:
    """Return the best-scored items of some users, without their histories."""
    opened, histories = known.opened, [known.histories[user] for user in users]
    reader = _Readers(pad_left(histories, opened.settings.data.input_length), histories)
    ranker = make_rankers(opened.model, opened.features, {"shown": reader})["shown"]
    everyone = torch.arange(len(users), device=ranker.device)
    scores = ranker.scores(everyone, slice(0, ranker.item_count)).cpu()
    top = []
    for of_user, history in zip(scores, histories, strict=True):
        of_user[torch.from_numpy(np.asarray(history))] = float("-inf")
        order = of_user.argsort(descending=True, stable=True)[:_TOP]
        top.append([row for row in order.tolist() if of_user[row] > float("-inf")])
    return top


class _Readers(NamedTuple):
    """Users by their histories."""

    inputs: Tensor
    histories: Sequence[Rows]


def _misses(known: _Known) -> list[_Part]:
    """Return the targets with the worst ranks, each after the last item of its user."""
    order = np.flatnonzero(known.ranks.ranks < _WINNABLE)
    order = order[np.argsort(-known.ranks.ranks[order], kind="stable")]
    shelves: list[_Shelf] = []
    seen: set[int] = set()
    for target in order.tolist():
        row, rank = int(known.targets[target]), int(known.ranks.ranks[target])
        if row in seen or rank <= _TOP:
            continue
        seen.add(row)
        last = int(known.histories[int(known.owners[target])][-1])
        detail = f"rank {rank:,}, {known.counts[row]:,} in training"
        shelves.append(("", [_Shown(last, "after this"), _Shown(row, detail, _TARGET)]))
        if len(shelves) == _MISSES_SHOWN:
            break
    remark = "An item of a user's history, the last one where it has an order, and a target."
    return [("Worst misses", remark, shelves)] if shelves else []


def _neighbours(known: _Known) -> list[_Part]:
    """Return the nearest items by the cosine of item vectors, of popular and of cold items."""
    try:
        vectors = item_vectors(known.opened).detach().float().cpu()
    except UsageError:
        return []  # a model that counts holds no items alike
    popular = np.argsort(-known.counts, kind="stable")[:_ANCHORS].tolist()
    cold = np.unique(known.targets[known.ranks.is_cold])[:_ANCHORS].tolist()
    units = torch.nn.functional.normalize(vectors, dim=1)
    shelves = []
    for row in dict.fromkeys([*popular, *cold]):
        if not vectors[row].any():
            continue  # a cold item of a model that knows item ids alone
        cosines = units @ units[row]
        cosines[row] = float("-inf")
        nearest = cosines.argsort(descending=True, stable=True)[:_NEIGHBOURS].tolist()
        words = "cold" if known.counts[row] == 0 else f"{known.counts[row]:,} in training"
        items = [_Shown(row, words, "this one")]
        shelves.append(("", [*items, *(_Shown(n, f"{cosines[n]:.2f}") for n in nearest)]))
    remark = "By the cosine of item vectors: first the item, then its nearest; popular ones, then cold ones."
    return [("Nearest neighbours", remark, shelves)] if shelves else []
