"""The log of an attempt, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from crossan.train.service.client.http import Client

__all__ = ["log_pieces"]


def log_pieces(client: Client, run_id: int, attempt: int | None = None) -> Iterator[str]:
    """Yield what an attempt has printed so far.

    Parameters
    ----------
    client
        Asks the server.
    run_id
        The run.
    attempt
        Its number, by default that of the latest.

    Raises
    ------
    UsageError
        There is no such run or attempt.
    RemoteError
        The server does not answer.
    """
    offset = 0
    while True:
        query = {"attempt": attempt, "from": offset}
        text, headers = client.text(f"/v1/runs/{run_id}/log", **query)
        if not text:
            return
        yield text
        following = {name.lower(): value for name, value in headers.items()}["x-next-offset"]
        # Of the attempt that was the latest at the beginning, whatever begins meanwhile.
        attempt = attempt or int({name.lower(): one for name, one in headers.items()}["x-attempt"])
        offset = int(following)
