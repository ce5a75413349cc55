"""``crossan serve`` as a process."""

from __future__ import annotations

import json
import signal
import stat
import tomllib

import httpx
import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.cli import serve
from support.commands import attempt
from support.nightly import make_settings, write_description
from support.started import CEILING_S, PROGRAMS, kept, start

HTTP = httpx.Client(timeout=CEILING_S)


@pytest.fixture
def folders(tmp_path):
    make_settings(tmp_path)
    write_description(tmp_path / "roots" / "shop")
    return tmp_path


def serve_command(folders, *more):
    return (
        *(PROGRAMS / "crossan", "serve", "--data", folders / "service"),
        *("--root", folders / "roots", "--cache", folders / "cache", "--port", "0", *more),
    )


def started(folders, *more):
    """Return a server that listens, and what it printed."""
    process = start(*serve_command(folders, "--json", *more))
    return process, json.loads(process.stdout.readline())


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Return the folders of a server that goes on, what it printed, and the server."""
    folders = tmp_path_factory.mktemp("running")
    make_settings(folders)
    write_description(folders / "roots" / "shop")
    process, printed = started(folders)
    kept(process)
    yield folders, printed, process
    process.terminate()
    process.communicate(timeout=CEILING_S)


def test_it_says_where_it_listens_and_a_token_of_its_file_passes(folders):
    process, printed = started(folders)

    tokens = tomllib.loads((folders / "service" / "tokens.toml").read_text())["token"]
    headers = {"authorization": f"Bearer {tokens[0]['token']}"}
    assert HTTP.get(f"{printed['url']}/healthz").status_code == 401
    assert HTTP.get(f"{printed['url']}/readyz", headers=headers).json() == {"status": "ready"}
    address_file = folders / "service" / "address.json"
    assert json.loads(address_file.read_text()) == {"url": printed["url"], "pid": process.pid}
    assert printed["pid"] == process.pid
    assert printed["tokens"] == str(folders / "service" / "tokens.toml")
    for path in (address_file, folders / "service" / "tokens.toml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    process.terminate()
    _, said = process.communicate(timeout=CEILING_S)
    assert process.returncode == 0, said
    assert not address_file.exists()
    # The log is a line of JSON for each record.
    records = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    request = next(record for record in records if record["message"] == "request")
    assert request["status"] == 401
    assert request["logger"] == "crossan.service.http"


def test_a_root_that_is_not_there_is_said_and_ctrl_c_ends_it_as_it_ends_other_commands(folders):
    process, _ = started(folders, "--root", folders / "rots")

    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=CEILING_S)
    assert process.returncode == 130, said
    assert f"root {folders / 'rots'}: there is no such folder now" in said
    assert f"root {folders / 'roots'}:" not in said


def test_a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on(running):
    folders, printed, process = running

    second = start(*serve_command(folders))

    _, said = second.communicate(timeout=CEILING_S)
    assert second.returncode == 7
    assert "another server works in this folder" in said
    assert HTTP.get(f"{printed['url']}/healthz").status_code == 401
    assert process.poll() is None


def test_settings_come_from_the_folder_and_flags_go_before_them(folders):
    (folders / "service").mkdir()
    (folders / "service" / "service.toml").write_text(
        f'roots = ["{folders}/roots"]\ncache = "{folders}/cache"\nport = 1\nnames = ["a.example"]\n'
    )
    process = start(
        *(PROGRAMS / "crossan", "serve", "--data", folders / "service", "--json"),
        *("--port", "0", "--set", "http.body_kib=1"),
    )
    printed = json.loads(process.stdout.readline())

    tokens = tomllib.loads((folders / "service" / "tokens.toml").read_text())["token"]
    headers = {"authorization": f"Bearer {tokens[-1]['token']}"}
    assert HTTP.get(f"{printed['url']}/healthz", headers={"host": "a.example"}).status_code == 401
    assert HTTP.get(f"{printed['url']}/healthz", headers={"host": "b.example"}).status_code == 421
    large = HTTP.post(f"{printed['url']}/v1/runs", headers=headers, json={"label": "x" * 2000})
    assert large.status_code == 413


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "0.0.0.0"), "expected names and token_file"),
        (("--set", "nmaes=a"), "nmaes"),
        (("--host", "999.1.1.1", "--name", "a", "--token-file", "{tokens}"), "cannot listen there"),
        (("--token-file", "missing"), "--token-file missing"),
        (("--config", "missing.toml"), "missing.toml"),
    ],
)
def test_what_cannot_be_served_is_said(folders, arguments, message):
    tokens = folders / "tokens.toml"
    tokens.write_text(f'[[token]]\nname="a"\nrole="read"\ntoken="{"x" * 32}"\n')
    tokens.chmod(0o600)
    arguments = [one.format(tokens=tokens) for one in arguments]

    refused = attempt(serve, *serve_command(folders, *arguments)[2:])

    assert isinstance(refused.exception, UsageError)
    assert message in str(refused.exception)
    assert not (folders / "service" / "address.json").exists()


def test_a_port_that_is_taken_is_said(running, tmp_path):
    _, printed, _ = running
    port = printed["url"].rpartition(":")[2]
    other = tmp_path / "other"
    make_settings(other)

    second = start(
        *(PROGRAMS / "crossan", "serve", "--data", other / "service", "--port", port),
        *("--root", other / "roots", "--cache", other / "cache"),
    )

    _, said = second.communicate(timeout=CEILING_S)
    assert second.returncode == 2
    assert "cannot listen there" in said
    assert "--port 0" in said
