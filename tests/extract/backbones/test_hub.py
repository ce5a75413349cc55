"""A backbone that has to be downloaded first, on machines whose network is of every kind."""

import logging
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub.utils import close_session

from crossan.cache_schema.errors import RemoteError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.hub import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def network(monkeypatch, tmp_path):
    """Return a function that sets where the hub is said to be; nothing is in its local cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    close_session()
    yield lambda endpoint: monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    close_session()


@pytest.fixture
def hub(network):
    """A hub that gives one answer to everything, with the list of its requests."""
    requests = []

    class Answer(BaseHTTPRequestHandler):
        status, body = 500, b"{}"

        def do_GET(self):
            requests.append(self.path)
            self.send_response(Answer.status)
            self.send_header("Content-Length", str(len(Answer.body)))
            self.end_headers()
            self.wfile.write(Answer.body)

        def log_message(self, *args):
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    network(f"http://127.0.0.1:{server.server_port}")
    yield Answer, requests
    server.shutdown()
    server.server_close()


def refused(source=None, revision=None, error=RemoteError):
    with pytest.raises(error) as caught:
        load_backbone(Modality.TEXT, source, revision=revision, device="cpu")
    return caught.value


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://nosuch.invalid"])
def test_without_a_network_one_message_says_how_to_bring_the_backbone(
    network, endpoint, tmp_path, caplog, capfd
):
    network(endpoint)
    with caplog.at_level(logging.WARNING):
        error = refused()
    assert error.exit_code == 8
    assert str(error).startswith("--backbone google-bert/bert-base-uncased: no folder of this name")
    assert f"not in the local hub cache {tmp_path / 'hub'}" in str(error)
    assert "hf download google-bert/bert-base-uncased --revision 86b5e093" in str(error)
    assert "HF_HOME" in str(error)
    assert "--backbone FOLDER" in str(error)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_a_proxy_that_refuses_is_one_message(network, monkeypatch):
    network("http://hub.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    close_session()
    assert "could not be downloaded" in refused().message


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"{}", RemoteError),
        (429, b"{}", RemoteError),
        (403, b"{}", RemoteError),
        (200, b"<html>Please log in</html>", RemoteError),
        (200, b"[]", RemoteError),
        (200, b"{}", RemoteError),
        (404, b"{}", RemoteError),
    ],
)
def test_a_hub_that_answers_anything_else_is_asked_once(hub, status, body, error):
    answer, requests = hub
    answer.status, answer.body = status, body
    assert "could not be downloaded" in refused("org/name", error=error).message
    assert len(requests) == 1


def test_an_id_that_the_hub_does_not_have_is_the_user_s_mistake(hub, monkeypatch):
    answer, _ = hub
    answer.status = 404
    monkeypatch.setattr(
        answer, "end_headers",
        lambda self: (
            self.send_header("X-Error-Code", "RepoNotFound"),
            BaseHTTPRequestHandler.end_headers(self),
        ),
    )  # fmt: skip
    assert refused("org/name", error=UsageError).exit_code == 2


@pytest.mark.parametrize("revision", [COMMIT, "main", None])
def test_what_the_local_cache_holds_serves_without_a_network(network, tiny, tmp_path, revision):
    network("http://127.0.0.1:9")
    repository = tmp_path / "hub" / "models--org--name"
    shutil.copytree(tiny["bert"][1], repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert download("org/name", revision) == repository / "snapshots" / COMMIT


def test_a_commit_that_the_local_cache_holds_is_not_asked_for(hub, tiny, tmp_path):
    shutil.copytree(tiny["bert"][1], tmp_path / "hub" / "models--org--name" / "snapshots" / COMMIT)
    download("org/name", COMMIT)
    assert hub[1] == []
