"""The mean of the last epochs' weights, beside one of snapshots that are all kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossan.train.loop.averaging import EpochAverage, kept_bytes
from support.storages import Storages


def make_model():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    return model


def move(model, generator):
    """Stand for an epoch of steps."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 8))
def test_what_is_judged_is_the_mean_of_the_last_epochs(count, epochs, resumed_after):
    model, generator = make_model(), torch.Generator().manual_seed(1)
    average, seen = EpochAverage(model, count), []
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    for epoch in range(epochs):
        move(model, generator)
        seen.append(copied(model))
        with average.judged():
            judged = copied(model)
        for name, tensor in judged.items():
            last = torch.stack([each[name].double() for each in seen[-count:]])
            expected = last.mean(0) if name in trained else last[-1]
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
        # Training goes on from the latest weights, to the bit.
        assert all(torch.equal(tensor, seen[-1][name]) for name, tensor in copied(model).items())
        if epoch == resumed_after:
            again = EpochAverage(model, count)
            again.restore({name: tensor.clone() for name, tensor in average.state().items()})
            average = again
        with average.judged_last():
            assert all(torch.equal(tensor, judged[name]) for name, tensor in copied(model).items())


def test_an_epoch_that_did_not_end_is_not_kept():
    model, generator = make_model(), torch.Generator().manual_seed(1)
    average = EpochAverage(model, 3)
    with average.judged():
        pass
    before = average.state()
    move(model, generator)
    latest = copied(model)
    with pytest.raises(KeyError), average.judged():
        raise KeyError
    assert average.state().keys() == before.keys()
    assert all(torch.equal(tensor, latest[name]) for name, tensor in copied(model).items())


def test_training_may_go_on_from_the_mean():
    model, generator = make_model(), torch.Generator().manual_seed(1)
    average, seen = EpochAverage(model, 2), []
    for _ in range(2):
        move(model, generator)
        seen.append(copied(model)["0.weight"])
        with average.judged():
            pass
    average.go_on_from_mean()
    assert torch.equal(model[0].weight, (seen[0] + seen[1]) / 2)
    assert average.state() == {}


def test_the_bytes_that_are_kept_are_those_that_were_predicted():
    model = make_model()
    average = EpochAverage(model, 3)
    storages = Storages()
    with storages:
        for _ in range(5):
            with average.judged():
                pass
    # Four times the 3 x 2 weight and the 2 + 2 of the norm, 4 bytes each; no bias, which is fixed.
    assert kept_bytes(model, 3) == 4 * (6 + 4) * 4
    # Beside them the sum of one parameter, at most the 3 x 2 weight.
    assert kept_bytes(model, 3) <= storages.peak <= kept_bytes(model, 3) + 6 * 4
    assert kept_bytes(model, 1) == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: {"1.0.weight": state["0.0.weight"]}, "other weights than the model"),
        (lambda state: state | {"0.0.weight": torch.zeros(1)}, "other weights than the model"),
        (lambda state: {f"4{name[1:]}": state[name] for name in state}, "expected 2 epochs"),
        (lambda state: {"x.weight": state["0.0.weight"]}, "invalid literal"),
    ],
)
def test_a_state_of_another_model_is_refused(change, match):
    model = make_model()
    average = EpochAverage(model, 2)
    with average.judged():
        pass
    with pytest.raises(ValueError, match=match):
        EpochAverage(model, 2).restore(change(average.state()))
