"""Scores computed for few users and items at a time."""

import contextlib

import pytest

from crossan.train.evaluation import ranking


@contextlib.contextmanager
def blocks_of(users, items):
    """Have scores computed for this many users and items at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_LEAST_USERS_PER_BLOCK", users)
        patch.setattr(ranking, "_SCORES_PER_BLOCK", {"cpu": users * items})
        yield
