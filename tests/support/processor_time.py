"""What a command costs, held against the library that it cannot do without.

A ratio of the same run: an absolute time says as much of the machine as of the code.
"""

import resource
import subprocess
import sys

_LIBRARY = (sys.executable, "-c", "import typer.main, typer.rich_utils, rich.markdown")


def times_the_library(call):
    """Return the CPU time of a call's child processes, as a multiple of importing the library.

    Both are done three times in turn, and the least of each counts: what else
    runs on the machine slows both.
    """
    spent = [(_cpu_seconds(call), _cpu_seconds(_import_library)) for _ in range(3)]
    ours, library = (min(seconds) for seconds in zip(*spent, strict=True))
    return ours / library


def _import_library():
    subprocess.run(_LIBRARY, check=True)


def _cpu_seconds(call):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
