"""Runs with features.standardise=layer: their statistics go with them, wherever and on whatever they are used."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import open_store
from crossan.train.cli import evaluate, recommend
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.opening import open_run
from support.commands import run, train_in
from support.fabricated import make_sequences, write_rows, write_small, write_store
from support.outcomes import outcome
from support.stopping import Died, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "batch_size=32",
    "max_epochs=2",
    "features.standardise=layer",
)
ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
NEW = ["h00", "j00"]
"""The first and the last of the catalogue then."""
FILE = "standardise.safetensors"


def run_train(place, *more, out="r"):
    return train_in(place, SETTINGS, *more, out=out)


@pytest.fixture(scope="module", autouse=True)
def trained(place):
    run_train(place)
    return place / "r"


@pytest.fixture
def grown(tmp_path):
    """A run like that one, whose dataset and stores have gained two items since."""
    run_train(write_small(tmp_path))
    shutil.copytree(tmp_path / "r", tmp_path / "before")
    (tmp_path / "d").rename(tmp_path / "old")
    rows = make_sequences()
    for user in range(20):
        taken = [*NEW, "i02", f"i{user % 4}2", "i01", "i03"]
        rows += [(f"v{user:02d}", item, time) for time, item in enumerate(taken)]
    write_rows(tmp_path / "d", rows, items=["h00", *ITEMS, "j00"])
    for modality in (Modality.TEXT, Modality.IMAGE):
        write_store(tmp_path / "c", modality, items=NEW)
    return tmp_path


def statistics(folder):
    return load_file(folder / FILE)


def test_a_run_records_the_statistics_of_its_present_items(place, trained):
    recorded = statistics(trained)
    for modality in ("text", "image"):
        store = open_store(next((place / "c" / "small" / modality).iterdir()))
        states = store.read(np.flatnonzero(store.presence)).astype(np.float64)
        np.testing.assert_allclose(recorded[f"{modality}.mean"], states.mean(axis=0), rtol=1e-6)
        deviation = np.sqrt(states.var(axis=0).mean(axis=1))
        np.testing.assert_allclose(recorded[f"{modality}.deviation"], deviation, rtol=1e-6)


def test_the_model_reads_layers_of_mean_0_and_deviation_1(trained):
    opened = open_run(trained, device="cpu")
    hidden, presence = opened.features.gather(torch.arange(40))
    for m, states in enumerate(hidden):
        present = states[presence[:, m]].double()
        assert present.mean(dim=0).abs().max() < 1e-3
        assert present.square().mean(dim=(0, 2)).tolist() == pytest.approx([1, 1], abs=1e-3)


def test_it_is_another_training_and_without_it_there_is_no_trace(place, trained):
    plain = (*SETTINGS[:-1], "features.standardise=none")
    train_in(place, plain, out="plain")
    assert not (place / "plain" / FILE).exists()
    assert (
        outcome(place / "plain")["checkpoints/best/model.safetensors"]
        != (outcome(trained)["checkpoints/best/model.safetensors"])
    )


def test_a_killed_run_goes_on_with_its_statistics(place, trained, monkeypatch):
    with monkeypatch.context() as patch:
        die_at_step(patch, 7)
        with pytest.raises(Died):
            run_train(place, "--set", "checkpoint.every_steps=3", out="killed")
    monkeypatch.setattr("crossan.train.features.stored.StoredStates.moments", None)
    run_train(place, "--set", "checkpoint.every_steps=3", "--resume", out="killed")
    assert outcome(place / "killed") == outcome(trained)
    assert (place / "killed" / FILE).read_bytes() == (trained / FILE).read_bytes()


def test_evaluating_a_grown_dataset_uses_the_statistics_of_the_run(grown, trained, monkeypatch):
    monkeypatch.setattr("crossan.train.features.stored.StoredStates.moments", None)
    opened = open_run(grown / "r", device="cpu")
    assert opened.kept.item_ids[[0, -1]].tolist() == NEW
    ours, presence = opened.features.gather(torch.arange(42))
    theirs, _ = open_run(trained, device="cpu").features.gather(torch.arange(40))
    recorded = statistics(trained)
    for m, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        is_here = presence[1:-1, m]
        assert one[1:-1][is_here].equal(other[is_here])
        modality = opened.features.modalities[m].value
        store = open_store(next((grown / "c" / "small" / modality).iterdir()))
        new = torch.from_numpy(store.read(np.searchsorted(store.item_ids, NEW))).float()
        expected = (new - recorded[f"{modality}.mean"]) / recorded[f"{modality}.deviation"][:, None]
        assert one[[0, -1]].equal(expected.half())


def test_a_cache_elsewhere_is_read_by_the_statistics_of_the_run(place, trained, monkeypatch):
    monkeypatch.setattr("crossan.train.features.stored.StoredStates.moments", None)
    shutil.copytree(place / "c", place / "elsewhere")
    printed = run(evaluate, trained, "--cache", place / "elsewhere", "--device", "cpu", "--json")
    result = json.loads((trained / "result.json").read_text())
    assert json.loads(printed.stdout.splitlines()[-1])["test"] == result["test"]


@pytest.mark.parametrize("model", ["frozen", "crossan"])
def test_every_use_of_a_run_needs_its_statistics(place, model):
    out = f"lost-{model}"
    run_train(place, "--model", model, out=out)
    before = (place / out / FILE).read_bytes()
    whole = outcome(place / out)
    assert run(evaluate, place / out, "--device", "cpu").exit_code == 0
    (place / out / FILE).unlink()
    for command in ([evaluate, place / out], [recommend, place / out, "--user", "u000"]):
        with pytest.raises(StoreIntegrityError, match=f"expected the statistics .* {FILE}") as lost:
            run(*command)
        assert lost.value.exit_code == 4
    assert lost.value.remedy.endswith(f"--out {place / out} --resume")
    # The remedy as it is said.
    run_train(place, "--model", model, "--resume", out=out)
    assert (place / out / FILE).read_bytes() == before
    assert outcome(place / out) == whole


def test_damaged_statistics_are_refused_by_name(place):
    run_train(place, out="damaged")
    path = place / "damaged" / FILE
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    for use in (lambda: run_train(place, "--resume", out="damaged"), lambda: open_run(path.parent)):
        with pytest.raises(StoreIntegrityError, match=f"{FILE}: its bytes are not") as refused:
            use()
        assert (refused.value.exit_code, "Move it aside" in refused.value.remedy) == (4, True)


def test_weights_are_carried_over_with_their_statistics(grown, trained):
    run_train(grown, "--init", trained, out="warm")
    run_train(grown, out="cold")
    assert (grown / "warm" / FILE).read_bytes() == (trained / FILE).read_bytes()
    assert (grown / "cold" / FILE).read_bytes() != (trained / FILE).read_bytes()


def test_weights_learned_without_statistics_are_not_carried_over(place, trained):
    plain = (*SETTINGS[:-1], "features.standardise=none")
    with pytest.raises(IncompatibleError, match="features.standardise: layer in that run, none"):
        train_in(place, plain, "--init", trained, out="mixed")


def test_a_model_without_hidden_states_has_nothing_to_standardise(place):
    with pytest.raises(UsageError, match="expected no features.standardise with model.kind=sasrec"):
        run_train(place, "--model", "sasrec", out="ids")


def test_a_flat_layer_is_named_and_harms_nothing(tmp_path):
    write_rows(tmp_path / "d", make_sequences())
    write_store(tmp_path / "c", Modality.TEXT, flat=[0])
    result = run_train(tmp_path, "--set", "model.top_k=1")
    assert (
        "layers that are the same for every item, centred and not scaled: text 0" in result.stderr
    )
    assert statistics(tmp_path / "r")["text.deviation"][0] == 1.0
    assert np.isfinite(json.loads(result.stdout.splitlines()[-1])["valid"]["hr@10"])


def test_items_that_are_dropped_do_not_count(tmp_path):
    write_rows(tmp_path / "d", make_sequences())
    write_store(tmp_path / "c", Modality.TEXT, items=ITEMS[:35])
    run_train(tmp_path, "--drop-items", "--set", "model.top_k=1")
    kept = open_run(tmp_path / "r", device="cpu").kept.item_ids
    store = open_store(next((tmp_path / "c" / "small" / "text").iterdir()))
    states = store.read(np.flatnonzero(np.isin(store.item_ids, kept)))
    mean = states.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(statistics(tmp_path / "r")["text.mean"], mean, rtol=1e-6)


def test_a_run_killed_before_it_wrote_them_makes_them_when_it_goes_on(place, trained, monkeypatch):
    def killed(folder, statistics):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("crossan.train.runs.planning.write_statistics", killed)
        with pytest.raises(Died):
            run_train(place, out="early")
    assert RunFolder(place / "early").holds_run()
    run_train(place, "--resume", out="early")
    assert outcome(place / "early") == outcome(trained)
