"""Many clients of a server, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.started import CEILING_S, start


class Crowd:
    """Clients of one kind that ``crowd_clients`` has, started now."""

    def __init__(self, kind, server, role, **settings):
        settings = {**settings, "port": server.port, "token": server.tokens[role]}
        path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
        self._process = start(
            sys.executable,
            "-m",
            "support.crowd_clients",
            kind,
            json.dumps(settings),
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def report(self):
        """Wait for the line that the process writes while it goes on, and return it."""
        return json.loads(self._process.stdout.readline())

    def end(self):
        """Have the process end, and return the last line that it writes, None where it was read."""
        printed, said = self._process.communicate(timeout=CEILING_S)
        assert self._process.returncode == 0, said
        return json.loads(printed) if printed else None
