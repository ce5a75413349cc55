"""The program of a trial's process, which is ``crossan-train`` and ends with the sweep."""

from __future__ import annotations

import sys
from typing import NoReturn

from crossan.common.children import end_with_parent

__all__ = ["main"]


def main() -> NoReturn:
    """Run ``crossan-train`` with the arguments after the first, which is the sweep's process id."""
    # Before the imports, which take seconds: the sweep may be killed meanwhile.
    end_with_parent(int(sys.argv[1]))
    from crossan.train.cli import main as train

    sys.argv = ["crossan-train", *sys.argv[2:]]
    train()
