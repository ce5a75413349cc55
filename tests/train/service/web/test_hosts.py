import pytest

from crossan.train.service.web.hosts import AllowedHosts, is_same_origin

ALLOWED = AllowedHosts(["Crossan.example.org"])


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8642",
        b"127.0.0.1:1",
        b"[::1]:8642",
        b"[::1]",
        b"crossan.example.org:443",
    ],
)
def test_names_of_this_server_are_allowed_with_any_port(host):
    assert ALLOWED.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example.org",
        b"localhost.evil.example.org",
        b"evil.localhost",
        b"localhost:80:80",
        b"localhost:x",
        b"localhost ",
        b"user@localhost",
        b"127.0.0.2",
        b"::1",
        b"localhost/../x",
        b"localhost\n",
        b"\xff",
    ],
)
def test_any_other_host_is_refused(host):
    assert not ALLOWED.allows(host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://localhost:8642", b"localhost:8642"),
        (b"http://LOCALHOST:8642", b"localhost:8642"),
        (b"http://localhost", b"localhost:80"),
        (b"https://crossan.example.org", b"crossan.example.org"),
        (b"https://crossan.example.org:443", b"crossan.example.org"),
        (b"http://[::1]:8642", b"[::1]:8642"),
    ],
)
def test_a_page_of_this_server_is_of_the_same_origin(origin, host):
    assert is_same_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"null", b"localhost:8642"),
        (b"", b"localhost:8642"),
        (b"http://localhost:3000", b"localhost:8642"),
        (b"http://127.0.0.1:8642", b"localhost:8642"),
        (b"http://evil.example.org", b"localhost"),
        (b"http://localhost:8642/", b"localhost:8642"),
        (b"http://localhost:8642, http://localhost:8642", b"localhost:8642"),
        (b"file://localhost:8642", b"localhost:8642"),
        (b"ftp://localhost", b"localhost"),
        (b"http://a@localhost", b"localhost"),
        (b"http://", b""),
    ],
)
def test_any_other_page_is_foreign(origin, host):
    assert not is_same_origin(origin, host)
