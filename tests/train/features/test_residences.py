"""Trained wherever the hidden states live: the same bytes; and what is refused, with what to do about it."""

import json
import re
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import ResourceError, StoreIntegrityError, UsageError
from crossan.train.cli import evaluate, recommend, train
from crossan.train.features import budget
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.loop import preparing
from crossan.train.loop.loss_window import TrainingDivergedError
from crossan.train.objectives.in_batch import InBatch
from crossan.train.ranks.ranks import Ranks
from support.commands import attempt, run, train_in, training
from support.fabricated import write_small
from support.outcomes import outcome
from support.stopping import signal_at_step

SETTINGS = ("model.bottleneck_dim=8", "model.width=16", "batch_size=16", "max_epochs=2")
ROW = 2 * 2 * 8 * 2  # modalities, layers, width, bytes of float16


def run_train(place, *more, out="r"):
    return train_in(place, SETTINGS, *more, out=out)


def outcome_and_config(run_folder):
    return outcome(run_folder) | {"config": (run_folder / "config.toml").read_bytes()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("residences"))
    run_train(place, "--residence", "device", out="whole")
    return place


@pytest.fixture(scope="module")
def least(place):
    return least_of(place)


def least_of(place, *more):
    """The bytes that streaming needs at the least, as the error says."""
    with pytest.raises(UsageError, match="need") as caught:
        run_train(place, *more, "--residence", "streamed", "--max-ram", "1", out="never")
    return int(re.search(r"\(([\d,]+) bytes\)", caught.value.message)[1].replace(",", ""))


@pytest.mark.parametrize("kept", [0, 1, 17, 40])
def test_streamed_training_gives_the_same_bytes(place, least, tmp_path, kept):
    result = run_train(
        place, "--residence", "streamed", "--max-ram", least + kept * ROW, out=tmp_path / "r"
    )
    assert f"the most popular {kept} of 40 items" in result.stderr
    assert outcome_and_config(tmp_path / "r") == outcome_and_config(place / "whole")


@pytest.mark.parametrize("more", [("--residence", "host"), ("--reference",), ("--set", "features.permute_seed=5"), ("--set", "features.storage=int8"), ("--set", "features.standardise=none"), ("--set", "features.standardise=none", "--set", "features.storage=int8")])  # fmt: skip
def test_every_way_to_train_streams_to_the_same_bytes(place, tmp_path, more):
    run_train(place, *more, out=tmp_path / "here")
    way = more if "host" not in more else ()
    limits = ("--residence", "streamed", "--max-ram", least_of(place, *way) + 5 * ROW)
    run_train(place, *way, *limits, out=tmp_path / "there")
    assert outcome_and_config(tmp_path / "here") == outcome_and_config(tmp_path / "there")
    assert (outcome_and_config(tmp_path / "here") != outcome_and_config(place / "whole")) == (
        "host" not in more
    )


def test_host_memory_and_device_memory_merge_to_the_same_bytes(place, tmp_path, monkeypatch):
    """As on an accelerator: some items on the device, some in RAM, some streamed."""

    def three_places(stored, placement, device, demand):
        rows = torch.arange(stored.item_count).numpy()
        return StreamedFeatures(stored, device, rows[1::3], rows[::3])

    monkeypatch.setattr("crossan.train.runs.opening.place_features", three_places)
    run_train(place, out=tmp_path / "r")
    assert outcome_and_config(tmp_path / "r") == outcome_and_config(place / "whole")


def test_a_run_goes_on_in_another_residence(place, least, tmp_path, monkeypatch):
    signal_at_step(monkeypatch, signal.SIGTERM, 13)
    streamed = ("--residence", "streamed", "--max-ram", least + 3 * ROW)
    assert (
        attempt(train, *training(place, SETTINGS, *streamed, out=tmp_path / "r")).exit_code == 143
    )
    assert not prefetch_threads()
    monkeypatch.undo()
    assert "going on after" in run_train(place, "--resume", out=tmp_path / "r").stderr
    assert outcome_and_config(tmp_path / "r") == outcome_and_config(place / "whole")


def prefetch_threads():
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("crossan-prefetch")
    ]


def test_no_thread_is_left_when_training_diverges(place, tmp_path, monkeypatch):
    prepare = InBatch.prepare

    def poisoned(self, features, sequences):
        loss_of = prepare(self, features, sequences)
        return lambda model: loss_of(model) * float("nan")

    monkeypatch.setattr(InBatch, "prepare", poisoned)
    with pytest.raises(TrainingDivergedError):
        run_train(place, "--set", "checkpoint.every_steps=1", out=tmp_path / "r")
    assert not prefetch_threads()


def test_a_fault_in_the_thread_stops_training_as_itself(place, tmp_path, least, monkeypatch):
    real, calls = StreamedFeatures.fetch, []

    def fetch(self, rows):
        calls.append(threading.current_thread().name)
        if len(calls) == 5:
            raise StoreIntegrityError("a chunk went bad", remedy="crossan cache fsck")
        return real(self, rows)

    monkeypatch.setattr(StreamedFeatures, "fetch", fetch)
    with pytest.raises(StoreIntegrityError, match="a chunk went bad"):
        run_train(place, "--residence", "streamed", "--max-ram", 2 * least, out=tmp_path / "r")
    assert len(calls) == 5
    assert all(name.startswith("crossan-prefetch") for name in calls)
    assert not prefetch_threads()


def test_the_reference_step_prepares_nothing(place, tmp_path, monkeypatch):
    from crossan.train.features import FeatureTable

    callers, real = [], FeatureTable.gather
    monkeypatch.setattr(
        FeatureTable,
        "gather",
        lambda table, rows: callers.append(threading.current_thread().name) or real(table, rows),
    )
    monkeypatch.setattr(preparing, "prepared_ahead", None)
    run_train(place, "--reference", out=tmp_path / "r")
    assert set(callers) == {"MainThread"}


def test_evaluate_and_recommend_stream_to_the_same_figures(place, least):
    limits = ("--residence", "streamed", "--max-ram", least, "--json")
    for command, more in (
        (evaluate, ()),
        (evaluate, ("--permute-features", 3)),
        (recommend, ("--user", "u001")),
    ):
        found = [
            run(command, place / "whole", *more, *given).stdout for given in (limits, ("--json",))
        ]
        assert found[0] == found[1]
    assert "the most popular 0 of 40 items" in run(evaluate, place / "whole", *limits).stderr


def test_permuting_twice_is_one_permutation_after_the_other(place, tmp_path):
    """A run of permuted features, evaluated with permuted features, leads somewhere else than either alone."""
    run_train(place, "--set", "features.permute_seed=5", out=tmp_path / "r")
    figures = [
        run(evaluate, tmp_path / "r", *more, "--json").stdout
        for more in ((), ("--permute-features", 3))
    ]
    assert figures[0] != figures[1]


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (("--max-ram", "8GB"), "--max-ram 8GB: expected a size such as 4GiB or 500MiB", None),
        (("--max-device-memory", "much"), "--max-device-memory much: expected a size", None),
        (("--max-device-memory", "1GiB"), "--max-device-memory: expected an accelerator, computing on the CPU", "Use --max-ram"),
        (("--max-ram", "1K"), r"residence streamed: 2 batches and the items' index need [\d.]+ KiB \([\d,]+ bytes\), --max-ram allows 1.0 KiB", "Allow more: --max-ram 1MiB"),
        (("--residence", "host", "--max-ram", "1K"), "residence host: the features, 2 batches and the items' index need", "Use --residence streamed, or allow more: --max-ram 1MiB"),
        (("--residence", "device", "--max-ram", "1K"), "residence device: the features, 2 batches and the items' index need", "Use --residence streamed, or allow more: --max-ram 1MiB"),
    ],
)  # fmt: skip
def test_bad_flags_are_refused_with_a_remedy(place, arguments, message, remedy):
    with pytest.raises(UsageError, match=message) as caught:
        run_train(place, *arguments, out="never")
    assert (caught.value.exit_code, caught.value.remedy) == (2, remedy)
    assert not (place / "never").exists()


def test_an_unknown_residence_is_refused_with_the_known_ones(place):
    result = attempt(train, *training(place, SETTINGS, "--residence", "gpu", out="never"))
    assert result.exit_code == 2
    assert all(name in result.output for name in ("'auto'", "'device'", "'host'", "'streamed'"))


def test_a_machine_without_memory_is_no_wrong_flag(place, monkeypatch):
    monkeypatch.setattr(budget, "available_ram", lambda: 1000)
    with pytest.raises(ResourceError, match=r"need .*, only 800 bytes are free") as caught:
        run_train(place, out="never")
    assert caught.value.exit_code == 6
    assert (
        caught.value.remedy
        == "Use a smaller batch: --set batch_size=..., or a machine with more memory"
    )
    with pytest.raises(ResourceError, match="residence device") as caught:
        run_train(place, "--residence", "device", out="never")
    assert caught.value.remedy == "Use --residence streamed"


def test_auto_takes_ram_where_it_does_and_streams_where_not(place, least, tmp_path, monkeypatch):
    assert "features: all 2.5 KiB in RAM" in run_train(place, out=tmp_path / "a").stderr
    assert (
        "features: all 2.5 KiB in RAM"
        in run_train(place, "--max-ram", least + 40 * ROW, out=tmp_path / "b").stderr
    )
    assert (
        "features: streamed from 2.5 KiB; the most popular 39 of 40 items, 2.4 KiB, in RAM"
        in run_train(place, "--max-ram", least + 40 * ROW - 1, out=tmp_path / "c").stderr
    )
    monkeypatch.setattr(budget, "available_ram", lambda: int((least + 3 * ROW) / 0.8) + 2)
    assert "the most popular 3 of 40 items" in run_train(place, out=tmp_path / "d").stderr


def test_ranks_of_one_machine_divide_its_free_memory(place, least, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "available_ram", lambda: 2 * int((least + 3 * ROW) / 0.8) + 4)
    monkeypatch.setattr(Ranks, "on_this_machine", lambda ranks: 2)
    assert "the most popular 3 of 40 items" in run_train(place, out=tmp_path / "r").stderr


def test_int8_shows_what_it_costs_and_learns_all_the_same(place, tmp_path):
    result = run_train(place, "--set", "features.storage=int8", out=tmp_path / "r")
    found = re.findall(
        r"features.storage=int8: (\w+) with a relative error of ([\d.]+)%, ([\d.]+)% at most",
        result.stderr,
    )
    assert [name for name, *_ in found] == ["text", "image"]
    for _, mean, largest in found:
        assert (
            0.05 < float(mean) < float(largest) < 1.0
        )  # half a code of 127 is 0.4 % of a row's largest
    exact, packed = (
        load_file(run / "checkpoints/best/model.safetensors")
        for run in (place / "whole", tmp_path / "r")
    )
    assert any(not tensor.equal(packed[name]) for name, tensor in exact.items())
    assert all(torch.allclose(tensor, packed[name], atol=0.05) for name, tensor in exact.items())
    evaluated = json.loads(run(evaluate, tmp_path / "r", "--json").stdout.splitlines()[-1])
    assert evaluated["test"] == json.loads((tmp_path / "r/result.json").read_text())["test"]


def test_a_run_does_not_go_on_with_other_numbers(place, tmp_path):
    run_train(place, out=tmp_path / "r")
    with pytest.raises(UsageError, match=r"features.storage: stored there, int8 asked"):
        run_train(place, "--resume", "--set", "features.storage=int8", out=tmp_path / "r")
