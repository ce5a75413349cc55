"""The objects of one store under an address.

S3 can be pushed to and pulled from, a plain web server only pulled from.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crossan.cache_schema.errors import RemoteError, StoreIntegrityError, UsageError
from crossan.cache_schema.manifest import version_name, version_number

__all__ = ["ObjectRemote"]

_MOST_TRIES = 10
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_LARGEST_OBJECT = 2 * 2**30
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=10),
    "timeout": timedelta(seconds=60),
}
_NO_RETRIES: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
"""We try again ourselves, so that every failure counts."""

Result = TypeVar("Result")


class ObjectRemote:
    """One store's objects, for any number of threads.

    Get one from `ObjectRemote.open`.

    An operation is tried up to ten times, with exponential back-off and full
    jitter from 0.1 to 5 s, where the connection or the server failed; refusals
    are final.

    Parameters
    ----------
    url
        Address as people read it.
    store
        The library obstore's object for the address, prefix included.
    is_read_only
        Whether nothing can be created or listed.
    sleep
        Called with the seconds to wait before another try.
    """

    def __init__(
        self,
        url: str,
        store: Any,  # noqa: ANN401 - a type of obstore's
        *,
        is_read_only: bool,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url, self.is_read_only = url, is_read_only
        self._store, self._sleep = store, sleep

    @classmethod
    def open(cls, url: str, *, sleep: Callable[[float], object] = time.sleep) -> ObjectRemote:
        """Open ``s3://bucket/prefix`` or ``https://host/path``.

        ``http://`` is allowed for this machine only. S3 is configured by the variables of
        the AWS command line: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
        AWS_ENDPOINT_URL and so on.

        Raises
        ------
        UsageError
            Another address, or the extra ``s3`` is not installed.
        """
        try:
            from obstore.store import HTTPStore, S3Store
        except ImportError as error:
            raise UsageError(
                f"{url}: expected the extra 's3', found no obstore",
                remedy="Run: pip install 'crossan[s3]'",
            ) from error
        url = url.rstrip("/")
        parts = urlsplit(url)
        if parts.scheme == "s3":
            if not parts.netloc:
                raise UsageError(f"{url}: expected s3://BUCKET/PATH")
            endpoint = (
                os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
            )
            store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options=_options(endpoint),
                retry_config=_NO_RETRIES,
            )
            return cls(url, store, is_read_only=False, sleep=sleep)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(
                f"{url}: expected https://, found http://",
                remedy="Use https://, so that nobody on the way can change the store",
            )
        return cls(
            url,
            HTTPStore.from_url(url, client_options=_options(url), retry_config=_NO_RETRIES),
            is_read_only=True,
            sleep=sleep,
        )

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, None where there is none.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        StoreIntegrityError
            It is larger than any file of a store.
        """

        def get() -> bytes | None:
            import obstore

            try:
                answer = obstore.get(self._store, _checked(key))
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None
            # The size is known before the body arrives, so a hostile server cannot fill memory.
            size = int(answer.meta["size"])
            if size > _LARGEST_OBJECT:
                raise StoreIntegrityError(
                    f"{self.url}/{key}: expected at most {_LARGEST_OBJECT:,} bytes, found {size:,}"
                )
            data = bytes(answer.bytes())
            # A connection that ended early counts as one that failed, and is tried again.
            if len(data) != size:
                raise ConnectionError(f"expected {size:,} bytes, {len(data):,} arrived")
            return data

        return self._tried(f"read {key}", get)

    def create(self, key: str, data: bytes) -> bool:
        """Create an object unless one exists.

        The request says ``If-None-Match: *``, so that the server decides who was first.

        Returns
        -------
        bool
            True when the object now holds exactly ``data``. It was created now, or was found
            so, as the reply to an earlier try may have been lost. False when it holds
            something else.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """

        def put() -> bool:
            import obstore

            try:
                obstore.put(self._store, _checked(key), data, mode="create", use_multipart=False)
            except (
                obstore.exceptions.AlreadyExistsError,
                obstore.exceptions.PreconditionError,
                FileExistsError,
            ):
                return False
            return True

        return self._tried(f"create {key}", put) or self.read(key) == data

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of every object under a prefix, by key.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """

        def listed() -> dict[str, int]:
            import obstore

            pages = obstore.list(self._store, prefix=_checked(prefix))
            return {str(entry["path"]): int(entry["size"]) for page in pages for entry in page}

        return self._tried(f"list {prefix}", listed)

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none.

        A web server lists nothing, so it is asked for one manifest after another.
        """
        if not self.is_read_only:
            versions = [version_number(key.rpartition("/")[2]) for key in self.sizes("versions/")]
            return max((version for version in versions if version is not None), default=0)
        missing = 1
        while self._has_version(missing):
            missing *= 2
        # Versions have no gap, so bisection finds the last one: `existing` exists, or is 0, and
        # `missing` does not.
        existing = missing // 2
        while missing - existing > 1:
            middle = (missing + existing) // 2
            if self._has_version(middle):
                existing = middle
            else:
                missing = middle
        return existing

    def _has_version(self, version: int) -> bool:
        return self.read(f"versions/{version_name(version)}") is not None

    def _tried(self, what: str, call: Callable[[], Result]) -> Result:
        from obstore import exceptions

        # Another try changes nothing about these.
        final = (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
            exceptions.NotFoundError,
            FileNotFoundError,
            PermissionError,
        )
        wait = _FIRST_WAIT_S
        for number in range(1, _MOST_TRIES + 1):
            try:
                return call()
            except final as error:
                raise RemoteError(
                    f"{self.url}: cannot {what}: {_first_line(error)}",
                    remedy="Check the address, and the credentials such as AWS_ACCESS_KEY_ID",
                ) from error
            except (exceptions.BaseError, OSError) as error:
                if number == _MOST_TRIES:
                    raise RemoteError(
                        f"{self.url}: could not {what} in {number} tries: {_first_line(error)}",
                        remedy="Run the same command again",
                    ) from error
                # Full jitter: clients that failed together do not come back together.
                self._sleep(random.uniform(0, wait))  # noqa: S311 - jitter, no secret
                wait = min(2 * wait, _LONGEST_WAIT_S)
        raise AssertionError("unreachable")


def _options(url: str) -> Any:  # noqa: ANN401 - a type of obstore's
    parts = urlsplit(url)
    return {**_TIMEOUTS, "allow_http": parts.scheme == "http" and parts.hostname in _LOOPBACK}


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise StoreIntegrityError(f"expected the path of a file in a store, found {key!r:.80}")
    return key


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
