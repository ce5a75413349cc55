"""``crossan analyse`` of runs of every kind: what it finds, prints and writes, and what the whole matrix gives."""

import json
import shutil

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import open_store
from crossan.train.cli import analyse
from crossan.train.models.table import model_kinds
from crossan.train.record.analysis import read_analysis
from crossan.train.runs import analysing, tower_pass
from crossan.train.runs.opening import open_run
from crossan.train.settings.kinds import _BUILT_IN as OURS
from support.commands import QUICK, attempt, run, train_in
from support.fabricated import make_sequences, write_rows, write_store

SETTINGS = (*QUICK, "max_epochs=1")
PARTS = ("mutual_information", "gates", "experts", "layers", "efficiency")


def analysed(path, *more):
    """Analyse a run; return what it prints, which is what it writes."""
    printed = json.loads(run(analyse, path, "--device", "cpu", "--json", *more).stdout)
    assert read_analysis(path) == printed
    return printed


def near(row, relative):
    return {
        name: value if isinstance(value, str) else pytest.approx(value, rel=relative)
        for name, value in row.items()
    }


def plain_information(one, other):
    """The slow twin: canonical correlations from orthonormal bases of both outputs."""
    bases = []
    for outputs in (one, other):
        left, lengths, _ = np.linalg.svd(outputs - outputs.mean(axis=0), full_matrices=False)
        bases.append(left[:, lengths > 1e-5 * lengths[0]])
    correlations = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    return -0.5 * np.log(1 - correlations**2).sum()


@pytest.fixture(scope="module", autouse=True)
def trained(place):
    train_in(place, SETTINGS)
    return place / "r"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in model_kinds() if not OURS[kind].reads_media and not OURS[kind].is_of_runs],
)
def test_every_kind_is_analysed_or_says_what_it_lacks(place, kind):
    """Those that train backbones: `tests/integration/test_fine_tuning.py`."""
    out = f"kind-{kind}"
    train_in(place, SETTINGS, "--model", kind, out=out)
    found = analysed(place / out)
    assert found["model"] == kind
    for part in PARTS:
        assert (found[part] is None) == (part in found["lacking"])
    assert found["efficiency"]["rows"][0]["tpme"] is None
    assert ("inter_gates" in found) == kind.startswith("iisan")


def test_layers_are_those_that_the_stores_hold(place, trained):
    train_in(place, (*SETTINGS, "features.standardise=none"), out="stored")
    rows = analysed(place / "stored")["layers"]
    assert [(row["modality"], row["layer"]) for row in rows] == [
        ("text", 0), ("text", 1), ("image", 0), ("image", 1),
    ]  # fmt: skip
    for modality in ("text", "image"):
        store = open_store(next((place / "c" / "small" / modality).iterdir()))
        states = store.read(np.flatnonzero(store.presence)).astype(np.float64)
        variance, mean_square = states.var(axis=0).mean(axis=1), (states**2).mean(axis=(0, 2))
        ours = [row for row in rows if row["modality"] == modality]
        assert [row["items"] for row in ours] == [len(states)] * 2
        assert [row["variance"] for row in ours] == pytest.approx(variance.tolist())
        assert [row["share"] for row in ours] == pytest.approx((variance / mean_square).tolist())


def test_layers_of_a_standardised_run_are_as_stored(place, trained):
    train_in(place, (*SETTINGS, "features.standardise=none"), out="as-stored")
    for ours, theirs in zip(
        analysed(trained)["layers"], analysed(place / "as-stored")["layers"], strict=True
    ):
        assert ours == near(theirs, 1e-3)


def test_experts_and_information_are_those_of_the_whole_catalogue(trained, monkeypatch):
    found = analysed(trained)
    opened = open_run(trained, device="cpu")
    opened.model.eval()
    hidden, presence = opened.features.gather(torch.arange(40))
    with torch.inference_mode():
        encoder = opened.model.item_encoder
        outputs = encoder.towers(hidden, presence)
        chosen, weights = encoder.fusion.route(outputs, presence)
    every = found["experts"]["slices"]["all"]["all"]
    assert every["items"] == 40
    for m, name in enumerate(("text", "image")):
        of_modality = torch.where(chosen == m, weights, 0.0).sum(dim=1)
        assert every["modalities"][name]["weight"] == pytest.approx(float(of_modality.mean()))
        assert every["modalities"][name]["share"] == float((of_modality > 0).double().mean())
    assert found["experts"]["slices"]["lacking"]["image"]["items"] == 2
    both = outputs[presence.all(dim=1)].double().numpy()
    pair = found["mutual_information"]["pairs"][0]
    assert pair["items"] == len(both) == 38
    plain = plain_information(*both.swapaxes(0, 1))
    assert pair["nats"] + pair["bias"] == pytest.approx(plain, abs=1e-3)
    # Cut into blocks that divide nothing evenly, the figures are the same.
    monkeypatch.setattr(tower_pass, "ITEMS_PER_BLOCK", 7)
    monkeypatch.setattr(analysing, "ITEMS_PER_BLOCK", 40)
    again = analysed(trained)
    pair, before = (one["mutual_information"]["pairs"][0] for one in (again, found))
    assert pair["nats"] == pytest.approx(before["nats"], abs=1e-3)
    assert again["layers"] == [near(row, 1e-6) for row in found["layers"]]


def test_slices_of_items_part_the_catalogue(trained):
    slices = analysed(trained)["experts"]["slices"]
    assert set(slices) == {"all", "training", "popularity_decile", "lacking"}
    assert list(slices["popularity_decile"]) == [str(decile) for decile in range(1, 11)]
    for parts in slices.values():
        assert sum(part["items"] for part in parts.values()) == 40


def test_gates_are_the_model_s(trained):
    gates = analysed(trained)["gates"]
    opened = open_run(trained, device="cpu")
    weights = opened.model.item_encoder.towers.gate_weights()
    assert len(gates) == 4
    for row in gates:
        m = ["text", "image"].index(row["modality"])
        assert list(row["weights"].values()) == pytest.approx(weights[m, row["layer"]].tolist())
        assert sum(row["deviation"].values()) == pytest.approx(0, abs=1e-6)


def test_efficiency_is_relative_to_the_runs_beside(place, trained):
    train_in(place, SETTINGS, "--model", "frozen", out="other")
    rows = analysed(trained, "--beside", place / "other")["efficiency"]["rows"]
    assert [row["model"] for row in rows] == ["crossan", "frozen"]
    result = json.loads((trained / "result.json").read_text())
    for name in ("seconds_per_epoch", "trainable_parameters", "peak_memory_bytes"):
        assert rows[0][name] == result[name]
    # Of two rows one has the least and one the most of everything.
    assert sum(row["tpme"] for row in rows) in (pytest.approx(1), pytest.approx(0.55))


def test_a_run_beside_it_must_be_finished(place, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "r")
    (tmp_path / "r" / "result.json").unlink()
    with pytest.raises(UsageError, match="--beside .*: expected a finished run") as refused:
        run(analyse, trained, "--device", "cpu", "--beside", tmp_path / "r")
    assert refused.value.remedy.endswith("--resume")


def test_tables_are_printed_for_people(trained):
    printed = run(analyse, trained, "--device", "cpu").stdout
    for words in ("text and image", "gate of", "popularity decile", "effective rank", "TPME"):
        assert words in printed
    assert "Traceback" not in printed


def test_one_modality_has_no_pair_and_a_flat_layer_is_named(tmp_path):
    write_rows(tmp_path / "d", make_sequences())
    write_store(tmp_path / "c", Modality.TEXT, flat=[0])
    train_in(tmp_path, (*SETTINGS, "model.top_k=1"))
    found = analysed(tmp_path / "r")
    assert found["mutual_information"] is None
    assert "one modality" in found["lacking"]["mutual_information"]
    assert [row["is_flat"] for row in found["layers"]] == [True, False]
    assert found["layers"][0]["effective_rank"] == 0
    assert "the same for all items" in run(analyse, tmp_path / "r", "--device", "cpu").stdout


def test_training_on_removes_an_analysis_of_other_weights(place):
    train_in(place, SETTINGS, out="on")
    analysed(place / "on")
    train_in(place, (*QUICK, "max_epochs=2"), "--resume", out="on")
    assert read_analysis(place / "on") is None


def test_a_damaged_analysis_is_refused(trained, tmp_path):
    (tmp_path / "analysis.json").write_text('{"run": 3}')
    with pytest.raises(StoreIntegrityError, match="analysis.json"):
        read_analysis(tmp_path)


def test_a_run_that_is_not_there_is_one_line(tmp_path):
    result = attempt(analyse, tmp_path / "nowhere")
    assert isinstance(result.exception, UsageError)
