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
        """Wait for the line that the process writes, and return it."""
        return json.loads(self._process.stdout.readline())

    def end(self):
        """Have it end, and return the line that it writes."""
        self._process.stdin.close()
        report = self.report()
        self._process.wait(CEILING_S)
        return report

    def leave(self):
        """Have it end, where its line was read before."""
        self._process.stdin.close()
        self._process.wait(CEILING_S)
