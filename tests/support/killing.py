"""SIGKILL without a process: an exception that nothing catches, in place of the n-th of some calls."""

from __future__ import annotations


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def die_at(monkeypatch, countdown, calls):
    """Raise `Killed` in place of the n-th call among ``calls``, each an owner and a name; return how many are left, as a list."""
    left = [countdown]

    def counted(call):
        def count(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return call(*arguments, **options)

        return count

    for owner, name in calls:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return left
