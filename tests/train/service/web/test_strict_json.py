import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.web.strict_json import require_strict_json


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"seed": NaN}', "NaN"),
        (b'{"seed": Infinity}', "Infinity"),
        (b'{"seed": -Infinity}', "-Infinity"),
        (b'{"lr": 1e999}', "64 bits"),
        (b'{"seed": 1, "seed": 2}', "twice"),
        (b'{"a": {"b": 1, "b": 1}}', "twice"),
        (b'{"label": "\xff"}', "UTF-8 at 11"),
        (b'{"label": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"label": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"label": "a\\u0000b"}', "NUL"),
        (b'{"seed": 99999999999999999999}', "64 bits"),
        (b'{"seed": -1' + b"0" * 5000 + b"}", "64 bits"),
        (b"[" * 33 + b"]" * 33, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
        (b'{"seed": 1', "line 1, column"),
        (b"{'seed': 1}", "line 1, column 2"),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
        (b"{} {}", "line 1, column 4"),
        (b" ", "line 1"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_the_place(body, place):
    with pytest.raises(ConfigError, match=place):
        require_strict_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[" * 32 + b"]" * 32,
        b'{"a": {"b": 1}, "b": 1}',
        b'{"seed": 9223372036854775807}',
        '{"label": "ü \U0001f600"}'.encode(),
        b'{"label": "\\ud83d\\ude00"}',
        b"1e308",
    ],
)
def test_what_is_strict_json_passes(body):
    require_strict_json(body)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)


@given(VALUES)
def test_whatever_python_writes_strictly_passes(value):
    require_strict_json(json.dumps(value, allow_nan=False).encode())


@given(st.binary(max_size=60))
def test_any_bytes_pass_or_are_refused(body):
    try:
        require_strict_json(body)
    except ConfigError:
        return
    json.loads(body)
