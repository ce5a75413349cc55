"""The objects of one store in a bucket, through the library obstore, each asked for once."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.stores.sharing.web import LOOPBACK, fetch

__all__ = ["BucketFolder", "Stored"]

_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": timedelta(seconds=10),
    "timeout": timedelta(seconds=60),
}
_NO_RETRIES: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=60)}
"""We try again ourselves, so that every failure counts."""
_SIGNED_FOR = timedelta(minutes=10)


class Stored(NamedTuple):
    """What a listing says of one object."""

    size: int
    """Bytes."""
    etag: str
    """The server's mark for the content, empty where it gives none."""


class BucketFolder:
    """The objects under one address, for any number of threads.

    Get one from `BucketFolder.open`. Whatever fails is raised as obstore's errors.
    """

    def __init__(self, url: str, store: Any) -> None:  # noqa: ANN401 - a type of obstore's
        self._url, self._store = url, store

    @classmethod
    def open(cls, url: str, parts: SplitResult) -> BucketFolder:
        """Open ``s3://bucket/prefix``.

        Raises
        ------
        UsageError
            No bucket is named, or the extra ``s3`` is not installed.
        """
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise UsageError(
                f"{url}: expected the extra 's3', found no obstore",
                remedy="Run: pip install 'crossan[s3]'",
            ) from error
        if not parts.netloc:
            raise UsageError(f"{url}: expected s3://BUCKET/PATH")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        server = urlsplit(endpoint)
        is_plain_allowed = server.scheme == "http" and server.hostname in LOOPBACK
        options: Any = {**_TIMEOUTS, "allow_http": is_plain_allowed}
        store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options=options,
            retry_config=_NO_RETRIES,
        )
        return cls(url, store)

    def get(self, key: str, largest: int) -> bytes | None:
        """Return an object's bytes, None where there is none.

        Raises
        ------
        StoreIntegrityError
            There are more than ``largest``.
        """
        import obstore

        try:
            answer = obstore.get(self._store, key)
        except (obstore.exceptions.NotFoundError, FileNotFoundError):
            return None
        except obstore.exceptions.GenericError as error:
            # The library takes no reply that does not say how long it is; proxies send such.
            if "MissingContentLength" not in str(error):
                raise
            signed = str(obstore.sign(self._store, "GET", key, _SIGNED_FOR))
            return fetch(signed, largest, f"{self._url}/{key}")
        # The size is known before the body arrives, so a hostile server cannot fill memory.
        size = int(answer.meta["size"])
        if size > largest:
            raise StoreIntegrityError(
                f"{self._url}/{key}: expected at most {largest:,} bytes, found {size:,}"
            )
        data = bytes(answer.bytes())
        # A connection that ended early counts as one that failed, and is tried again.
        if len(data) != size:
            raise ConnectionError(f"expected {size:,} bytes, {len(data):,} arrived")
        return data

    def create(self, key: str, data: bytes) -> bool:
        """Create an object, and return False where the server says that one exists."""
        import obstore

        try:
            obstore.put(self._store, key, data, mode="create", use_multipart=False)
        except (
            obstore.exceptions.AlreadyExistsError,
            obstore.exceptions.PreconditionError,
            FileExistsError,
        ):
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Put an object in the place of whatever is there."""
        import obstore

        obstore.put(self._store, key, data, mode="overwrite", use_multipart=False)

    def names(self) -> set[str]:
        """Return the first part of the path of every object."""
        import obstore

        listing = obstore.list_with_delimiter(self._store)
        paths = [*listing["common_prefixes"], *(entry["path"] for entry in listing["objects"])]
        return {str(path).strip("/").split("/")[0] for path in paths}

    def listed(self, prefix: str) -> dict[str, Stored]:
        """Return what the server says of every object under a prefix, by key."""
        import obstore

        pages = obstore.list(self._store, prefix=prefix)
        return {
            str(entry["path"]): Stored(int(entry["size"]), str(entry.get("e_tag") or "").strip('"'))
            for page in pages
            for entry in page
        }

    def folders(self, prefix: str | None) -> list[str]:
        """Return what lies between a prefix and the next slash, for all objects below it."""
        import obstore

        entries = obstore.list_with_delimiter(self._store, prefix=prefix)
        return sorted(path.rstrip("/").rpartition("/")[2] for path in entries["common_prefixes"])
