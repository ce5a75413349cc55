"""Ray's Jobs REST API, as much of it as a queue needs; Ray itself is not imported.

Source: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlsplit

from crossan.cache_schema.errors import RemoteError, UsageError

__all__ = ["JobStatus", "JobsApi"]

_SECONDS = 10.0
_LARGEST_ANSWER = 1 << 20


class JobStatus(StrEnum):
    """What Ray says of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    MISSING = "MISSING"
    """Ray knows no such job: it was never submitted, or the head has lost its jobs."""

    @property
    def is_alive(self) -> bool:
        """Whether processes of the job may live, as far as Ray knows."""
        return self in {JobStatus.PENDING, JobStatus.RUNNING}


class JobsApi:
    """The jobs of one cluster.

    Parameters
    ----------
    address
        Of the dashboard, for example ``http://head:8265``.
    token
        Sent with every request; the cluster runs with ``RAY_AUTH_MODE=token``.

    Raises
    ------
    UsageError
        The address is none.
    """

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(
                f"ray.address: expected http://HOST:PORT of a Ray dashboard, got {address!r:.200}"
            )
        self.address = address
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/api/jobs/"
        # Two names for one thing: a proxy in front of the cluster may use the first for itself.
        bearer = f"Bearer {token}"
        self._headers = {"Authorization": bearer, "X-Ray-Authorization": bearer}

    def submit(self, submission_id: str, job: Mapping[str, Any]) -> None:
        """Submit a job, or do nothing where one of this id was submitted before.

        Raises
        ------
        RemoteError
            The cluster does not answer, or refuses the job.
        """
        body = {**job, "submission_id": submission_id}
        status, answer = self._ask("POST", "", body)
        # A repeated id is an inner 500 to Ray, so ask for the job instead of reading the words.
        if status != 200 and self.status(submission_id) is JobStatus.MISSING:
            raise self._refusal(status, answer)

    def status(self, submission_id: str) -> JobStatus:
        """Return how a job is.

        Raises
        ------
        RemoteError
            The cluster does not answer, or answers something else.
        """
        status, answer = self._ask("GET", quote(submission_id, safe=""))
        if status == 404:
            return JobStatus.MISSING
        if status == 200:
            try:
                return JobStatus(json.loads(answer)["status"])
            except (ValueError, KeyError, TypeError):
                pass
        raise self._refusal(status, answer)

    def stop(self, submission_id: str) -> None:
        """Ask Ray to stop a job; one that has ended or is unknown is left alone.

        Raises
        ------
        RemoteError
            The cluster does not answer, or refuses.
        """
        status, answer = self._ask("POST", f"{quote(submission_id, safe='')}/stop")
        if status not in {200, 404}:
            raise self._refusal(status, answer)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, bytes]:
        make = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        headers = dict(self._headers)
        text = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            text = json.dumps(body)
        try:
            with closing(make(self._host, self._port, timeout=_SECONDS)) as connection:
                connection.request(method, self._path + path, text, headers)
                answer = connection.getresponse()
                return answer.status, answer.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                f"{self.address}: the Ray cluster does not answer: {error}",
                remedy="See to its head: ray status",
            ) from error

    def _refusal(self, status: int, answer: bytes) -> RemoteError:
        lines = answer.decode(errors="replace").strip().splitlines()
        remedy = "See to its head: ray status"
        if status in {401, 403}:
            remedy = "Give the token of the cluster: ray.token_file in service.toml"
        return RemoteError(
            f"{self.address}: the Ray cluster answered {status}: {''.join(lines[-1:])[:500]}",
            remedy=remedy,
        )
