"""The program of a trial's process: ``crossan-train`` that ends with the sweep, however that ends."""

from __future__ import annotations

import sys
from typing import NoReturn

from crossan.common.children import end_with_parent

__all__ = ["main"]


def main() -> NoReturn:
    """Run ``crossan-train`` with the arguments after the first, which is the sweep's process id."""
    end_with_parent(int(sys.argv[1]))
    from crossan.train.cli import main as train

    sys.argv = ["crossan-train", *sys.argv[2:]]
    train()
