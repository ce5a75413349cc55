"""``--modality`` is read in one place, and a wrong name is refused by name."""

from __future__ import annotations

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.modalities import parse_modalities


def test_modalities_come_in_the_fixed_order_without_repeats():
    assert parse_modalities("audio, text,audio") == (Modality.TEXT, Modality.AUDIO)
    assert parse_modalities("all") == tuple(Modality)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "vidoe",
            r"--modality vidoe: expected text, image, video, audio or all, got 'vidoe'; did you mean 'video'\?",
        ),
        ("text,,image", r"got ''"),
        ("text,all", r"got 'all'"),
        ("smell", r"got 'smell'$"),
    ],
)
def test_an_unknown_modality_names_the_nearest(text, message):
    with pytest.raises(UsageError, match=message):
        parse_modalities(text)
