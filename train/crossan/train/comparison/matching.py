"""The users and targets that two runs both ranked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.train.comparison.finished import FinishedRun, finished_runs
from crossan.train.comparison.users import require_figure
from crossan.train.record.one_protocol import require_one_protocol
from crossan.train.record.user_ranks import UserRanks, read_targets, read_user_ranks

__all__ = ["Matched", "match_users", "one_run"]

_METRIC, _CUTOFF = "ndcg@10", 10
_OF_DATA = ("users", "items", "sequences")
"""What ``result.json`` says of the data, which may have grown between two runs."""
_RULE = ("max_items", "min_items", "drop_items")
"""Settings that say which interactions are kept, and with them the catalogue."""


@dataclass(frozen=True, slots=True)
class Matched:
    """NDCG@10 of the users that both runs ranked, each ``(users,)`` float64 in one order."""

    candidate: npt.NDArray[np.float64]
    production: npt.NDArray[np.float64]
    candidate_cold: npt.NDArray[np.float64]
    """NDCG@10 of each user's cold targets, NaN for a user without one."""
    production_cold: npt.NDArray[np.float64]
    left_out: tuple[int, int]
    """Users of each run that the other did not rank, or ranked by other targets."""


def one_run(path: Path) -> FinishedRun:
    """Return the finished run in a folder, with test figures and the rank of every user's targets.

    Raises
    ------
    UsageError
        There is none, or there are several.
    StoreIntegrityError
        A record is damaged.
    """
    runs = finished_runs(path)
    if len(runs) > 1:
        raise UsageError(
            f"{path}: expected one run, found a sweep that has chosen {len(runs)} seeds",
            remedy=f"Name one of them: {runs[0].path}",
        )
    if not runs[0].has_test or not runs[0].has_ranks:
        raise UsageError(
            f"{path}: expected a run with test figures and the rank of every user's targets, found"
            " one without",
            remedy=f"Rank its test targets: crossan-train --resume --out {path}",
        )
    return runs[0]


def match_users(candidate: FinishedRun, production: FinishedRun) -> Matched:
    """Return the metrics of the users that both runs ranked by the same test targets.

    Where both ranked the same data, that is everybody. Where the candidate's data have grown, it
    is whoever is in both with the same targets.

    Raises
    ------
    IncompatibleError
        Split, mask or the rule of the catalogue differ, or nobody was ranked by both.
    StoreIntegrityError
        Ranks are damaged, or are not those that the figures come from.
    """
    is_same_data = _require_comparable(candidate, production)
    ours, theirs = (read_user_ranks(run.path, "test") for run in (candidate, production))
    if is_same_data and np.array_equal(ours.user_ids, theirs.user_ids):
        chosen = np.arange(len(ours.user_ids)), np.arange(len(theirs.user_ids))
    else:
        chosen = _in_both(candidate.path, ours, production.path, theirs)
    if not len(chosen[0]):
        raise IncompatibleError(
            f"{candidate.path} and {production.path}: expected users that both ranked by the same"
            " test targets, found none",
            remedy=_rank_again(production.path),
        )
    values = []
    for run, ranks in ((candidate, ours), (production, theirs)):
        of_users = ranks.ndcg(_CUTOFF)
        require_figure(of_users, run, "test", _METRIC)
        values.append(of_users)
    # Which targets are cold is a fact of the candidate's training parts, which are today's.
    our_cold = _cold_ndcg(ours, chosen[0], ours, chosen[0])
    return Matched(
        candidate=values[0][chosen[0]],
        production=values[1][chosen[1]],
        candidate_cold=our_cold,
        production_cold=_cold_ndcg(theirs, chosen[1], ours, chosen[0]),
        left_out=(len(ours.user_ids) - len(chosen[0]), len(theirs.user_ids) - len(chosen[1])),
    )


def _require_comparable(candidate: FinishedRun, production: FinishedRun) -> bool:
    """Refuse runs under two protocols, and return whether both ranked the same data."""
    runs = {str(run.path): run for run in (candidate, production)}
    digests = [run.figures.get("sequences") for run in runs.values()]
    is_same_data = digests[0] is not None and digests[0] == digests[1]
    figures = {name: dict(run.figures) for name, run in runs.items()}
    if not is_same_data:
        for of_run in figures.values():
            for name in _OF_DATA:
                of_run.pop(name, None)
    require_one_protocol(figures)
    for name in _RULE:
        values = [getattr(run.settings.data, name) for run in runs.values()]
        if values[0] != values[1]:
            raise IncompatibleError(
                f"{candidate.path} and {production.path}: expected one catalogue rule, found"
                f" data.{name}={values[0]} and {values[1]}",
                remedy=f"Train the candidate by the rule of production: --set data.{name}={values[1]}",
            )
    return is_same_data


def _in_both(
    our_path: Path, ours: UserRanks, their_path: Path, theirs: UserRanks
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the users stand in each run whom both ranked by the same targets."""
    targets = [read_targets(path, "test") for path in (our_path, their_path)]
    for path, items in zip((our_path, their_path), targets, strict=True):
        if items is None:
            raise IncompatibleError(
                f"{path}: expected the item of every target, as the runs ranked other data, found"
                " none recorded",
                remedy=_rank_again(their_path),
            )
    our_items, their_items = targets
    assert our_items is not None
    assert their_items is not None
    _, our_rows, their_rows = np.intersect1d(
        ours.user_ids, theirs.user_ids, assume_unique=True, return_indices=True
    )
    is_same = [
        np.array_equal(_of_user(our_items, ours, row), _of_user(their_items, theirs, other))
        for row, other in zip(our_rows.tolist(), their_rows.tolist(), strict=True)
    ]
    return our_rows[is_same].astype(np.int64), their_rows[is_same].astype(np.int64)


def _of_user(values: npt.NDArray[np.str_], ranks: UserRanks, user: int) -> npt.NDArray[np.str_]:
    return values[ranks.offsets[user] : ranks.offsets[user + 1]]


def _cold_ndcg(
    ranks: UserRanks,
    users: npt.NDArray[np.int64],
    flags: UserRanks,
    flagged_users: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the NDCG@10 of some users' cold targets, NaN for a user without one.

    Parameters
    ----------
    ranks, users
        The ranks, and the users among them.
    flags, flagged_users
        Who says which targets are cold, and the same users there.
    """
    cold = np.full(len(users), np.nan)
    for place, (user, flagged) in enumerate(
        zip(users.tolist(), flagged_users.tolist(), strict=True)
    ):
        begin, end = ranks.offsets[user], ranks.offsets[user + 1]
        is_cold = flags.is_cold[flags.offsets[flagged] : flags.offsets[flagged + 1]]
        if is_cold.any():
            of_user = ranks.ranks[begin:end][is_cold]
            gains = np.where(of_user <= _CUTOFF, 1.0 / np.log2(of_user + 1.0), 0.0)
            best = 1.0 / np.log2(np.arange(1, min(len(of_user), _CUTOFF) + 1) + 1.0)
            cold[place] = gains.sum() / best.sum()
    return cold


def _rank_again(production: Path) -> str:
    return f"Rank today's targets by production: crossan evaluate {production} --out FOLDER"
