"""Of every setting and every kind of model it is known whether a run of the kind reads it."""

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import load_settings, settings_in, to_toml
from crossan.train.recipes.catalogue import all_recipes
from crossan.train.recipes.sample import Sample, sample_base
from crossan.train.recipes.state import is_built
from crossan.train.recipes.writing import base_of, default_settings
from crossan.train.settings import ContentSettings, RunSettings
from crossan.train.settings.kinds import _BUILT_IN as OURS
from crossan.train.settings.unread import need_of, require_read, unread_settings

OF_TOWERS = {"crossan", "indsan", "iisan", "iisan-e", "frozen"}
GRAPHS = {"mmgcn", "grcn", "bm3", "freedom", "mgcn", "mhcr"}
OF_STORES = {*OF_TOWERS, *GRAPHS, "vbpr"}
TRIPLES = {*GRAPHS, "vbpr"}
BY_STEPS = {*OF_STORES, "fine-tuned", "sasrec"}
OF_RUNS = "hybrid-of-runs"
COUNTING = {"popularity", "bigram", "markov", "item-knn", "title-knn", "hybrid", OF_RUNS}
ALL = {*BY_STEPS, *COUNTING}

VALUES = {
    "batch_size": 7,
    "max_epochs": 7,
    "patience": 7,
    "select_by": "recall@20",
    "average_epochs": 3,
    "init": "r",
    "seed": 7,
    "refit": "all",
    "mask_history": "none",
    "reference": "true",
    "data.dataset": "other",
    "data.cache": "c",
    "data.modality": '["text"]',
    "data.store": '["s"]',
    "data.drop_items": "true",
    "data.max_items": 9,
    "data.min_items": 7,
    "data.split": "fixed",
    "data.split_seed": 7,
    "objective.kind": "catalogue",
    "objective.refresh_steps": 7,
    "objective.sample_size": 7,
    "objective.memory_size": 7,
    "objective.debias": "negatives",
    "objective.uniform_negatives": 7,
    "objective.temperature": 0.5,
    "objective.label_smoothing": 0.5,
    "optimiser.lr": 0.7,
    "optimiser.adapter_lr": 0.7,
    "optimiser.text_lr": 0.7,
    "optimiser.id_lr": 0.7,
    "optimiser.id_lr_start": 0.7,
    "optimiser.id_lr_epochs": 7,
    "optimiser.weight_decay": 0.7,
    "optimiser.lr_decay": 0.7,
    "optimiser.warmup_epochs": 0.7,
    "optimiser.cosine_epochs": 7,
    "optimiser.cosine_floor": 0.7,
    "optimiser.plateau_drops": 7,
    "optimiser.drop_factor": 0.7,
    "optimiser.drop_epochs": 7,
    "optimiser.drop_after": "[7]",
    "features.permute_seed": 7,
    "features.standardise": "layer",
    "features.storage": "int8",
    "checkpoint.every_seconds": 7,
    "checkpoint.every_steps": 7,
    "checkpoint.keep_epochs": 7,
}
"""Of every setting outside ``model`` a value that is nobody's default."""

OUTSIDE_STEPS = dict.fromkeys(COUNTING, "said")
NEVER = dict.fromkeys(BY_STEPS, "refused")
OUTCOMES = {
    **{
        name: OUTSIDE_STEPS
        for name in VALUES
        if name.partition(".")[0] in {"optimiser", "checkpoint", "batch_size", "max_epochs"}
    },
    "patience": OUTSIDE_STEPS,
    "select_by": dict.fromkeys(COUNTING - {OF_RUNS}, "said"),
    **{name: dict.fromkeys(COUNTING, "class") for name in ("average_epochs", "reference")},
    "init": dict.fromkeys(COUNTING | TRIPLES, "class"),
    **{
        name: dict.fromkeys(ALL - OF_STORES, "class")
        for name in ("data.store", "features.permute_seed", "features.standardise")
    },
    "data.modality": dict.fromkeys(ALL - OF_STORES - {"fine-tuned"}, "class"),
    "data.drop_items": dict.fromkeys(ALL - OF_STORES - {"fine-tuned"}, "said"),
    "data.split_seed": dict.fromkeys(ALL, "class"),
    "features.storage": dict.fromkeys(ALL - OF_STORES, "said"),
    "objective.kind": {**OUTSIDE_STEPS, **dict.fromkeys(TRIPLES, "class")},
    "objective.temperature": {**OUTSIDE_STEPS, **dict.fromkeys(TRIPLES, "class")},
    **{
        f"objective.{name}": {**OUTSIDE_STEPS, **dict.fromkeys(TRIPLES, "class")}
        for name in ("debias", "uniform_negatives", "label_smoothing")
    },
    **{
        f"objective.{name}": {**OUTSIDE_STEPS, **NEVER}
        for name in ("refresh_steps", "sample_size", "memory_size")
    },
    "optimiser.adapter_lr": dict.fromkeys(ALL - OF_TOWERS - {"fine-tuned"}, "said"),
    "optimiser.text_lr": dict.fromkeys(ALL - {"fine-tuned"}, "said"),
    "optimiser.id_lr": dict.fromkeys(ALL - {"sasrec", "vbpr"}, "said"),
    "optimiser.id_lr_start": dict.fromkeys(ALL - {"sasrec", "vbpr"}, "said"),
    "optimiser.id_lr_epochs": {
        **dict.fromkeys(ALL, "said"),
        **dict.fromkeys({"sasrec", "vbpr"}, "refused"),
    },
    **{f"optimiser.{name}": {**OUTSIDE_STEPS, **NEVER} for name in ("cosine_floor", "drop_factor")},
    "optimiser.drop_epochs": dict.fromkeys(ALL, "class"),
    "reference": {**dict.fromkeys(COUNTING, "class"), **dict.fromkeys(TRIPLES, "class")},
}
"""What comes of each, where all else is default, by kinds that do not read it: ``class`` for what a
settings class refuses, ``refused`` for what no run begins with, ``said`` for what is only said."""

OF_THE_MODEL = {
    "id_dropout": (0.5, dict.fromkeys(OF_TOWERS, "class")),
    "rank": (7, {"fine-tuned": "said"}),
    "alpha": (7, {"fine-tuned": "said"}),
    "published_lora": ("true", {"fine-tuned": "class"}),
    "video": ("v", {"fine-tuned": "said"}),
    "audio": ("a", {"fine-tuned": "said"}),
    "routing_rounds": (7, {"grcn": "class"}),
    "content_width": (7, {OF_RUNS: "refused"}),
}
"""The same for settings of the model, all others of which are read where all else is default."""

ENOUGH = [
    ("sasrec", "optimiser.cosine_floor=0.7", "optimiser.cosine_epochs=3"),
    ("sasrec", "optimiser.drop_factor=0.7", "optimiser.plateau_drops=1"),
    ("sasrec", "optimiser.drop_factor=0.7", "optimiser.drop_after=[2]"),
    ("sasrec", "optimiser.id_lr_epochs=7", "optimiser.id_lr_start=0.1"),
    ("frozen", "optimiser.id_lr_start=0.7", "model.id_embedding=true"),
    ("iisan", "optimiser.id_lr=0.7", "model.id_embedding=true"),
    ("frozen", "objective.refresh_steps=7", "objective.kind=catalogue"),
    ("frozen", "objective.sample_size=7", "objective.kind=catalogue"),
    ("sasrec", "objective.sample_size=7", "objective.kind=cross-batch"),
    ("sasrec", "objective.memory_size=7", "objective.kind=cross-batch"),
    ("sasrec", "objective.memory_size=7", "objective.kind=mine:loss"),
    ("fine-tuned", "model.rank=7", "model.tuning=lora"),
    ("fine-tuned", "model.video=v", 'data.modality=["video"]'),
]
NOT_ENOUGH = [
    ("sasrec", "objective.refresh_steps=7", "objective.kind=catalogue"),
    ("sasrec", "objective.sample_size=7", "objective.kind=catalogue"),
    ("frozen", "objective.memory_size=7", "objective.kind=catalogue"),
    ("frozen", "objective.refresh_steps=7", "objective.kind=cross-batch"),
    ("frozen", "model.top_k=1", "model.fusion=concat"),
    ("crossan", "model.combine=concat", "model.fusion=static-gate"),
    ("crossan", "model.top_k=1", "model.fusion=mine:Fusion"),
    ("hybrid", "model.shrinkage=7", "model.item_knn_weight=0"),
    ("fine-tuned", "model.bottleneck_dim=7", "model.tuning=full"),
    ("fine-tuned", "model.max_length=7", 'data.modality=["image"]'),
    ("fine-tuned", "optimiser.text_lr=7", 'data.modality=["image"]'),
]


def load(kind, *assignments):
    given = ["data.dataset=d", f"model.kind={kind}", *assignments]
    return load_settings(RunSettings, assignments=given, environment={})


def outcome(kind, name, value):
    """Return what comes of a value where all else is default."""
    try:
        run = load(kind, f"{name}={value}")
    except ConfigError:
        return "class"
    unread = {one.name: one for one in unread_settings(run)}
    assert (name in unread) == (need_of(run, name) is not None)
    if name not in unread:
        return "read"
    return "refused" if unread[name].is_refused else "said"


def test_every_setting_outside_the_model_is_in_the_table():
    names = {one.name for one in settings_in(RunSettings)}
    assert set(VALUES) == {name for name in names if not name.startswith("model.")}
    assert set(OURS) == ALL


@pytest.mark.parametrize("name", VALUES)
def test_of_every_kind_it_is_known_whether_it_reads_a_setting(name):
    expected = {kind: OUTCOMES.get(name, {}).get(kind, "read") for kind in sorted(ALL)}
    assert {kind: outcome(kind, name, VALUES[name]) for kind in sorted(ALL)} == expected


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_what_a_model_does_not_read_of_its_own_by_default(name):
    value, expected = OF_THE_MODEL[name]
    kinds = [kind for kind in expected if name in OURS[kind].model_fields]
    assert kinds == [*expected]
    assert {kind: outcome(kind, f"model.{name}", value) for kind in kinds} == expected


@pytest.mark.parametrize("kind", sorted(ALL))
def test_all_else_of_a_model_is_read_and_its_defaults_are_never_unread(kind):
    run = load(kind)
    assert unread_settings(run) == []
    of_model = [name for name in OURS[kind].model_fields if name != "kind"]
    unread = {name for name in of_model if need_of(run, f"model.{name}") is not None}
    known = {name for name, (_, of) in OF_THE_MODEL.items() if of.get(kind) in {"said", "refused"}}
    assert unread == known


@pytest.mark.parametrize(("kind", "setting", "other"), ENOUGH)
def test_what_a_setting_needs_makes_it_read(kind, setting, other):
    name = setting.partition("=")[0]
    assert need_of(load(kind), name) is not None
    assert unread_settings(load(kind, setting, other)) == []


@pytest.mark.parametrize(("kind", "setting", "other"), NOT_ENOUGH)
def test_what_is_another_settings_choice_is_unread(kind, setting, other):
    unread = unread_settings(load(kind, setting, other))
    assert [one.name for one in unread] == [setting.partition("=")[0]]


def test_all_that_is_refused_is_named_with_what_it_needs():
    run = load("frozen", "optimiser.cosine_floor=0.2", "objective.memory_size=9")
    with pytest.raises(ConfigError) as refused:
        require_read(run)
    assert refused.value.message.splitlines() == [
        "optimiser.cosine_floor=0.2 is not read: it needs optimiser.cosine_epochs",
        "  objective.memory_size=9 is not read: it needs objective.kind=cross-batch",
    ]
    assert refused.value.exit_code == 2
    assert "--allow-unread" in refused.value.remedy
    require_read(load("sasrec", "optimiser.adapter_lr=0.2", "optimiser.text_lr=0.2"))


def test_a_file_that_names_every_setting_has_nothing_unread(tmp_path):
    for kind in ALL:
        (tmp_path / "config.toml").write_text(to_toml(load(kind)))
        again = load_settings(RunSettings, files=[tmp_path / "config.toml"], environment={})
        assert unread_settings(again) == []


def test_what_a_model_of_another_package_reads_is_not_guessed():
    class Theirs(ContentSettings):
        """Another package's."""

    run = load("crossan", "optimiser.adapter_lr=0.7", "model.top_k=1", "optimiser.id_lr=0.7")
    shape = run.model.model_dump(include=set(ContentSettings.model_fields))
    theirs = run.model_copy(update={"model": Theirs(**{**shape, "fusion": "concat"})})
    assert unread_settings(theirs) == []


def test_a_recipe_sets_nothing_that_its_model_does_not_read(tmp_path):
    built = [recipe for recipe in all_recipes().values() if is_built(recipe)]
    assert len(built) > 50
    for recipe in built:
        assert unread_settings(default_settings(recipe)) == [], recipe.name
        bases = [base_of(recipe), sample_base(recipe, Sample(tmp_path))]
        small = load_settings(
            RunSettings, assignments=["data.dataset=d"], environment={}, bases=bases
        )
        assert unread_settings(small) == [], recipe.name
