"""Where runs go, as the operator set it."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.train.service.executors import Executor, LocalExecutor
from crossan.train.service.settings import ServiceSettings

__all__ = ["executor_of"]


def executor_of(settings: ServiceSettings) -> Executor:
    """Return the executor that the settings name.

    Raises
    ------
    UsageError
        The file of Ray's token cannot be read, or the address is none.
    """
    if settings.executor == "local":
        return LocalExecutor()
    from crossan.train.service.executors.jobs_api import JobsApi
    from crossan.train.service.executors.ray_jobs import RayExecutor

    ray = settings.ray
    # The settings were checked for both.
    assert ray.address is not None
    assert ray.token_file is not None
    api = JobsApi(ray.address, _token_of(Path(ray.token_file)))
    return RayExecutor(api, ray.python, ray.poll_seconds)


def _token_of(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"ray.token_file: {path}: cannot be read: {error}") from error
    if not token:
        raise UsageError(f"ray.token_file: {path}: expected a token, found an empty file")
    return token
