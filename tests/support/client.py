"""The commands of the service's client, run in this process."""

from __future__ import annotations

import json
from types import SimpleNamespace

from typer.testing import CliRunner


def invoke(app, *words, **more):
    """Run a command; return its exit code, its output and its JSON. What it raises is its exit code."""
    result = CliRunner().invoke(app, [str(word) for word in words], **more)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        if not hasattr(error, "exit_code"):
            raise error
        return SimpleNamespace(code=error.exit_code, out=result.stdout, said=str(error), json=None)
    lines = result.stdout.splitlines()
    try:
        parsed = json.loads(lines[-1]) if lines else None
    except ValueError:
        parsed = None
    return SimpleNamespace(
        code=result.exit_code, out=result.stdout, said=result.stderr, json=parsed
    )
