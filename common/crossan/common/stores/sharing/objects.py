"""The objects of one store under an address.

S3 can be pushed to and pulled from, a plain web server only pulled from. Nothing that a
server answers is believed: what is asked for is bounded in number and in bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import RemoteError, StoreIntegrityError, UsageError
from crossan.cache_schema.manifest import version_name, version_number
from crossan.cache_schema.modality import Modality
from crossan.common.files import LARGEST_METADATA
from crossan.common.stores.sharing.buckets import BucketFolder, Stored
from crossan.common.stores.sharing.retries import bucket_errors, try_again_and_again, web_errors
from crossan.common.stores.sharing.web import LOOPBACK, WebFolder

__all__ = ["ObjectRemote"]

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_LOOKED_AT = 20
_LAST_VERSION = 999_999_999  # more digits have no file name

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
    folder
        Its objects, each asked for once. Those on a web server are only read.
    sleep
        Called with the seconds to wait before another try.
    """

    def __init__(
        self,
        url: str,
        folder: BucketFolder | WebFolder,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url, self._folder, self._sleep = url, folder, sleep

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be created or listed."""
        return isinstance(self._folder, WebFolder)

    @classmethod
    def open(cls, url: str, *, sleep: Callable[[float], object] = time.sleep) -> ObjectRemote:
        """Open ``s3://bucket/prefix`` or ``https://host/path``.

        ``http://`` is allowed for this machine only. S3 is configured by the variables of
        the AWS command line: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
        AWS_ENDPOINT_URL and so on.

        Raises
        ------
        UsageError
            Another address, or the extra ``s3`` is not installed, which S3 needs.
        """
        url = url.rstrip("/")
        try:
            parts = urlsplit(url)
            is_loopback, _ = parts.hostname in LOOPBACK, parts.port  # no number raises
        except ValueError as error:
            raise UsageError(f"{url}: expected an address: {error}") from error
        if parts.scheme == "s3":
            return cls(url, BucketFolder.open(url, parts), sleep=sleep)
        if parts.scheme == "http" and not is_loopback:
            raise UsageError(
                f"{url}: expected https://, found http://",
                remedy="Use https://, so that nobody on the way can change the store",
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{url}: expected https://HOST/PATH")
        return cls(url, WebFolder(url), sleep=sleep)

    def read(self, key: str, largest: int = LARGEST_METADATA) -> bytes | None:
        """Return an object's bytes, None where there is none.

        Parameters
        ----------
        key
            Path inside the store.
        largest
            Bytes that are taken at most.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        StoreIntegrityError
            It is larger.
        """
        _checked(key)
        return self._tried(f"read {key}", lambda: self._folder.get(key, largest))

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
        _checked(key)
        is_ours = self._tried(f"create {key}", lambda: self._bucket.create(key, data))
        return is_ours or self.read(key, max(len(data), LARGEST_METADATA)) == data

    def replace(self, key: str, data: bytes) -> None:
        """Put an object in the place of whatever is there.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """
        _checked(key)
        self._tried(f"replace {key}", lambda: self._bucket.replace(key, data))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes of every object under a prefix, by key."""
        return {key: stored.size for key, stored in self.listed(prefix).items()}

    def listed(self, prefix: str) -> dict[str, Stored]:
        """Return what the server says of every object under a prefix, by key.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """
        _checked(prefix)
        return self._tried(f"list {prefix}", lambda: self._bucket.listed(prefix))

    def folders(self, prefix: str = "") -> list[str]:
        """Return what lies between a prefix and the next slash, for all objects below it.

        A web server lists nothing: there are none.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """
        if self.is_read_only:
            return []
        where = _checked(prefix) if prefix else None
        names = self._tried(f"list {prefix or self.url}", lambda: self._bucket.folders(where))
        return [name for name in names if _KEY.fullmatch(name)]

    def holds_stores(self) -> bool:
        """Whether the address is a cache: has stores at ``DATASET/MODALITY/NAME``.

        Looked at are the first of its folders only, as each costs a request.
        """
        return any(
            self.folders(f"{dataset}/{modality}/")
            for dataset in self.folders()[:_LOOKED_AT]
            for modality in sorted({*self.folders(f"{dataset}/")} & set(Modality))
        )

    def names(self) -> set[str]:
        """Return the first part of the path of every object, as a folder's listing.

        Raises
        ------
        RemoteError
            Ten tries failed, or access is denied.
        """
        return self._tried("list it", self._bucket.names)

    def newest_version(self) -> int:
        """Return the highest version that has a manifest, 0 for none.

        A web server lists nothing, so it is asked for one manifest after another, sixty
        times at most.

        Raises
        ------
        RemoteError
            The server answers with something else where a manifest, or nothing, was expected.
        """
        if not self.is_read_only:
            versions = [version_number(key.rpartition("/")[2]) for key in self.sizes("versions/")]
            return max((version for version in versions if version is not None), default=0)
        missing = 1
        while missing <= _LAST_VERSION and self._has_version(missing):
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
        key = f"versions/{version_name(version)}"
        data = self.read(key)
        if data is None:
            return False
        where = f"{self.url}/{key}"
        try:
            recorded = parse_object(data, where).get("version", version)
        except StoreIntegrityError as error:
            raise _no_manifest(where, error.message.removeprefix(f"{where}: ")) from error
        # Some servers answer every address with one page, and with the status of success.
        if recorded != version:
            raise _no_manifest(where, f"expected version {version}, found {recorded!r:.40}")
        return True

    @property
    def _bucket(self) -> BucketFolder:
        if isinstance(self._folder, WebFolder):
            raise UsageError(f"{self.url}: a web server can be pulled from, not pushed to")
        return self._folder

    def _tried(self, what: str, call: Callable[[], Result]) -> Result:
        errors = web_errors() if self.is_read_only else bucket_errors()
        return try_again_and_again(
            call, what=what, where=self.url, errors=errors, sleep=self._sleep
        )


def _no_manifest(where: str, found: str) -> RemoteError:
    return RemoteError(
        f"{where}: expected a manifest or no answer, found something else: {found}",
        remedy="Check the address: it must be that of a store, on a server that has no page "
        "for what it does not have",
    )


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise StoreIntegrityError(f"expected the path of a file in a store, found {key!r:.80}")
    return key
