"""Messages arrive as they were sent, whatever their size; what is no message is an end."""

from __future__ import annotations

import socket
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from crossan.extract.workers.wire import Closed, receive, send

DTYPES = st.sampled_from(["uint8", "int64", "float32", "float64"])
NAMES = st.text(max_size=5)


def _pass_on(header, given):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send, args=(ours, header, given))
        sender.start()
        received = receive(theirs)
        sender.join()
    return received


@given(
    st.dictionaries(NAMES, st.text() | st.none() | st.integers()),
    st.dictionaries(
        NAMES,
        DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0))),
        max_size=3,
    ),
)
def test_what_is_sent_arrives(header, given):
    found, arrived = _pass_on(header, given)
    assert found == header
    assert list(arrived) == list(given)
    for name, array in given.items():
        assert (arrived[name].dtype, arrived[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(arrived[name], array)


def test_a_message_larger_than_the_sockets_buffer_arrives_whole():
    given = {"a": np.arange(4_000_000, dtype=np.float32), "b": np.arange(6)[::-2]}
    _, arrived = _pass_on({}, given)
    assert all((arrived[name] == given[name]).all() for name in given)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x05\0",
        struct.pack("<I", 1 << 30),
        struct.pack("<I", 4) + b"nope",
        struct.pack("<I", 2) + b"[]",
        *(
            struct.pack("<I", len(body)) + body
            for body in (
                b'{"header": {}}',
                b'{"header": {}, "arrays": {"a": ["object", [1]]}}',
                b'{"header": {}, "arrays": {"a": ["uint8", [-1]]}}',
                b'{"header": {}, "arrays": {"a": ["uint8", [1099511627776]]}}',
                b'{"header": {}, "arrays": {"a": ["uint8", 5]}}',
                b'{"header": {}, "arrays": {"a": ["uint8", [5]]}}abc',
            )
        ),
    ],
)
def test_what_is_no_message_is_an_end(sent):
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(sent)
        ours.close()
        with pytest.raises(Closed):
            receive(theirs)
