"""Gradients that leave while others are made give the bits of those that leave afterwards."""

import gc
import weakref

import pytest
import torch

from crossan.train.loop.gradient_sum import GradientSum, gradient_sum_of
from crossan.train.ranks.ranks import Ranks
from support.rank_processes import RankProcesses
from support.selection import beyond
from support.small_models import make_model


class Paired(Ranks):
    """The first of two ranks, whose other one sends the same as it does itself."""

    def __init__(self):
        super().__init__(0, 2)
        self.log = []

    def begin_to_add_up(self, tensor):
        self.log.append(("sent", tensor.numel()))
        tensor.mul_(2)
        return lambda: self.log.append(("waited", tensor.numel()))


def layers(log):
    """Return three layers in a row; the log hears of the gradient that each hands down."""
    torch.manual_seed(0)
    modules = [torch.nn.Linear(3, 3, bias=False) for _ in range(3)]
    for number, module in enumerate(modules):
        module.register_full_backward_hook(lambda *_, n=number: log.append(("backward", n)))
    return torch.nn.Sequential(*modules)


def loss_of(model):
    return model(torch.ones(2, 3, requires_grad=True)).square().sum()


def test_a_message_leaves_before_the_backward_pass_is_over():
    ranks = Paired()
    model = layers(ranks.log)
    summed = GradientSum(model.parameters(), ranks, model.parameters(), message_bytes=36)
    loss = loss_of(model)
    loss.backward()
    # A layer has nine weights of four bytes. The lowest goes with the loss.
    early = [ranks.log.index(("sent", 9)), ranks.log.index(("backward", 0))]
    assert early == sorted(early)
    assert [entry for entry in ranks.log if entry[0] == "sent"] == [("sent", 9)] * 2
    summed(loss)
    assert ranks.log[-4:] == [("sent", 10), ("waited", 9), ("waited", 9), ("waited", 10)]


@pytest.mark.parametrize("message_bytes", [1, 36, 70, 1 << 20])
def test_gradients_and_loss_are_added_up_whatever_a_message_holds(message_bytes):
    plain, model = layers([]), layers([])
    summed = GradientSum(model.parameters(), Paired(), model.parameters(), message_bytes)
    for _ in range(2):  # the second step meets what the first one left
        model.zero_grad()
        plain.zero_grad()
        loss = loss_of(model)
        loss.backward()
        total = summed(loss)
        expected = loss_of(plain)
        expected.backward()
        assert total.item() == 2 * expected.item()
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours.grad, 2 * theirs.grad)


def test_messages_keep_their_order_where_a_gradient_is_missing():
    """Another rank, whose gradients are all there, sends the same sizes in the same order."""
    sizes = []
    for is_missing in (False, True):
        ranks = Paired()
        model = layers([])
        summed = GradientSum(model.parameters(), ranks, model.parameters(), message_bytes=1)
        if is_missing:
            # The layer whose message is the first of all.
            model[2].weight.requires_grad_(False)
        loss = loss_of(model)
        loss.backward()
        sent_early = len(ranks.log)
        assert sent_early == (0 if is_missing else 2)
        summed(loss)
        sizes.append([entry for entry in ranks.log if entry[0] == "sent"])
    assert sizes[0] == sizes[1]


def test_a_small_model_sends_one_message_after_its_backward_pass():
    ranks = Paired()
    model = make_model([3, 4], "sum", seed=0, id_embedding=True)
    summed = gradient_sum_of(model, ranks)
    for parameter in model.parameters():
        parameter.sum().backward()
    assert not ranks.log
    summed(torch.zeros((), dtype=torch.float64))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert ranks.log == [("sent", count + 1), ("waited", count + 1)]


def test_one_rank_adds_nothing_up():
    assert gradient_sum_of(make_model([3], "sum", seed=0), Ranks()) is None


def test_hooks_keep_nothing_alive():
    """They lie in torch, where no collector finds a circle: every trial of a sweep would stay."""
    model = layers([])
    summed = weakref.ref(GradientSum(model.parameters(), Paired(), model.parameters(), 1))
    gc.collect()
    assert summed() is None
    loss_of(model).backward()


@pytest.fixture(scope="module", params=beyond(1, [2, 3]))
def processes(request):
    started = RankProcesses(request.param)
    yield started
    started.close()


@pytest.mark.parametrize("message_bytes", [1, 200, 1 << 20])
def test_training_by_early_messages_gives_the_bits_of_late_ones(processes, message_bytes):
    """The last step has a rank without a prediction, whose encoder gets no gradient."""
    early = processes.ask("trained_bits", True, message_bytes)
    late = processes.ask("trained_bits", False, message_bytes)
    assert len({digest for digest, _ in (*early, *late)}) == 1
    assert [has_left for _, has_left in early] == [message_bytes < 1 << 20] * len(early)
    assert not any(has_left for _, has_left in late)
