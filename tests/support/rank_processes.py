"""Real processes that speak gloo: started once, then given one case after the other."""

from __future__ import annotations

import threading

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.config import load_settings
from crossan.train.evaluation.encoding import EvaluationStoppedError, encode_items
from crossan.train.evaluation.together import encode_items_together
from crossan.train.loop.gradient_sum import GradientSum, seed_step, weights_digest
from crossan.train.loop.recorder import Repeater
from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.shared_step import prepare_share
from crossan.train.ranks.joining import process_group
from crossan.train.ranks.ranks import Ranks
from crossan.train.runs import training
from crossan.train.runs.launch import Launch
from crossan.train.runs.planning import claim, plan_run
from crossan.train.settings import RunSettings
from crossan.train.settings.objective import ObjectiveSettings
from support.ports import free_port
from support.recorded_world import Staged, World
from support.small_models import ITEM_COUNT, LENGTH, make_features, make_model
from support.started import CEILING_S


class RankProcesses:
    """``count`` processes of one group; `ask` has all of them do a case of this file and returns their answers."""

    def __init__(self, count):
        port = free_port()
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self._ends = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(number, count, port, theirs), daemon=True)
            for number, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def ask(self, case, *arguments):
        return self.ask_some(self._ends, case, *arguments)

    def ask_first(self, case, *arguments):
        return self.ask_some(self._ends[:1], case, *arguments)[0]

    @staticmethod
    def ask_some(ends, case, *arguments):
        for end in ends:
            end.send((case, arguments))
        for end in ends:
            assert end.poll(CEILING_S), f"no answer within {CEILING_S} s"
        return [end.recv() for end in ends]

    def close(self):
        for end in self._ends:
            end.send(None)
        for process in self.processes:
            process.join(CEILING_S)
            if process.is_alive():
                process.kill()
            assert process.exitcode == 0


def _serve(number, count, port, end):
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, count, is_master=number == 0)
    with process_group(store, number, count, "cpu") as ranks:
        while (order := end.recv()) is not None:
            case, arguments = order
            end.send(CASES[case](ranks, *arguments))


def loss_and_gradients(ranks, dims, combine, seed, has_ids, chosen, sequences, log_popularity):
    """Return what a rank's optimiser sees: the summed loss, and the summed gradient of every parameter."""
    model = make_model(dims, combine, seed, id_embedding=has_ids)
    features = make_features(dims, torch.Generator().manual_seed(seed))
    sequences, log_popularity = (
        torch.tensor(sequences),
        torch.tensor(log_popularity, dtype=torch.float64),
    )
    rule = rule_of(ObjectiveSettings(**chosen), torch.arange(ITEM_COUNT), log_popularity)
    loss = prepare_share(ranks, features, sequences, log_popularity, rule)(model)
    loss.backward()
    total = GradientSum(model.parameters(), ranks)(loss)
    return [total.item(), *(parameter.grad.tolist() for parameter in model.parameters())]


def trained_bits(ranks, is_early, message_bytes):
    """Return a digest of the weights after some steps, and whether a message left early.

    That is before the backward pass was over. The last batch has one user, so that a rank has nothing to predict.
    """
    dims = [3, 5]
    model = make_model(dims, "sum", seed=4, id_embedding=True).float()
    features = make_features(dims, torch.Generator().manual_seed(4))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    log_popularity = torch.linspace(-3, -1, ITEM_COUNT)
    rng = np.random.default_rng(4)
    batches = [torch.from_numpy(rng.integers(0, ITEM_COUNT, (6, LENGTH + 1))) for _ in range(4)]
    left, begin = [], ranks.begin_to_add_up
    ranks.begin_to_add_up = lambda tensor: left.append(tensor.numel()) or begin(tensor)
    summed = GradientSum(model.parameters(), ranks, model.item_parameters(), message_bytes)
    has_left_early = False
    for batch in (*batches, batches[0][:1]):
        optimiser.zero_grad()
        left.clear()
        loss = prepare_share(ranks, features, batch, log_popularity)(model)
        if is_early:
            loss.backward()
        else:
            # No hook is called by this, so all messages leave afterwards.
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        has_left_early |= bool(left)
        summed(loss)
        optimiser.step()
    del ranks.begin_to_add_up
    return weights_digest(model), has_left_early


def recorded_apart(ranks, kind):
    """Return how far steps of shared recordings are from others, and a digest of the weights.

    The others are those of the shapes of shares, and those of one process.
    Without dropout, whose draws depend on shapes and on the rank, and in float64.
    """
    recorded, eager, alone = (World(kind, 0.0, torch.float64) for _ in range(3))
    taken = recorded.train(recorded.shared(ranks, Repeater()))
    others = eager.train(eager.shared(ranks)), alone.train(alone.eager())
    apart = [
        max(
            float((tensor.double() - other[name].double()).abs().max())
            for name, tensor in taken.items()
            if name not in ("random", "losses")
        )
        for other in others
    ]
    losses = [torch.allclose(taken["losses"].double(), other["losses"], 1e-6) for other in others]
    return apart, losses, weights_digest(recorded.model)


def recorded_twice(ranks, kind):
    """Return digests of two trainings with dropout by shared recordings.

    The second time, features are copied ahead.
    """
    digests = []
    for is_staged in (False, True):
        world = World(kind)
        features = Staged(world.features) if is_staged else world.features
        torch.manual_seed(ranks.number)
        world.train(world.shared(ranks, Repeater(), features))
        digests.append(weights_digest(world.model))
    return digests


def trained_by_recordings(ranks, folder):
    """Train a whole run without dropout twice, the second time by the shapes of shares."""
    given = ("model.bottleneck_dim=8", "model.width=16", "model.dropout=0.0", "batch_size=16")
    settings = load_settings(
        RunSettings,
        assignments=[
            *(*given, "max_epochs=2", "model.compute=float32"),
            *(f"data.dataset={folder / 'd'}", f"data.cache={folder / 'c'}"),
        ],
    )
    for out, recorder_of in (
        ("recorded", lambda device: Repeater()),
        ("eager", lambda device: None),
    ):
        launch = Launch(device="cpu", ranks=ranks, recorder_of=recorder_of)
        plan = plan_run(settings, folder / out, launch)
        with claim(plan):
            training.train(plan)
    return ranks.number


def encoded_alike(ranks, item_count):
    """Whether the item vectors are bit for bit those of one process."""
    model = make_model([3, 4], "sum", seed=1).float()
    features = make_features([3, 4], torch.Generator().manual_seed(2), item_count=item_count)
    together = encode_items_together(ranks, model, features, threading.Event())
    return torch.equal(together, encode_items(model, features))


def stopped(ranks, who):
    """Whether every rank leaves the evaluation when one was told to end."""
    told = threading.Event()
    if ranks.number == who:
        told.set()
    try:
        encode_items_together(
            ranks, make_model([3], "sum", 0), make_features([3], torch.Generator()), told
        )
    except EvaluationStoppedError:
        return True
    return False


def neighbours(ranks):
    return ranks.on_this_machine()


def agreed(ranks):
    return ranks.highest(ranks.number, 10 - ranks.number)


def from_first(ranks, value):
    return [ranks.from_first(lambda: [value, ranks.number])]


def failure_of_first(ranks):
    def fail():
        raise UsageError(f"rank {ranks.number} does not", remedy="try another")

    try:
        ranks.from_first(fail)
    except CrossanError as error:
        return [type(error).__name__, error.exit_code, str(error)]
    return None


def difference(ranks, odd):
    try:
        ranks.require_same({"seed": 1, "torch": "three" if ranks.number == odd else "two"})
    except CrossanError as error:
        return [error.exit_code, str(error)]
    return None


def drawn(ranks, seed, epoch, step):
    seed_step(ranks, seed, epoch, step)
    return torch.rand(4).tolist()


def left_alone(ranks):
    """What rank 0 is told where the others are gone."""
    try:
        ranks.add_up(torch.zeros(3))
    except CrossanError as error:
        return [type(error).__name__, error.exit_code, str(error)]
    return None


def alone(ranks):
    """What a group of one would say: nothing passes between processes."""
    one = Ranks()
    return [one.highest(3), one.from_first(lambda: ranks.number), one.part(7) == slice(0, 7)]


CASES = {
    case.__name__: case
    for case in (
        loss_and_gradients, trained_bits, recorded_apart, recorded_twice, trained_by_recordings, encoded_alike, stopped, neighbours, agreed, from_first, failure_of_first, difference, drawn, left_alone, alone,
    )
}  # fmt: skip
