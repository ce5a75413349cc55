"""A checkpoint's folder with any file changed works, or is refused before a job; nothing else.

``CROSSAN_FAULTS=full`` damages each of the seven checkpoints 500 times, otherwise 8 times.
"""

from __future__ import annotations

import os
import shutil
from random import Random

import pytest

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from support.checkpoint_damage import damage
from support.checkpoints import MODALITIES, write_small

DAMAGES = 500 if os.environ.get("CROSSAN_FAULTS") == "full" else 8


@pytest.fixture(scope="session")
def small(once):
    return once("small-checkpoints", write_small)


@pytest.mark.filterwarnings("ignore")  # of transformers and numpy, over numbers that cannot be
@pytest.mark.parametrize("name", MODALITIES)
def test_a_damaged_checkpoint_works_or_is_refused_with_its_exit_code(small, name, tmp_path):
    outcomes = {"works": 0, "refused": 0}
    for number in range(DAMAGES):
        random = Random(f"{name} {number}")
        folder = tmp_path / str(number)
        shutil.copytree(small / name, folder)
        path = random.choice(sorted(folder.iterdir()))
        path.write_bytes(damage(path.name, path.read_bytes(), random))
        outcomes[_outcome(name, folder)] += 1
        shutil.rmtree(folder)
    # Neither does every change matter, nor does none.
    assert min(outcomes.values()) > 0


def _outcome(name, folder):
    try:
        backbone = load_backbone(MODALITIES[name], str(folder), device="cpu")
    except (UsageError, ResourceError):
        return "refused"
    # What was loaded does its work: no item can be the first to fail.
    states = backbone.encode([backbone.prepare(medium) for medium in canary_inputs(backbone)])
    assert states.shape[0] == 4
    assert len(backbone.identity("float16", "raw").fingerprint) == 64
    return "works"
