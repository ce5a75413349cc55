"""Files in an attempt's folder, as the shim and the server write and read them.

The standard library alone, for the shim.
"""

# pathlib is slow to import.
# ruff: noqa: PTH110, PTH108, PTH123

from __future__ import annotations

import os

__all__ = ["error_lines", "write_once"]


def error_lines(output: bytes) -> str:
    """Return the lines of an output's end that tell an error, else its last ones."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        kind, colon, _ = lines[number].partition(": ")
        if colon and " " not in kind and kind.lower().endswith(("error", "exception")):
            return "\n".join(lines[number:][:20])[:4000]
    return "\n".join(lines[-5:])[-4000:]


def write_once(path: str, text: str) -> bool:
    """Write a file whole, and return whether this process was the first to write it."""
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
