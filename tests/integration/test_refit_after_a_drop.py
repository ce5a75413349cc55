"""A refit follows its run, whose rates have dropped since."""

import json

import pytest

from support.commands import SASREC_BY_EPOCH, train_in
from support.fabricated import write_small
from support.outcomes import unmeasured, unmeasured_bytes

DROPPING = (*SASREC_BY_EPOCH, "optimiser.plateau_drops=1", "seed=2")
# The rates drop after epoch 4, back to epoch 2, and an epoch after that is the best.
LATEST = (*DROPPING, "patience=2")
# They drop after epoch 5, back to the mean of epochs 3 and 4, and epoch 6 is the best.
MEAN = (*DROPPING, "patience=1", "average_epochs=2")


@pytest.mark.parametrize(("settings", "before"), [(LATEST, 4), (LATEST, 2), (MEAN, 5), (MEAN, 4)])
def test_a_refit_of_a_run_that_went_on_is_that_of_one_that_was_not_interrupted(
    tmp_path, settings, before
):
    place = write_small(tmp_path)
    train_in(place, (*settings, f"max_epochs={before}"), "--refit", "all", out="parts")
    assert "drop_after = []" in (place / "parts/refit/config.toml").read_text()
    train_in(place, (*settings, "max_epochs=30"), "--resume", "--refit", "all", out="parts")
    train_in(place, (*settings, "max_epochs=30"), "--refit", "all", out="whole")
    parts, whole = (
        json.loads((place / out / "refit/result.json").read_text()) for out in ("parts", "whole")
    )
    assert len(whole["drops"]) == 1
    assert unmeasured(parts) == unmeasured(whole)
    for file in ("checkpoints/best/model.safetensors", "metrics.jsonl"):
        one, other = (unmeasured_bytes(place / out / "refit" / file) for out in ("parts", "whole"))
        assert one == other
    recorded = [(place / out / "refit/config.toml").read_text() for out in ("parts", "whole")]
    assert recorded[0] == recorded[1].replace("/whole", "/parts")
