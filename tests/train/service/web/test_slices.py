import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.service.web.slices import lines_of, text_of


def test_there_is_nothing_before_the_file_is_there(tmp_path):
    assert text_of(tmp_path / "log", 0) == ("", 0)
    assert lines_of(tmp_path / "log", 0) == ([], 0)


def test_an_offset_beyond_the_end_waits_there(tmp_path):
    path = tmp_path / "log"
    path.write_text("abc")

    assert text_of(path, 99) == ("", 3)
    assert text_of(path, -2) == ("bc", 3)
    assert text_of(path, -99) == ("abc", 3)


@given(st.text(max_size=200), st.integers(4, 9))
def test_slices_one_behind_the_other_are_the_whole_text(tmp_path_factory, text, largest):
    path = tmp_path_factory.mktemp("slices") / "log"
    path.write_bytes(text.encode(errors="replace"))
    parts, offset = [], 0
    while (part := text_of(path, offset, largest)).text:
        parts.append(part.text)
        offset = part.next_offset

    assert "".join(parts) == path.read_bytes().decode()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\xc3", b"\x80\x80\x80\x80\x80"])
def test_bytes_that_are_no_text_never_stop_a_reader(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content + b"\nend\n")
    text, offset = "", 0
    while (part := text_of(path, offset, 4)).text:
        text, offset = text + part.text, part.next_offset

    assert text.endswith("end\n")


def test_lines_come_whole_and_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')

    first = lines_of(path, 0)
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n')
    second = lines_of(path, first.next_offset)

    assert first.lines == [{"epoch": 1}]
    assert second.lines == [{"epoch": 2}]
    assert lines_of(path, second.next_offset).lines == []


def test_numbers_that_json_does_not_have_become_null_and_other_lines_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": NaN, "other": -Infinity}\n[1]\nno json\n{"loss": 1.5}\n')

    lines = lines_of(path, 0).lines

    assert lines == [{"loss": None, "other": None}, {"loss": 1.5}]
    assert json.dumps(lines, allow_nan=False)


def test_a_line_longer_than_a_slice_is_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"x": "' + "y" * 100 + '"}\n{"epoch": 2}\n')
    lines, offset = [], 0
    for _ in range(20):
        part = lines_of(path, offset, 16)
        lines, offset = lines + part.lines, part.next_offset

    assert lines == [{"epoch": 2}]
