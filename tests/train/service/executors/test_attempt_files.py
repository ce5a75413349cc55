"""Files in an attempt's folder."""

from __future__ import annotations

import pytest

from crossan.train.service.executors.attempt_files import error_lines, write_once


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"", ""),
        (b"a\n\nb\n", "a\nb"),
        (b"1\n2\n3\n4\n5\n6\n7\n", "3\n4\n5\n6\n7"),
        (b"ConfigError: first\nmore\nDataError: second\n  mend it\n", "DataError: second\n  mend it"),
        (b"Traceback (most recent call last):\n  File\ntorch.OutOfMemoryError: CUDA\n", "torch.OutOfMemoryError: CUDA"),
        (b"error: no program\n", "error: no program"),
        (b"this is no Error: it is a sentence\n", "this is no Error: it is a sentence"),
        (b"\xff\xfe cut in a letter\n", "\ufffd\ufffd cut in a letter"),
    ],
)  # fmt: skip
def test_the_last_error_is_told_and_else_the_last_lines(output, lines):
    assert error_lines(output) == lines


def test_an_endless_line_is_cut():
    assert len(error_lines(b"y" * 16_000)) == 4000
    assert error_lines(b"ValueError: " + b"y" * 16_000).startswith("ValueError: yyy")


def test_only_the_first_to_write_a_file_writes_it(tmp_path):
    path = tmp_path / "outcome.json"
    assert write_once(str(path), "first")
    assert not write_once(str(path), "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
