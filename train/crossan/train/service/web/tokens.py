"""The tokens by which callers are known, from a file that only its owner may read."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, StringConstraints, ValidationError

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config import Settings
from crossan.common.files import create_exclusively
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role

__all__ = ["Tokens", "load_tokens", "make_tokens"]

_LARGEST = 1 << 20
_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO

_Secret = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~+/=-]{32,512}$")]
_TokenName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._-]{0,63}$")]


class _Token(Settings):
    name: _TokenName
    role: Role
    token: _Secret


class _TokenFile(Settings):
    token: tuple[_Token, ...] = Field(min_length=1, max_length=1000)


class _Known(NamedTuple):
    digest: bytes
    identity: Identity


class Tokens:
    """Who each token belongs to. Only hashes of the tokens stay in memory.

    Parameters
    ----------
    holders
        Each token with who holds it.
    """

    def __init__(self, holders: Iterable[tuple[str, Identity]]) -> None:
        self._known = [_Known(_digest(token.encode()), identity) for token, identity in holders]

    def identity_of(self, token: bytes) -> Identity | None:
        """Return who holds a token, None where nobody does.

        It takes the same time whichever token it is.
        """
        digest = _digest(token)
        identity = None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                identity = known.identity
        return identity


def load_tokens(path: Path) -> Tokens:
    """Read a file of tokens.

    It is TOML, with a table for each token::

        [[token]]
        name = "nightly"
        role = "submit"
        token = "at least 32 letters, digits, or . _ ~ + / = -"

    Raises
    ------
    UsageError
        There is no such file, or others than its owner may read it.
    ConfigError
        It is no such TOML.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(
            f"--token-file {path}: the system refuses to read it: {error.strerror}"
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"--token-file {path}: expected a file")
        if status.st_mode & _FORBIDDEN:
            raise UsageError(
                f"--token-file {path}: expected a file that only its owner may read, found mode"
                f" {stat.S_IMODE(status.st_mode):04o}",
                remedy=f"chmod 600 {path}",
            )
        content = os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
    return Tokens((one.token, Identity(one.name, one.role)) for one in _parsed(content, path).token)


def make_tokens(path: Path) -> bool:
    """Write a file with a random token for each role, unless the file exists.

    Returns
    -------
    bool
        Whether it is new.
    """
    if path.exists():
        return False
    tables = [
        f'[[token]]\nname = "{role}"\nrole = "{role}"\ntoken = "{secrets.token_urlsafe(32)}"\n'
        for role in Role
    ]
    mask = os.umask(0o077)
    try:
        return create_exclusively(path, "\n".join(tables).encode())
    finally:
        os.umask(mask)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _parsed(content: bytes, path: Path) -> _TokenFile:
    import tomllib

    try:
        tree = tomllib.loads(content.decode())
        parsed = _TokenFile.model_validate(tree)
    except ValidationError as error:
        # Not the error itself, which would print the tokens.
        places = sorted({".".join(map(str, one["loc"])) or "token" for one in error.errors()})
        raise ConfigError(
            f"--token-file {path}: expected tables [[token]] with name, role ("
            f"{', '.join(Role)}) and a token of 32 characters or more; wrong: {', '.join(places)}"
        ) from None
    except ValueError:
        raise ConfigError(f"--token-file {path}: expected TOML in UTF-8") from None
    for texts, what in (
        ([one.name for one in parsed.token], "name"),
        ([one.token for one in parsed.token], "token"),
    ):
        if len(set(texts)) < len(texts):
            raise ConfigError(f"--token-file {path}: expected each {what} once, found one twice")
    return parsed
