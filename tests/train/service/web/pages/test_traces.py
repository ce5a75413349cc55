"""What a run has left on disk so far."""

import json

from crossan.train.service.web.pages.traces import (
    heartbeat_time,
    log_tail,
    progress_of,
    read_curve,
)


def test_epochs_are_read_without_torn_and_strange_lines(tmp_path):
    lines = [
        json.dumps({"epoch": 1, "loss": 2.0, "valid": {"ndcg@10": 0.1}, "is_best": True}),
        '{"epoch": 2, "loss": NaN, "valid": {"ndcg@10": 0.2}, "is_best": true}',
        "[]",
        '{"loss": 1}',
        '{"epoch": 3, "loss": 1.0, "val',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    curve = read_curve(tmp_path)
    assert [(one.number, one.valid["ndcg@10"]) for one in curve] == [(1, 0.1), (2, 0.2)]
    progress = progress_of(curve, {"max_epochs": 50})
    assert (progress.epoch, progress.most_epochs, progress.best_epoch) == (2, 50, 2)
    assert progress.best_value == 0.2


def test_nothing_is_there_before_a_run_has_written(tmp_path):
    assert read_curve(tmp_path / "none") == []
    assert progress_of([], {}) is None
    assert log_tail(tmp_path / "none", 5) == []
    assert heartbeat_time(tmp_path) is None


def test_the_tail_of_a_log_is_what_a_terminal_would_show_last(tmp_path):
    log = tmp_path / "output.log"
    log.write_bytes(
        b"first\n" * 9000
        + b"\x1b[1;31mred\x1b[0m\n\n 10 %\r 55 %\r100 %\r\nbell\x07\x00 tab\there\n\xff\xfe broken\nlast"
    )
    tail = log_tail(log, 6)
    assert tail == ["first", "red", "100 %", "bell tab\there", "\ufffd\ufffd broken", "last"]


def test_a_heartbeat_is_the_time_of_its_file(tmp_path):
    beat = tmp_path / "heartbeat"
    beat.touch()
    assert heartbeat_time(tmp_path) == beat.stat().st_mtime
