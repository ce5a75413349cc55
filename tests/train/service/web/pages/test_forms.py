"""What forms send, and the specs that they make."""

from urllib.parse import urlencode

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.specs import GateSpec, NightSpec, RunSpec
from crossan.train.service.web.pages import forms

RUN = {
    "dataset": "shop", "recipe": "", "settings": 'optimiser.lr = 0.01\nmodel.kind = "sasrec"', "seed": "3", "init": "none", "refit": "all",
    "cpus": "2", "memory_gib": "1.5", "gpus": "0", "hours": "2", "silent_minutes": "5", "label": " five <b> ",
}  # fmt: skip


def sent(**changes):
    return forms.parsed_form(urlencode({**RUN, **changes}, doseq=True).encode())


def test_a_run():
    spec = forms.run_spec(sent())
    assert spec == RunSpec(
        dataset="shop",
        settings={"optimiser": {"lr": 0.01}, "model": {"kind": "sasrec"}},
        seed=3,
        refit="all",
        limits={"cpus": 2, "memory_gib": 1.5, "hours": 2, "silent_minutes": 5},
        label="five <b>",
    )


def test_a_fresh_form_asks_for_what_a_spec_has_by_default():
    values = forms.run_values()
    fields = {name: [value] for name, value in {**values, "dataset": "shop"}.items()}
    assert forms.run_spec(fields) == RunSpec(dataset="shop")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cpus": "two"}, "cpus: expected a whole number, found two"),
        ({"cpus": ""}, "cpus: expected a whole number, found nothing"),
        ({"cpus": "0"}, "limits.cpus: expected 1 or more"),
        ({"memory_gib": "nan"}, "limits.memory_gib: expected"),
        ({"hours": "1e999"}, "limits.hours: expected"),
        ({"seed": "9" * 5000}, "seed: expected a whole number"),
        ({"dataset": "../etc"}, "dataset: expected a text that matches"),
        ({"settings": "lr ="}, "settings: expected lines as in a config.toml"),
        ({"settings": "a = " + "[" * 5000}, "settings: expected lines as in a config.toml"),
        ({"init": "shell"}, "init: expected 'none' or 'production'"),
        ({"label": "w" * 201}, "label: expected at most 200 characters"),
    ],
)
def test_a_wrong_field_is_named(changes, said):
    with pytest.raises(ConfigError) as raised:
        forms.run_spec(sent(**changes))
    assert raised.value.message.startswith(said)


def test_a_form_that_is_shown_again_holds_what_was_sent():
    values = forms.run_values(sent(cpus="many", label="<b>"))
    assert (values["cpus"], values["label"], values["seed"]) == ("many", "<b>", "3")
    night = forms.trigger_values(sent(name="x y", extract=["text", "audio"], update="yes"))
    assert (night["name"], night["extract"], night["update"]) == ("x y", ("text", "audio"), True)
    assert forms.night_values(sent())["update"] is False
    assert forms.night_values()["update"] is True


def test_stores_are_chosen_by_their_modality():
    chosen = {"store-text": "0d" * 32, "version-text": "3", "store-audio": "1e" * 32}
    stores = forms.run_spec(sent(**chosen)).stores
    assert [(one.modality.value, one.fingerprint, one.version) for one in stores] == [
        ("text", "0d" * 32, 3),
        ("audio", "1e" * 32, None),
    ]
    assert forms.night_spec(sent(**chosen)).stores == stores
    assert forms.run_values(sent(**chosen))["version-text"] == "3"
    with pytest.raises(ConfigError, match="version-text: expected no version of a store that is"):
        forms.run_spec(sent(**{"version-text": "3"}))
    with pytest.raises(ConfigError, match="version-text: expected a whole number, found new"):
        forms.run_spec(sent(**chosen | {"version-text": "new"}))
    with pytest.raises(ConfigError, match="stores"):
        forms.run_spec(sent(**{"store-text": "../../etc"}))


def test_a_night():
    night = forms.night_spec(sent(update="yes", extract=["text"], margin="0.01", cold_margin="0.2"))
    assert (night.update, [one.value for one in night.extract]) == (True, ["text"])
    assert (night.gate.margin, night.gate.cold_margin) == (0.01, 0.2)
    assert forms.night_spec(sent(confidence="0.9")).gate == GateSpec(confidence=0.9)
    assert forms.night_spec(sent(alias="trial")).alias == "trial"
    for wrong in ({"confidence": "0.4"}, {"confidence": "high"}, {"alias": "../x"}, {"alias": ""}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            forms.night_spec(sent(**wrong))
    fields = {name: [str(value)] for name, value in forms.night_values().items() if value != ()}
    assert forms.night_spec(fields | {"dataset": ["shop"]}) == NightSpec(dataset="shop")


def test_a_history_is_one_item_a_line():
    wish = forms.wish(" i 1 \r\n\n i2\n", (5, 2), "none")
    assert wish.request() == {
        "history": ["i 1", "i2"], "top": 5, "new": 2, "mask_history": "none",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="history"):
        forms.wish("\n".join(map(str, range(1001))), (5, 0), "all")


TRIGGER = {
    "name": "nightly",
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "grown_by": "500",
    "modality": "text",
    "margin": "0.01",
}


def test_a_trigger_reads_the_fields_of_its_kind_alone():
    cron = forms.trigger_spec(sent(**TRIGGER, kind="cron", update="yes", extract=["text"]))
    assert (cron.cron, cron.timezone, cron.grown_by, cron.modality) == (
        "30 2 * * *",
        "Europe/Berlin",
        None,
        None,
    )
    assert cron.night.update
    assert [one.value for one in cron.night.extract] == ["text"]
    assert cron.night.gate.margin == 0.01
    log = forms.trigger_spec(sent(**TRIGGER, kind="log"))
    assert (log.cron, log.grown_by, log.night.update) == (None, 500, False)
    store = forms.trigger_spec(sent(**TRIGGER, kind="store"))
    assert (store.cron, store.modality.value) == (None, "text")
    assert forms.trigger_spec(sent(**{**TRIGGER, "modality": ""}, kind="store")).modality is None
    with pytest.raises(ConfigError, match="expected cron with kind=cron"):
        forms.trigger_spec(sent(**{**TRIGGER, "cron": ""}, kind="cron"))
    with pytest.raises(ConfigError, match="kind: expected"):
        forms.trigger_spec(sent(**TRIGGER, kind="always"))


@pytest.mark.parametrize(
    "body", [b"\xff=1", b"a=%ff", b"&".join([b"a=1"] * 500)], ids=["bytes", "escape", "many"]
)
def test_what_is_no_form_is_refused(body):
    with pytest.raises(ConfigError, match="expected a form"):
        forms.parsed_form(body)
