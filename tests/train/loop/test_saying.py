"""What people are told of an epoch, and how long the rest may take."""

import pytest

from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.saying import say_epoch, usual_seconds
from crossan.train.settings import DataSettings, RunSettings

VALID = {"hr@10": 0.1, "ndcg@10": 0.05}


def progress_after(*seconds):
    """Return a progress whose epochs took so long, None for one that did not record it."""
    lines = [
        {"epoch": epoch, "loss": 1.0, "valid": VALID, **({} if one is None else {"seconds": one})}
        for epoch, one in enumerate(seconds, 1)
    ]
    total = sum(one or 0 for one in seconds)
    return TrainingProgress(
        epoch=len(lines), best_epoch=len(lines), seconds=total, seconds_before=total, metrics=lines
    )


def test_a_process_that_was_stopped_once_leaves_the_rest_as_it_was(capsys):
    settings = RunSettings(data=DataSettings(dataset="d"), patience=3, max_epochs=40)
    say_epoch(settings, progress_after(40, 50, 45, 1860))
    said = capsys.readouterr().err
    # The mean is 1995 s / 4; the median is that of 45 and 50.
    assert "1860.0 s (498.8 s per epoch)" in said
    assert "ends after epoch 7 (about 2 min)" in said  # 3 x 47.5 s
    assert "at most 28 min left" in said  # 36 x 47.5 s


@pytest.mark.parametrize(
    ("seconds", "usual"),
    [
        ((4.0,), 4.0),
        ((None, None, 4.0), 4.0),
        # Nine epochs ago the machine had more to do.
        ((*[100.0] * 20, *[10.0] * 9), 10.0),
        ((*[100.0] * 20, *[10.0] * 5), 10.0),
        ((*[100.0] * 20, *[10.0] * 4), 100.0),
    ],
)
def test_the_usual_seconds_are_those_of_most_of_the_last_epochs(seconds, usual):
    assert usual_seconds(progress_after(*seconds)) == usual
