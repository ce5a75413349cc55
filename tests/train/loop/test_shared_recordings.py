"""Recorded steps of several real processes are those of the shapes of their shares."""

import pytest
import torch
from safetensors.torch import load_file

from support.fabricated import write_small
from support.rank_processes import RankProcesses
from support.recorded_world import KINDS
from support.selection import beyond

_OFTEN = ("crossan with ids", "sasrec")


@pytest.fixture(scope="module", params=beyond(1, [3, 2]))
def processes(request):
    """Three before two: of three, one has no user of the last batch."""
    started = RankProcesses(request.param)
    yield started
    started.close()


@pytest.mark.parametrize("kind", beyond(2, sorted(KINDS, key=_OFTEN.__contains__, reverse=True)))
def test_the_steps_are_those_of_the_shapes_that_shares_have(processes, kind):
    answers = processes.ask("recorded_apart", kind)
    for apart, losses, _ in answers:
        assert max(apart) < 1e-9
        assert losses == [True, True]
    assert len({digest for _, _, digest in answers}) == 1


def test_the_steps_repeat_bit_for_bit_wherever_features_are(processes):
    digests = [digest for each in processes.ask("recorded_twice", "crossan") for digest in each]
    assert len(set(digests)) == 1


def test_a_whole_training_by_recordings_comes_to_the_same_weights(processes, tmp_path):
    processes.ask("trained_by_recordings", write_small(tmp_path))
    recorded, eager = (
        load_file(tmp_path / out / "checkpoints" / "last" / "model.safetensors")
        for out in ("recorded", "eager")
    )
    assert recorded.keys() == eager.keys()
    for name, weights in eager.items():
        torch.testing.assert_close(recorded[name], weights, rtol=1e-3, atol=1e-4, msg=name)
    # Other shapes, other sums: the same bytes would mean that both took the same way.
    assert any(not torch.equal(recorded[name], weights) for name, weights in eager.items())
