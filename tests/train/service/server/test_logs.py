import json
import logging

from crossan.train.service.server.logs import JsonLines, TextLines


def record(message="started", error=None, **fields):
    made = logging.makeLogRecord(
        {"name": "crossan.service", "levelname": "INFO", "msg": message, "created": 1e9}
    )
    made.fields = fields
    if error is not None:
        made.exc_info = (type(error), error, None)
    return made


def test_a_record_is_one_line_of_json_whatever_it_holds():
    line = JsonLines().format(record("a\nb\u2028c", caller="x\n{}", status=200))

    assert "\n" not in line
    content = json.loads(line)
    assert content["message"] == "a\nb\u2028c"
    assert (content["caller"], content["status"]) == ("x\n{}", 200)
    assert content["time"] == "2001-09-09T01:46:40.000+00:00"
    assert content["level"] == "info"


def test_a_traceback_is_kept():
    content = json.loads(JsonLines().format(record(error=ValueError("x"))))

    assert "ValueError: x" in content["traceback"]


def test_what_is_no_json_is_written_as_text():
    assert json.loads(JsonLines().format(record(path=object)))["path"] == "<class 'object'>"


def test_a_terminal_gets_a_line_that_moves_no_cursor():
    line = TextLines().format(record("a\x1b[2Jb", caller="ada"))

    assert "\x1b" not in line
    assert line.endswith("caller=ada")
