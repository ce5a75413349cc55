"""Has every program of a server wait before each line of ``metrics.jsonl`` until a test lets it.

Python imports this file at its start where the folder stands in ``PYTHONPATH``. It looks at what is
opened and changes nothing of ours. ``HELD_EPOCHS`` names the folder of `support.night.Gate`.
"""

import os
import sys
import time
from pathlib import Path

_FOLDER = os.environ.get("HELD_EPOCHS", "")
_lines = 0


def _wait_before_a_line(event, arguments):
    global _lines
    if event != "open" or not isinstance(arguments[0], str | os.PathLike):
        return
    path, _, flags = arguments
    if Path(path).name != "metrics.jsonl" or not flags & os.O_APPEND:
        return
    _lines += 1
    names = ("open", f"line-{_lines}")
    while not any(Path(_FOLDER, name).exists() for name in names):
        time.sleep(0.02)


if _FOLDER:
    sys.addaudithook(_wait_before_a_line)
