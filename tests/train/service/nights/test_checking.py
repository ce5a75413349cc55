"""A spec is checked at the door, with the messages that crossan-train gives."""

import sys

import pytest

from crossan.cache_schema.errors import ConfigError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.service.nights.checking import SpecError, check_spec
from crossan.train.service.nights.open_settings import open_settings
from crossan.train.service.specs import NightSpec, RunSpec
from crossan.train.settings import RunSettings
from support.nightly import identity_of, make_settings, write_description, write_store_versions
from support.started import finish, start


@pytest.fixture
def settings(tmp_path):
    write_description(tmp_path / "roots/shop")
    write_store_versions(tmp_path / "cache", 2)
    return make_settings(tmp_path, backbones={"text": "tiny"})


def run_of(**fields):
    return RunSpec.model_validate({"dataset": "shop", **fields})


def test_the_checked_settings_are_those_of_the_run(settings, tmp_path):
    spec = run_of(
        settings={"model.kind": "sasrec", "model": {"width": 32}, "max_epochs": 3}, seed=7
    )
    checked = check_spec(spec, settings)
    assert checked["model"]["kind"] == "sasrec"
    assert (checked["model"]["width"], checked["max_epochs"], checked["seed"]) == (32, 3, 7)
    assert checked["data"]["dataset"] == str((tmp_path / "roots/shop").resolve())
    assert checked["data"]["cache"] == settings.cache
    assert spec.settings == {"model.kind": "sasrec", "model": {"width": 32}, "max_epochs": 3}


def test_a_recipe_stands_below_the_settings(settings):
    checked = check_spec(run_of(recipe="table3/50k-TIVA", settings={"model.top_k": 1}), settings)
    assert checked["data"]["modality"] == ["text", "image", "video", "audio"]
    assert checked["model"]["top_k"] == 1


def test_a_recipe_that_needs_the_runs_of_others_is_refused(settings):
    with pytest.raises(UsageError, match="quality/ensemble: expected a recipe of one training"):
        check_spec(run_of(recipe="quality/ensemble"), settings)


@pytest.mark.parametrize("name", sorted(open_settings(RunSettings)))
@pytest.mark.parametrize("is_dotted", [True, False])
def test_no_setting_that_may_hold_a_path_is_taken(settings, name, is_dotted):
    *groups, last = name.split(".")
    nested = {groups[0]: {last: "/etc"}} if groups else {last: "/etc"}
    with pytest.raises(SpecError, match=f"{name}: expected no such setting in a spec") as caught:
        check_spec(run_of(settings={name: "/etc"} if is_dotted else nested), settings)
    assert caught.value.field == f"settings.{name}"


def test_the_seed_is_said_once(settings):
    with pytest.raises(SpecError, match="seed: expected no such setting") as caught:
        check_spec(run_of(settings={"seed": 4}), settings)
    assert caught.value.remedy == "Give 'seed' of the spec instead"


@pytest.mark.parametrize(
    "values",
    [
        {"objective.kind": "os:system"},
        {"model": {"kind": "frozen", "fusion": "package.module:Name"}},
        {"model.kind": "subprocess:run"},
        {"model.content": "os:system"},
        {"mask_history": "a.b:c.d"},
    ],
)
def test_no_name_of_code_is_taken(settings, values):
    with pytest.raises(SpecError, match="found the name of code, which no spec may give"):
        check_spec(run_of(settings=values), settings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"settings": {"model.botleneck_dim": 8}}, "settings: unknown setting.*'model.bottleneck"),
        ({"settings": {"model.kind": "sasrek"}}, "did you mean 'sasrec'"),
        ({"settings": {"max_epochs": 0}}, "settings: max_epochs: .*greater than or equal to 1"),
        ({"settings": {"max_epochs": "x" * 99}}, "max_epochs"),
        ({"settings": {"optimiser.cosine_floor": 0.5}}, "it needs optimiser.cosine_epochs"),
        ({"settings": {"a": {"b" * 300: 1}}}, "more than 200 characters"),
        ({"settings": {"model": 1, "model.kind": "x"}}, "model is a value and a group at once"),
        ({"settings": {"model.kind": "x", "model": 1}}, "model is a value and a group at once"),
        ({"settings": {"model.kind": "x", "model": {"kind": "y"}}}, "model.kind is given twice"),
        ({"settings": {"model": {"content": False, "id_embedding": False}}}, "got neither"),
        ({"recipe": "table3/50k-TIVB"}, "no such recipe; did you mean 'table3/50k-TIV'"),
        ({"dataset": "shp"}, "dataset 'shp'.*did you mean 'shop'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(settings, fields, message):
    with pytest.raises(UsageError, match=message):
        check_spec(run_of(**fields), settings)


def test_variables_of_the_server_change_no_spec(settings, monkeypatch):
    monkeypatch.setenv("CROSSAN_MAX_EPOCHS__X", "1")
    monkeypatch.setenv("CROSSAN_OPTIMISER__LR", "0.5")
    assert check_spec(run_of(), settings)["optimiser"]["lr"] == 1e-3


FINGERPRINT = identity_of().fingerprint


def test_stores_are_chosen_by_fingerprint_and_version(settings):
    choice = {"modality": "text", "fingerprint": FINGERPRINT[:12], "version": 1}
    check_spec(run_of(stores=[choice]), settings)
    with pytest.raises(StoreNotFoundError, match="expected version 3 .* found 2 as the newest"):
        check_spec(run_of(stores=[choice | {"version": 3}]), settings)
    with pytest.raises(StoreNotFoundError, match=f"found {FINGERPRINT[:12]}"):
        check_spec(run_of(stores=[choice | {"fingerprint": "0" * 12}]), settings)
    with pytest.raises(StoreNotFoundError, match="found none"):
        check_spec(run_of(stores=[choice | {"modality": "audio"}]), settings)
    with pytest.raises(SpecError, match="expected one of each modality, found several of text"):
        check_spec(run_of(stores=[choice, choice]), settings)
    with pytest.raises(ConfigError, match="kind=popularity, which reads no hidden states"):
        check_spec(run_of(stores=[choice], settings={"model.kind": "popularity"}), settings)


def test_a_night_extracts_what_the_operator_named_a_backbone_for(settings):
    def night(**fields):
        return NightSpec.model_validate({"dataset": "shop", **fields})

    check_spec(night(extract=["text"]), settings)
    with pytest.raises(UsageError, match="expected a backbone for image .* found none"):
        check_spec(night(extract=["image"]), settings)
    choice = {"modality": "text", "fingerprint": FINGERPRINT, "version": 1}
    check_spec(night(stores=[choice]), settings)
    with pytest.raises(SpecError, match="brings up to date and would then not read"):
        check_spec(night(stores=[choice], extract=[Modality.TEXT]), settings)


def test_a_check_loads_nothing_heavy(settings):
    code = (
        "import sys\n"
        "from crossan.train.service.nights.checking import check_spec\n"
        "from crossan.train.service.settings import ServiceSettings\n"
        "from crossan.train.service.specs import RunSpec\n"
        f"settings = ServiceSettings.model_validate({settings.model_dump(mode='json')!r})\n"
        "check_spec(RunSpec(dataset='shop', recipe='table3/50k-TIVA'), settings)\n"
        "heavy = {'torch', 'numpy', 'zarr', 'pyarrow', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    finish(start(sys.executable, "-c", code))
