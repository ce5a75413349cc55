import os
import stat
import tomllib

import pytest

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.tokens import load_tokens, make_tokens

SECRET = "s" * 32


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_start_writes_a_token_for_each_role_that_only_the_owner_reads(tmp_path):
    path = tmp_path / "tokens.toml"

    assert make_tokens(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = tomllib.loads(path.read_text())["token"]
    assert [one["role"] for one in written] == ["read", "submit", "admin"]
    assert len({one["token"] for one in written}) == 3
    tokens = load_tokens(path)
    for one in written:
        identity = tokens.identity_of(one["token"].encode())
        assert identity == Identity(one["name"], Role(one["role"]))


def test_a_later_start_keeps_the_tokens(tmp_path):
    path = tmp_path / "tokens.toml"
    make_tokens(path)
    before = path.read_bytes()

    assert not make_tokens(path)

    assert path.read_bytes() == before


def test_the_umask_is_as_before(tmp_path):
    before = os.umask(0o022)
    try:
        make_tokens(tmp_path / "tokens.toml")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    path = write(tmp_path / "t", f'[[token]]\nname="a"\nrole="read"\ntoken="{SECRET}"\n', mode)

    with pytest.raises(UsageError, match=f"found mode {mode:04o}") as refused:
        load_tokens(path)

    assert refused.value.remedy == f"chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "token"),
        ("[[token]]\n", "token.0.name"),
        (f'[[token]]\nname="a"\nrole="root"\ntoken="{SECRET}"\n', "token.0.role"),
        (f'[[token]]\nname="a b"\nrole="read"\ntoken="{SECRET}"\n', "token.0.name"),
        ('[[token]]\nname="a"\nrole="read"\ntoken="short"\n', "token.0.token"),
        (f'[[token]]\nname="a"\nrole="read"\ntoken="{SECRET}"\nx=1\n', "token.0.x"),
        ("token = 1\n", "token"),
        ("[[", "TOML"),
        ("\0", "TOML"),
    ],
)
def test_what_is_no_token_file_is_refused_without_its_tokens(tmp_path, text, place):
    with pytest.raises(ConfigError, match=place) as refused:
        load_tokens(write(tmp_path / "t", text))

    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("repeated", ["name", "token"])
def test_a_name_or_a_token_twice_is_refused(tmp_path, repeated):
    first = {"name": "a", "token": SECRET}
    second = {"name": "b", "token": "t" * 32} | {repeated: first[repeated]}
    text = "".join(
        f'[[token]]\nrole="read"\nname="{one["name"]}"\ntoken="{one["token"]}"\n'
        for one in (first, second)
    )

    with pytest.raises(ConfigError, match=f"each {repeated} once"):
        load_tokens(write(tmp_path / "t", text))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)

    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="--token-file"):
            load_tokens(path)


def test_no_other_bytes_are_a_token(tmp_path):
    path = tmp_path / "tokens.toml"
    make_tokens(path)
    tokens = load_tokens(path)
    token = tomllib.loads(path.read_text())["token"][0]["token"].encode()

    for wrong in (b"", token[:-1], token + b"x", token.swapcase(), b"\xff", token.upper() + b" "):
        assert tokens.identity_of(wrong) is None


def test_no_token_stays_in_memory(tmp_path):
    path = tmp_path / "tokens.toml"
    make_tokens(path)
    tokens = load_tokens(path)
    token = tomllib.loads(path.read_text())["token"][0]["token"]

    assert token not in repr(vars(tokens))
