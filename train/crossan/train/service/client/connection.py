"""Where the server is, and the token that it knows us by."""

from __future__ import annotations

import json
import re
import shlex
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crossan.cache_schema.errors import RemoteError, UsageError

__all__ = ["Connection", "connection_of", "read_token"]

_LARGEST_FILE = 1 << 20
_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_ROLES = ("read", "submit", "admin")
_ADDRESS, _TOKENS = "address.json", "tokens.toml"
"""Names of the server's files in its data folder."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A server and what it knows us by."""

    url: str
    """Without a slash at the end."""
    token: str = field(repr=False)
    start_command: str
    """What starts the server, for when it does not answer."""


def connection_of(server: str | None, folder: Path | None, token_file: Path | None) -> Connection:
    """Return the server that options name, with a token for it.

    Parameters
    ----------
    server
        Its address; by default that which the data folder holds.
    folder
        Its data folder.
    token_file
        A file with a token; by default the tokens of the data folder.

    Raises
    ------
    UsageError
        Neither is given, the address is none, or no token can be read.
    RemoteError
        No server runs on the data folder.
    """
    if server is None and folder is None:
        raise UsageError(
            "--server: expected the address of a server, or its data folder by --data; found"
            " neither",
            remedy="crossan serve --data FOLDER",
        )
    start = f"crossan serve --data {'FOLDER' if folder is None else shlex.quote(str(folder))}"
    url = _checked(server) if server is not None else _noted_url(folder or Path(), start)
    if token_file is None and folder is None:
        raise UsageError(
            "--token-file: expected a file with your token, found none",
            remedy="CROSSAN_TOKEN_FILE=FILE, with the token that the server's admin gave you",
        )
    token = read_token(token_file if token_file is not None else (folder or Path()) / _TOKENS)
    return Connection(url, token, start)


def read_token(path: Path) -> str:
    """Return the token in a file: its only line, or of a server's TOML one of the highest role.

    Raises
    ------
    UsageError
        It cannot be read, others may read it, or it holds no token.
    """
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE).decode()
    except OSError as error:
        raise UsageError(
            f"--token-file {path}: the system refuses to read it: {error.strerror}"
        ) from error
    except UnicodeDecodeError:
        text = ""
    if stat.S_IMODE(mode) & _FORBIDDEN:
        raise UsageError(
            f"--token-file {path}: expected a file that only its owner may read, found mode"
            f" {stat.S_IMODE(mode):04o}",
            remedy=f"chmod 600 {shlex.quote(str(path))}",
        )
    token = text.strip() if "\n" not in text.strip() else _of_tables(text)
    if not _TOKEN.fullmatch(token):
        # Never the text itself, which may be a token with a typing error.
        raise UsageError(
            f"--token-file {path}: expected one token, or TOML with tables [[token]]; found neither"
        )
    return token


def _of_tables(text: str) -> str:
    try:
        tables = tomllib.loads(text).get("token")
    except (tomllib.TOMLDecodeError, RecursionError):
        return ""
    known = [
        (_ROLES.index(table["role"]), table["token"])
        for table in (tables if isinstance(tables, list) else [])
        if isinstance(table, dict)
        and table.get("role") in _ROLES
        and isinstance(table.get("token"), str)
    ]
    return max(known, key=lambda one: one[0], default=(0, ""))[1]


def _noted_url(folder: Path, start: str) -> str:
    """Return the address that a running server has noted in its data folder."""
    try:
        address: Any = json.loads((folder / _ADDRESS).read_bytes())
        url = address["url"]
    except (FileNotFoundError, NotADirectoryError):
        raise RemoteError(f"--data {folder}: no server runs on this folder", remedy=start) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--data {folder}: {_ADDRESS}: expected the address of a server: {error}"
        ) from None
    return _checked(str(url))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        has_more = bool(parts.query or parts.fragment or parts.username or parts.password)
        _ = parts.port  # raises where it is none
    except ValueError:
        is_address, has_more = False, False
    if not is_address or has_more:
        raise UsageError(
            f"--server {url}: expected an address as http://HOST:PORT", remedy="crossan serve"
        )
    return url.rstrip("/")
