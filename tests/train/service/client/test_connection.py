"""Finding the server and a token."""

import json

import pytest

from crossan.cache_schema.errors import RemoteError, UsageError
from crossan.train.service.client.connection import connection_of, read_token
from crossan.train.service.web.roles import Role

TOKEN = "s3cret-" + "t" * 40


def token_file(folder, text, mode=0o600, name="token"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def data_folder(folder, url="http://127.0.0.1:8642"):
    (folder / "address.json").write_text(json.dumps({"url": url, "pid": 1}))
    tables = [
        f'[[token]]\nname = "{role}"\nrole = "{role}"\ntoken = "{role}-{TOKEN}"\n' for role in Role
    ]
    token_file(folder, "\n".join(tables[::-1]), name="tokens.toml")
    return folder


def test_a_data_folder_says_where_its_server_is_and_has_a_token(tmp_path):
    connection = connection_of(None, data_folder(tmp_path), None)
    assert connection.url == "http://127.0.0.1:8642"
    assert connection.token == f"admin-{TOKEN}"
    assert connection.start_command == f"crossan serve --data {tmp_path}"


def test_what_is_named_counts_more_than_what_the_folder_says(tmp_path):
    other = token_file(tmp_path, f" {TOKEN} \n")
    connection = connection_of("https://train.example.org:443/", data_folder(tmp_path), other)
    assert connection.url == "https://train.example.org:443"
    assert connection.token == TOKEN


def test_a_token_is_never_in_what_python_prints_of_it(tmp_path):
    connection = connection_of("http://h", None, token_file(tmp_path, TOKEN))
    assert TOKEN not in repr(connection)


def test_no_server_on_a_folder_is_exit_code_8_with_the_command_that_starts_one(tmp_path):
    folder = tmp_path / "with blank"
    folder.mkdir()
    with pytest.raises(RemoteError, match="no server runs on this folder") as raised:
        connection_of(None, folder, None)
    assert raised.value.exit_code == 8
    assert raised.value.remedy == f"crossan serve --data '{folder}'"


@pytest.mark.parametrize(
    "url",
    ["", "train", "ftp://h", "http://", "http://u:p@h", "http://h/?a=b", "http://h:99999", "http://[::1", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_address_of_a_server_is_refused(tmp_path, url):
    with pytest.raises(UsageError, match="expected an address"):
        connection_of(url, None, token_file(tmp_path, TOKEN))


def test_neither_server_nor_token_named(tmp_path):
    with pytest.raises(UsageError, match="found neither"):
        connection_of(None, None, None)
    with pytest.raises(UsageError, match="expected a file with your token"):
        connection_of("http://h", None, None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_token_that_others_may_read_is_refused(tmp_path, mode):
    path = token_file(tmp_path, TOKEN, mode)
    with pytest.raises(UsageError, match="only its owner may read") as raised:
        read_token(path)
    assert raised.value.remedy == f"chmod 600 {path}"


@pytest.mark.parametrize(
    "text",
    ["", "two words", "a\nb", b"\xff\xfe", "[[token]]\nname = 'x'", "token = 3", "[[token]]\nrole = 'admin'\ntoken = 5\n", "x" * 600],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_token_is_refused_and_never_repeated(tmp_path, text):
    with pytest.raises(UsageError) as raised:
        read_token(token_file(tmp_path, text))
    assert "two words" not in str(raised.value)
    with pytest.raises(UsageError, match="refuses to read it"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', "x" * 100])
def test_a_strange_address_file_is_named(tmp_path, content):
    (data_folder(tmp_path) / "address.json").write_text(content)
    with pytest.raises(UsageError, match=r"address\.json"):
        connection_of(None, tmp_path, None)
