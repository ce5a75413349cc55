"""Real processes that speak gloo: started once, then given one case after the other."""

from __future__ import annotations

import threading

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.train.evaluation.encoding import EvaluationStoppedError, encode_items
from crossan.train.evaluation.together import encode_items_together
from crossan.train.loop.gradient_sum import GradientSum, seed_step
from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.shared_step import prepare_share
from crossan.train.ranks.joining import process_group
from crossan.train.ranks.ranks import Ranks
from crossan.train.settings.objective import ObjectiveSettings
from support.ports import free_port
from support.small_models import ITEM_COUNT, make_features, make_model
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
        loss_and_gradients, encoded_alike, stopped, neighbours, agreed, from_first, failure_of_first, difference, drawn, left_alone, alone,
    )
}  # fmt: skip
