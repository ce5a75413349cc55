"""``python -m crossan``: the command ``crossan``."""

from crossan.common.umbrella import main

main()
