"""The predicted peak of memory beside the peak that is measured, on the CPU."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
import torch

from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.validation import validate
from crossan.train.objectives import ObjectiveContext, make_objective
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.runs.peak import predict_peak
from crossan.train.runs.peak_memory import PeakMemory
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import train_split, validation_split
from support.planned_runs import made_up_run
from support.storages import Storages

STEPS = 3
TESTS = Path(__file__).parents[2]


def measured_peak(run):
    """What three steps and a validation allocate, with real numbers in them."""
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    train = train_split(run.seen, run.settings.data.input_length)
    context = ObjectiveContext(run.settings, train, log_popularity(counts), ALONE, run.seen)
    objective = make_objective(context)
    split = validation_split(run.seen, run.settings.data.input_length)

    def work():
        optimiser = make_optimiser(run.model.parameter_groups(), run.settings.optimiser)
        run.model.train()
        for batch in objective.batches(1)[:STEPS]:
            optimiser.zero_grad()
            loss = objective.prepare(run.features, batch)(run.model)
            loss.backward()
            optimiser.step()
        validate(run.model, run.features, (split, counts), "all", ALONE, Event())

    storages = Storages()
    with storages:
        work()
    return storages.peak


def allocated(peak):
    return peak.optimiser + max(peak.step, peak.validation)


KINDS = {
    "crossan, adapters of 64": ("crossan", {"bottleneck_dim": 64}),
    "crossan, adapters of 512": ("crossan", {"bottleneck_dim": 512}),
    "crossan in bfloat16": ("crossan", {"bottleneck_dim": 64, "compute": "bfloat16"}),
    "sasrec": ("sasrec", {}),
    "sasrec, whole softmax": ("sasrec", {"objective": {"kind": "catalogue"}}),
    "crossan, memory of batches": ("crossan", {"bottleneck_dim": 64, "objective": {"kind": "cross-batch", "memory_size": 700, "sample_size": 100}}),
    "sasrec, all chosen otherwise": ("sasrec", {"norm": "pre", "positions": "relative", "scores": "cosine", "objective": {"debias": "negatives", "uniform_negatives": 100, "temperature": 0.1, "label_smoothing": 0.1}}),
    "vbpr": ("vbpr", {"batch_size": 512}),
    "mgcn": ("mgcn", {"batch_size": 512}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_is_what_is_measured(kind, tmp_path):
    name, more = KINDS[kind]
    run = made_up_run(tmp_path, name, **more)
    peak = predict_peak(run, ALONE, before=0)
    assert allocated(peak) == pytest.approx(measured_peak(run), rel=0.1)


def test_a_torch_that_lacks_an_operator_costs_the_prediction_alone(tmp_path, monkeypatch, capsys):
    """None in `sys.modules` fails an import, as a rule for an operator that is gone would."""
    monkeypatch.setitem(sys.modules, "crossan.train.runs.allocations", None)
    run = made_up_run(tmp_path, "sasrec", users=20, items=40)
    assert predict_peak(run, ALONE, before=0) is None
    assert "memory: no prediction for this run: import of crossan.train.runs.allocations" in (
        capsys.readouterr().err
    )


def test_nothing_of_a_run_changes(tmp_path):
    run = made_up_run(tmp_path, "crossan", bottleneck_dim=8)
    weights = {name: each.clone() for name, each in run.model.state_dict().items()}
    attributes = [dict(vars(module)) for module in run.model.modules()]
    torch.manual_seed(1)
    random = torch.get_rng_state()
    assert predict_peak(run, ALONE, before=0).step > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert [dict(vars(module)) for module in run.model.modules()] == attributes
    assert all(torch.equal(each, weights[name]) for name, each in run.model.state_dict().items())
    assert all(parameter.grad is None for parameter in run.model.parameters())


def test_no_compiler_is_loaded(tmp_path):
    """It would cost two seconds, and 80 MiB of what is predicted."""
    program = (
        "import sys; from pathlib import Path; from support.planned_runs import made_up_run\n"
        "from crossan.train.runs.peak import predict_peak; from crossan.train.ranks.ranks import ALONE\n"
        f"run = made_up_run(Path({str(tmp_path)!r}), 'crossan', bottleneck_dim=8)\n"
        "assert predict_peak(run, ALONE, before=0).step\n"
        "assert not {'torch._dynamo', 'sympy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=TESTS)


def test_a_share_of_a_batch_takes_less_than_the_whole(tmp_path):
    run = made_up_run(tmp_path, "crossan", bottleneck_dim=64, batch_size=256)
    whole = predict_peak(run, ALONE, before=0)
    share = predict_peak(run, Ranks(1, 2), before=0)
    # Towers and encoder of half of it, and the gradients once more, to be sent.
    assert whole.step / 2 < share.step < 0.8 * whole.step


def test_a_larger_batch_takes_more(tmp_path):
    sizes = [
        predict_peak(made_up_run(tmp_path, "sasrec", batch_size=size), ALONE, before=0).step
        for size in (64, 128, 256)
    ]
    # Not twice as much: a block of logits has one size.
    assert 1.5 * sizes[0] < sizes[1] < sizes[2] / 1.5


def test_a_model_that_cannot_run_on_paper_is_trained_all_the_same(tmp_path, monkeypatch, capsys):
    run = made_up_run(tmp_path, "sasrec")

    def packed(vectors, packing):
        return vectors * vectors.sum().item()

    monkeypatch.setattr(run.model.sequence_encoder, "packed", packed)
    assert predict_peak(run, ALONE, before=0) is None
    assert "memory: no prediction for this run: " in capsys.readouterr().err


def test_the_parts_are_said():
    mib = 1 << 20
    peak = PeakMemory(
        features=1100 * mib, others=100 * mib, optimiser=200 * mib, step=900 * mib,
        validation=300 * mib, batch="1,024 users", is_on_cpu=False,
    )  # fmt: skip
    assert peak.total == 2300 * mib
    assert peak.in_words() == (
        "2.2 GiB at the peak: 1.1 GiB features, 100 MiB weights, 200 MiB optimiser,"
        " 900 MiB a step of 1,024 users"
    )


def test_the_memory_of_the_process_grows_as_predicted(tmp_path):
    """A step of 4,096 users, by what the kernel says of a process that takes it."""
    command = [sys.executable, "-m", "support.step_memory", str(tmp_path)]
    # Large blocks go back to the system at once: what glibc keeps of them is no tensor's.
    glibc = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=TESTS, env={**os.environ, **glibc}
    )
    predicted, measured = map(int, said.stdout.split())
    assert predicted > 300 << 20
    assert predicted == pytest.approx(measured, rel=0.1)
