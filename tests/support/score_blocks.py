"""Scores computed for few users and items at a time."""

import contextlib

import pytest

from crossan.train.evaluation import lower


@contextlib.contextmanager
def blocks_of(users, items):
    """Have scores computed for this many users and items at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "_LEAST_USERS_PER_BLOCK", users)
        patch.setattr(lower, "_SCORES_PER_BLOCK", {"cpu": users * items})
        yield
