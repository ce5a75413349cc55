"""Settings, stores and triggers as a command line gives them."""

import pytest

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.train.service.client.nights import night_spec
from crossan.train.service.client.options import RunLimits, Training
from crossan.train.service.client.specs import settings_of, store_choice
from crossan.train.service.client.triggers import _kind_of
from crossan.train.service.specs import NightSpec, RunSpec, TriggerSpec

LIMITS = RunLimits(1, 4.0, 0, 12.0, 15.0)


def training(**more):
    values = {
        "dataset": "shop",
        "recipe": None,
        "config": None,
        "assignments": None,
        "stores": None,
    }
    values |= {"seed": 0, "init": None, "refit": None, "label": "", "limits": LIMITS}
    return Training(**values | more)


def test_what_was_not_given_has_the_default_of_the_spec():
    assert RunSpec.model_validate(training().spec()) == RunSpec(dataset="shop")
    night = night_spec(training(), None, no_update=False, gate={}, alias="production")
    assert NightSpec.model_validate(night) == NightSpec(dataset="shop")


def test_later_settings_count_more(tmp_path):
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('batch_size = 32\n[model]\nkind = "sasrec"\nwidth = 16\n')
    second.write_text("model.width = 32\n")
    settings = settings_of(
        [first, second], ["optimiser.lr=0.01", "batch_size=64", "model.kind=frozen"]
    )
    assert settings == {
        "batch_size": 64, "model.kind": "frozen", "model.width": 32, "optimiser.lr": 0.01,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["model.kind", "=3", " = "])
def test_an_assignment_without_a_name_or_a_value_is_refused(text):
    with pytest.raises(ConfigError, match="expected key=value"):
        settings_of([], [text])


def test_files_that_are_none_are_refused(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("a =")
    for path, said in ((broken, "not valid TOML"), (tmp_path / "none", "no such file")):
        with pytest.raises(ConfigError, match=said):
            settings_of([path], [])


def test_stores():
    assert store_choice("text=0123456789ab") == {"modality": "text", "fingerprint": "0123456789ab"}
    assert store_choice("text=0123456789ab@12")["version"] == 12
    for text in (
        "text",
        "text=xyz",
        "text=0123456789ab@0",
        "=0123456789ab",
        "text=0123456789ab@1@2",
    ):
        with pytest.raises(UsageError, match="expected a modality"):
            store_choice(text)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (("30 2 * * *", None, None, None), {"kind": "cron", "timezone": "UTC"}),
        (
            ("30 2 * * *", "Europe/Berlin", None, None),
            {"kind": "cron", "timezone": "Europe/Berlin"},
        ),
        ((None, None, "text", None), {"kind": "store", "modality": "text"}),
        ((None, None, "any", None), {"kind": "store", "modality": None}),
        ((None, None, None, 500), {"kind": "log", "grown_by": 500}),
    ],
)
def test_the_kind_of_a_trigger_is_that_of_the_option_given(given, kind):
    spec = TriggerSpec.model_validate(
        {"name": "n", "night": {"dataset": "shop"}, **_kind_of(*given)}
    )
    assert {name: getattr(spec, name) for name in kind} == kind


@pytest.mark.parametrize(
    "given", [(None, None, None, None), ("* * * * *", None, None, 3), (None, "UTC", "text", None)]
)
def test_a_trigger_without_one_kind_is_refused(given):
    with pytest.raises(UsageError, match="expected"):
        _kind_of(*given)


def test_a_night_of_a_trigger():
    night = night_spec(
        training(label="x"),
        "text,image",
        no_update=True,
        gate={"margin": 0.01, "cold_margin": None},
        alias="canary",
    )
    spec = NightSpec.model_validate(night)
    assert [one.value for one in spec.extract] == ["text", "image"]
    assert (spec.update, spec.gate.margin, spec.alias, spec.label) == (False, 0.01, "canary", "x")
    with pytest.raises(UsageError, match="--extract smell"):
        night_spec(training(), "smell", no_update=True, gate={}, alias="a")
