"""``python -m crossan.train``, for launchers that start modules: the command ``crossan-train``."""

from crossan.train.cli import main

main()
