"""A message to a command or a webhook: bounded in time, without a shell, without redirects."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from crossan.cache_schema.errors import RemoteError

__all__ = ["post", "run_command"]

_COMMAND_SECONDS = 60.0
_WEBHOOK_SECONDS = 20.0
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def run_command(
    command: Sequence[str], message: Mapping[str, Any], seconds: float = _COMMAND_SECONDS
) -> None:
    """Run a command with a message as JSON on its standard input.

    Parameters
    ----------
    command
        Program and arguments; no shell reads them.
    message
        What it gets.
    seconds
        After these it is ended, and all that it has started in its session with it.

    Raises
    ------
    RemoteError
        It could not be started, ended with another exit code than 0, or took too long.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise RemoteError(f"{command[0]}: could not be started: {error.strerror}") from None
    with process:
        try:
            _, said = process.communicate(json.dumps(message).encode() + b"\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            # Not yet waited for, so that its number is still that of its own session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise RemoteError(f"{command[0]}: took more than {seconds:g} seconds") from None
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        shown = f": {last[0]:.200}" if last else ""
        raise RemoteError(f"{command[0]}: ended with exit code {process.returncode}{shown}")


def post(
    url: str,
    message: Mapping[str, Any],
    allowed_hosts: Sequence[str],
    seconds: float = _WEBHOOK_SECONDS,
) -> None:
    """Post a message as JSON.

    The host is resolved once, and the connection goes to the address that was checked. No redirect
    is followed.

    Parameters
    ----------
    url
        The operator's webhook.
    message
        What it gets.
    allowed_hosts
        Host names that it may have.
    seconds
        For each of the steps of the exchange.

    Raises
    ------
    RemoteError
        The host is not allowed, does not answer, or answers with another status than 2xx.
    """
    parts = urlsplit(url)
    host, port = _target(parts, allowed_hosts)
    connection = _connection(parts.scheme, host, port, seconds)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    try:
        connection.request(
            "POST",
            path,
            body=json.dumps(message).encode(),
            headers={
                "Content-Type": "application/json",
                "User-Agent": "crossan",
                "Idempotency-Key": str(message["id"]),
            },
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise RemoteError(f"webhook {host}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if 300 <= status < 400:
        raise RemoteError(f"webhook {host}: answered {status}, and redirects are not followed")
    if not 200 <= status < 300:
        raise RemoteError(f"webhook {host}: answered {status}")


def _target(parts: SplitResult, allowed_hosts: Sequence[str]) -> tuple[str, int]:
    host = (parts.hostname or "").lower()
    if parts.scheme not in {"http", "https"} or not host:
        raise RemoteError("webhook: expected an address that begins with https:// or http://")
    if host not in {name.lower() for name in allowed_hosts}:
        raise RemoteError(
            f"webhook {host}: expected a host among messages.allowed_hosts, found none like it",
            remedy=f'Set messages.allowed_hosts = ["{host}"] in service.toml',
        )
    return host, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _connection(scheme: str, host: str, port: int, seconds: float) -> http.client.HTTPConnection:
    """Return a connection to an address of a host that was looked up and checked."""
    address = _resolved(host, port)
    connection: http.client.HTTPConnection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        plain = socket.create_connection((str(address), port), timeout=seconds)
        # The certificate has to be the host's, whatever the address is.
        connection.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            if scheme == "https"
            else plain
        )
    except OSError as error:
        raise RemoteError(f"webhook {host}: {error}") from None
    return connection


def _resolved(host: str, port: int) -> _Address:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RemoteError(f"webhook {host}: {error}") from None
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in entries]
    usable = [address for address in addresses if _is_usable(host, address)]
    if not usable:
        raise RemoteError(
            f"webhook {host}: expected an address of another machine, found"
            f" {', '.join(map(str, addresses))}"
        )
    return usable[0]


def _is_usable(host: str, address: _Address) -> bool:
    """Whether a host may have an address; of this machine itself only where it is named so."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return _is_usable(host, mapped)
    if address.is_loopback:
        return host in _LOOPBACK_NAMES
    # Link-local addresses are those at which clouds hand out the credentials of a machine.
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)
