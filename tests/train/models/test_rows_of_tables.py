"""INDSAN, IISAN, IISAN-E and the fusions as whole models: Table 4's counts, slow twins, refusals."""

import json
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config import load_settings
from crossan.train.objectives.step import loss_by_position, loss_of_batch
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.settings import (
    CrossanSettings,
    FrozenSettings,
    IisanESettings,
    IisanSettings,
    IndsanSettings,
    RunSettings,
    gate_temperature,
)
from crossan.train.settings.content import FUSIONS
from support.commands import train_in
from support.distributions import Page, lay_out, look_anew
from support.fabricated import write_small
from support.small_models import (
    ITEM_COUNT,
    LAYER_COUNT,
    LENGTH,
    batches,
    build,
    loss_and_gradients,
    make_features,
)

ENCODER = 100_224


def count(model_settings, modalities):
    with torch.device("meta"):
        return trainable_parameter_count(build(model_settings, [768] * modalities, 7, 10))


def tower(h):
    """Seven adapters and the two maps above them."""
    return 7 * (2 * 768 * h + h + 768) + 768**2 + 768 + 768 * 64 + 64


@pytest.mark.parametrize(("bottleneck", "expected"), [(512, 30_889_784), (1024, 58_432_824)])
def test_iisan_e_has_the_counts_of_table_4(bottleneck, expected):
    """Five towers, Linear(5 * 64, 64), seven gates for each of four modalities, twice."""
    by_formula = 5 * tower(bottleneck) + 5 * 64 * 64 + 64 + 2 * 7 * 4 + ENCODER
    assert by_formula == expected
    assert count(IisanESettings(bottleneck_dim=bottleneck), 4) == expected


@pytest.mark.parametrize("bottleneck", [64, 512])
def test_iisan_has_one_gate_a_layer_in_each_tower(bottleneck):
    by_formula = 3 * tower(bottleneck) + 192 * 64 + 64 + 21 + ENCODER
    assert count(IisanSettings(bottleneck_dim=bottleneck), 2) == by_formula
    # for two modalities the extension has one number more a layer
    assert count(IisanESettings(bottleneck_dim=bottleneck), 2) == by_formula + 7


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_indsan_lacks_the_cross_modal_weights_alone(modalities):
    shape = {"bottleneck_dim": 32, "top_k": min(2, modalities)}
    crossan, indsan = (
        count(kind(**shape), modalities) for kind in (CrossanSettings, IndsanSettings)
    )
    assert crossan - indsan == 7 * modalities * (modalities - 1)


def test_the_fusions_have_the_counts_of_their_layers():
    counts = {name: count(CrossanSettings(fusion=name, width=64), 4) for name in FUSIONS}
    without = counts["static-gate"] - 4
    assert counts["momef"] - without == 4 * (64 * 64 + 64) + 4 * 64 * 4 + 4
    assert counts["dynamic-gate"] - without == 4 * 64 * 4 + 4
    assert counts["concat"] - without == 4 * 64 * 64 + 64


SHAPE = {"width": 4, "bottleneck_dim": 3, "dropout": 0.0}
KINDS = {
    "indsan": partial(IndsanSettings, **SHAPE, gate_temperature=0.1),
    "iisan": partial(IisanSettings, **SHAPE),
    "iisan-e": partial(IisanESettings, **SHAPE, activation="gelu"),
    **{
        name: partial(CrossanSettings, **SHAPE, fusion=name, activation="relu")
        for name in FUSIONS[1:]
    },
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(batches(), st.integers(0, 100), st.booleans())
def test_the_loss_and_every_gradient_equal_those_of_the_slow_twin(kind, sequences, seed, has_ids):
    """What ``--reference`` trains by: plain modules, every position for itself; rows may be absent."""
    generator = torch.Generator().manual_seed(seed)
    dims = [3, 2] if kind == "iisan" else [3, 2, 3]
    is_trained = torch.ones(ITEM_COUNT, dtype=torch.bool)
    model = build(KINDS[kind](id_embedding=has_ids), dims, LAYER_COUNT, LENGTH, is_trained)
    for parameter in model.double().parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    features = make_features(dims, generator)
    log_p = torch.linspace(-3, -1, ITEM_COUNT).double()
    batch = features, sequences, log_p
    fast, slow = (
        loss_and_gradients(loss, model, *batch) for loss in (loss_of_batch, loss_by_position)
    )
    for one, other in zip(fast, slow, strict=True):
        assert one.isfinite().all()
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def test_iisan_begins_as_its_code_does():
    """Gates at one half, encoder xavier normal without a bias, no dropout inside its feed-forward nets."""
    torch.manual_seed(0)
    model = build(IisanSettings(bottleneck_dim=8, width=64), [32, 32], 3, 50)
    assert torch.equal(model.item_encoder.towers.gate_weights()[..., -1], torch.full((2, 3), 0.5))
    assert torch.equal(model.item_encoder.towers.inter_weights(), torch.full((3, 2), 0.5))
    encoder = model.sequence_encoder
    for weight in (
        encoder.positions,
        encoder.blocks[0].widen.weight,
        encoder.blocks[1].query.weight,
    ):
        assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.1)
    assert not encoder.blocks[0].widen.bias.any()
    assert encoder.blocks[0].inner_dropout.rate == 0
    assert (encoder.blocks[0].dropout.rate, encoder.blocks[0].rate) == (0.1, 0.1)


def test_the_temperature_reaches_the_gates_and_is_read_of_settings():
    for model_settings, expected in (
        (CrossanSettings(gate_temperature=0.25, **SHAPE), 0.25),
        (IndsanSettings(**SHAPE), 1.0),
        (IisanSettings(**SHAPE), 0.1),
    ):
        gates = build(model_settings, [3, 3], 2, LENGTH).item_encoder.towers.gates
        assert [one.temperature for one in gates] == [expected] * 2
        assert gate_temperature(model_settings) == expected
    assert gate_temperature(FrozenSettings()) == 1.0


def test_the_settings_of_a_run_of_before_mean_what_they_meant():
    crossan = CrossanSettings.model_validate({"kind": "crossan", "fusion": "momef"})
    assert (crossan.activation, crossan.gate_temperature) == ("gelu", 1.0)


@pytest.mark.parametrize(
    ("kind", "assignment", "message"),
    [
        ("iisan", "model.fusion=momef", "'model.fusion' is a setting of crossan, .* not of iisan"),
        ("iisan-e", "model.top_k=2", "'model.top_k' is a setting of crossan, .* not of iisan-e"),
        ("iisan", "model.combine=sum", "'model.combine' is a setting of"),
        ("indsan", "model.gate_temperature=0", "model.gate_temperature: .*greater than 0"),
        ("crossan", "model.activation=tanh", "'gelu' or 'relu'"),
        ("crossan", "model.fusion=dynamic", "did you mean 'dynamic-gate'"),
    ],
)  # fmt: skip
def test_what_a_kind_does_not_read_is_refused(kind, assignment, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(
            RunSettings,
            assignments=["data.dataset=d", f"model.kind={kind}", assignment],
            environment={},
        )


@pytest.fixture
def place(tmp_path):
    return write_small(tmp_path)


QUICK = ("model.width=8", "max_epochs=1", "batch_size=32")


def test_iisan_wants_two_modalities_and_names_the_one_that_takes_any(place):
    with pytest.raises(
        UsageError, match=r"model.kind=iisan: expected two modalities, .*got 1; iisan-e takes any"
    ) as refused:
        train_in(place, QUICK, "--model", "iisan", "--modality", "text")
    assert refused.value.remedy == "--model iisan-e"
    assert not (place / "r").exists()
    result = train_in(place, QUICK, "--model", "iisan-e", "--modality", "text")
    assert json.loads(result.stdout.splitlines()[-1])["model"] == "iisan-e"


def test_a_fusion_that_reads_no_top_k_takes_a_single_modality(place):
    settings_given = (*QUICK, "model.fusion=static-gate")
    result = train_in(place, settings_given, "--model", "frozen", "--modality", "text")
    assert json.loads(result.stdout.splitlines()[-1])["model"] == "frozen"


def test_a_name_of_our_fusions_cannot_be_taken(tmp_path, monkeypatch, place):
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    page = Page("bring-your-own-model.md")
    points = {"crossan.fusions": {"concat": "shop_last_layer:make_mean"}}
    lay_out(tmp_path / "site", "shop-models", page.files, points)
    look_anew()
    try:
        with pytest.raises(
            ConfigError,
            match="concat = shop_last_layer:make_mean of shop-models is also brought by crossan",
        ):
            train_in(place, (*QUICK, "model.fusion=concat"), "--model", "frozen")
    finally:
        monkeypatch.undo()
        look_anew()
