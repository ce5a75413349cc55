"""Web servers that answer wrongly, at length, or for ever: a pull ends, with a reason."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from crossan.cache_schema.canonical import digest_of, pretty_bytes
from crossan.cache_schema.errors import CrossanError, RemoteError, StoreIntegrityError, UsageError
from crossan.cache_schema.manifest import Manifest
from crossan.common.stores import fsck
from crossan.common.stores.sharing import web
from crossan.common.stores.sharing.locations import FolderLocation, ObjectLocation
from crossan.common.stores.sharing.objects import ObjectRemote
from crossan.common.stores.sharing.transfer import transfer
from support.servers import s3_environment

PAGE = b"<!DOCTYPE html><title>Welcome</title>"


@pytest.fixture
def serve():
    """Return a function that serves what a function says of each path, and counts requests.

    The function gets the handler and answers by itself.
    """
    servers = []

    def serve(answer):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                requests.append(self.path)
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client went away
                    answer(self)

            do_PUT = do_HEAD = do_GET  # noqa: N815

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", requests

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler, body=b"", status=200, **fields):
    handler.send_response(status)
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler, body, status=200):
    reply(handler, body, status, Content_Length=str(len(body)))


def in_pieces(handler, body):
    """Answer without a length, as servers do that make pages while they send them."""
    reply(handler, Transfer_Encoding="chunked")
    for start in range(0, len(body), 1000):
        piece = body[start : start + 1000]
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def files_of(store):
    """Return an answer that gives the files of a store by a way of sending them."""

    def answer_by(send):
        def answer(handler):
            path = store / handler.path.lstrip("/")
            send(handler, path.read_bytes()) if path.is_file() else whole(handler, b"", 404)

        return answer

    return answer_by


def open_quick(url):
    return ObjectRemote.open(url, sleep=lambda seconds: None)


def pull(url, target):
    return transfer(ObjectLocation(open_quick(url)), FolderLocation(target), is_source_first=True)


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"",
        b"{}",
        b'{"version": 1}',
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"version": 1e999}',
        b'{"version": "\\ud800"}',
        b"\xff\xfe",
        pretty_bytes(
            Manifest(
                version=1, parent=None, store_sha256="0" * 64, canary_sha256="0" * 64, segments=()
            ).to_dict()
        ),
    ],
)
def test_a_server_that_answers_everything_alike_ends_a_pull(serve, tmp_path, body):
    url, requests = serve(lambda handler: whole(handler, body))
    with pytest.raises((RemoteError, StoreIntegrityError)) as ended:
        pull(url, tmp_path / "b")
    assert url in ended.value.message
    assert len(requests) <= 70
    assert not (tmp_path / "b/store.json").exists()


def test_a_page_where_nothing_is_expected_names_the_cause(serve, store, tmp_path):
    """A server that has a page for what it does not have is known by the first of them."""
    by = files_of(store)(whole)

    def answer(handler):
        path = store / handler.path.lstrip("/")
        by(handler) if path.is_file() else whole(handler, PAGE)

    url, requests = serve(answer)
    with pytest.raises(RemoteError, match="000004.json: expected a manifest or no answer, found"):
        pull(url, tmp_path / "b")
    assert len(requests) == 3  # versions 1 and 2, and 4, which is not there


def test_a_server_that_makes_a_manifest_of_any_number_is_left(serve, tmp_path):
    def answer(handler):
        version = int(Path(handler.path).stem)
        made = Manifest(
            version=version,
            parent="0" * 64 if version > 1 else None,
            store_sha256="0" * 64,
            canary_sha256="0" * 64,
            segments=(),
        )
        whole(handler, pretty_bytes(made.to_dict()))

    url, requests = serve(answer)
    with pytest.raises(CrossanError) as ended:
        pull(f"{url}/a", tmp_path / "b")
    assert ended.value.exit_code in {4, 8}
    assert len(requests) <= 70


@pytest.mark.parametrize("send", [whole, in_pieces, lambda handler, body: reply(handler, body)])
def test_replies_with_and_without_a_length_are_taken(serve, store, tmp_path, send):
    url, _ = serve(files_of(store)(send))
    assert pull(url, tmp_path / "b").segments == 2
    assert fsck(tmp_path / "b").ok


def test_an_object_without_a_length_is_taken_from_a_bucket(serve, monkeypatch):
    url, _ = serve(lambda handler: in_pieces(handler, b"x" * 5_000))
    for name, value in s3_environment(url).items():
        monkeypatch.setenv(name, value)
    remote = open_quick("s3://bucket/a")
    assert remote.read("store.json", 5_000) == b"x" * 5_000
    with pytest.raises(StoreIntegrityError, match="expected at most 4,999 bytes, found 5,000"):
        remote.read("store.json", 4_999)


def test_a_bucket_that_answers_everything_alike_is_left(serve, store, monkeypatch):
    url, requests = serve(lambda handler: whole(handler, PAGE))
    for name, value in s3_environment(url).items():
        monkeypatch.setenv(name, value)
    remote, here = ObjectLocation(open_quick("s3://bucket/a")), FolderLocation(store)
    for source, target in [
        (remote, FolderLocation(store.parent / "b")),
        (remote, here),
        (here, remote),
    ]:
        with pytest.raises(CrossanError) as ended:
            transfer(source, target)
        assert ended.value.exit_code in {2, 4, 8}
        assert "s3://bucket/a" in ended.value.message
    assert len(requests) <= 60


def redirected(handler):
    reply(handler, status=302, Location=handler.path + "x", Content_Length="0")


@pytest.mark.parametrize(
    ("answer", "error", "said", "tries"),
    [
        (redirected, RemoteError, "redirect error", 6),
        (
            lambda handler: reply(
                handler, status=302, Location="http://example.org/", Content_Length="0"
            ),
            RemoteError,
            "expected to stay on https://, was sent to 'http://example.org/'",
            1,
        ),
        (
            lambda handler: reply(handler, status=302, Location="file:///etc/passwd"),
            RemoteError,
            "file:///etc/passwd' is not allowed",
            1,
        ),
        (lambda handler: whole(handler, b"", 403), RemoteError, "the server answers 403", 1),
        (lambda handler: whole(handler, b"", 418), RemoteError, "the server answers 418", 1),
        (lambda handler: whole(handler, b"", 503), RemoteError, "in 10 tries: .* 503", 10),
        (lambda handler: whole(handler, b"", 204), RemoteError, "found status 204", 1),
        (lambda handler: None, RemoteError, "in 10 tries", 10),
        (
            lambda handler: reply(handler, b"{", Content_Length="9"),
            RemoteError,
            "in 10 tries: expected 9 bytes, 1 arrived",
            10,
        ),
        (
            lambda handler: reply(handler, b"5\r\n{", Transfer_Encoding="chunked"),
            RemoteError,
            "in 10 tries: IncompleteRead",
            10,
        ),
        (
            lambda handler: reply(handler, b"{}", Content_Length="2", Content_Encoding="gzip"),
            RemoteError,
            "and the encoding 'gzip'",
            1,
        ),
        (
            lambda handler: reply(handler, Content_Length=str(2**40)),
            StoreIntegrityError,
            "expected at most 67,108,864 bytes, found 1,099,511,627,776",
            1,
        ),
        (lambda handler: handler.wfile.write(b"what?\r\n\r\n"), RemoteError, "in 10 tries", 10),
    ],
)
def test_wrong_answers_are_said_or_tried_again(serve, answer, error, said, tries):
    url, requests = serve(answer)
    with pytest.raises(error, match=said):
        open_quick(url).read("store.json")
    assert len(requests) == tries


def test_a_body_without_an_end_is_not_taken(serve):
    def answer(handler):
        reply(handler)
        while True:
            handler.wfile.write(bytes(2**16))

    url, _ = serve(answer)
    with pytest.raises(StoreIntegrityError, match="expected at most 1,000,000 bytes"):
        open_quick(url).read("store.json", 1_000_000)


def test_a_body_that_drips_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(web, "_TIMEOUT_S", 0.2)
    is_over = threading.Event()

    def answer(handler):
        reply(handler)
        while not is_over.wait(0.02):
            handler.wfile.write(b" ")

    url, _ = serve(answer)
    try:
        with pytest.raises(RemoteError, match="expected at least 16,384 bytes a second, found"):
            open_quick(url).read("store.json")
    finally:
        is_over.set()


@pytest.mark.parametrize(
    "url", ["https://", "https://[::1", "https://host:port/x", "ftp://host/x", "https:///x"]
)
def test_what_is_no_address_is_a_usage_error(url):
    with pytest.raises(UsageError, match="expected"):
        ObjectRemote.open(url)


def test_a_manifest_that_lies_about_its_parent_is_named(serve, store, tmp_path):
    path = store / "versions/000001.json"
    value = {**json.loads(path.read_text()), "segments": []}
    del value["digest"]
    path.write_bytes(pretty_bytes({**value, "digest": digest_of(value)}))
    url, _ = serve(files_of(store)(whole))
    with pytest.raises(StoreIntegrityError, match="000002.json: expected the parent"):
        pull(url, tmp_path / "b")
