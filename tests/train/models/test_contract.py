"""What every model of the table keeps, whatever its kind: add a kind, and add its case here."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.config import load_settings, to_toml
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.train.cli import analyse, evaluate, export, recommend
from crossan.train.evaluation.encoding import make_rankers
from crossan.train.export import writing
from crossan.train.features import FeatureTable
from crossan.train.layers.item_pairs import item_pairs_of
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.models.recommender import ModelContext, item_rows_of
from crossan.train.models.table import build_model, model_kinds
from crossan.train.runs import facts
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import validation_split
from crossan.train.settings import GraphSettings, RunSettings
from crossan.train.settings.content import FUSIONS
from crossan.train.settings.content import MOMEF as MOMEF_NAME
from crossan.train.settings.kinds import _BUILT_IN as OURS
from crossan.train.settings.models import SequenceSettings
from crossan.train.settings.unread import need_of
from support.commands import attempt, run, train_in
from support.fabricated import USERS, make_sequences, write_rows, write_small
from support.outcomes import outcome
from support.stopping import Died, die_at_step
from support.tuned import checkpoint_of, raw_of

ITEMS, LAYERS, DIMS, LENGTH = 40, 2, (8, 6), 10
"""As in `support.fabricated`, whose stores have 40 items and two layers."""
WIDTH, BOTTLENECK = 16, 8

SEQUENCE_ENCODER = LENGTH * WIDTH + 2 * WIDTH + 2 * (12 * WIDTH**2 + 9 * WIDTH)
"""Positions, a norm, and two blocks: attention 4 W² without biases, feed-forward 8 W² + 5 W, two norms 4 W."""
HEADS = sum(8 * 8 + 8 + 8 * WIDTH + WIDTH for _ in DIMS)
ALIGN = 6 * 8 + 8
"""The narrower store is brought to the width of the wider."""
MOMEF = 2 * (WIDTH * WIDTH + WIDTH) + 2 * WIDTH * 2 + 2
"""An expert for each modality, and a router over both."""
DYNAMIC, STATIC = 2 * WIDTH * 2 + 2, 2
"""A linear layer from both outputs to two weights; a gate for each modality."""
GATES, OWN_GATES = LAYERS * 2 * 3, LAYERS * 2 * 2
"""Of each modality a weight for every tower and one for its hidden state; for its own tower and that."""
ADAPTERS = LAYERS * 2 * (8 * BOTTLENECK + BOTTLENECK + BOTTLENECK * 8 + 8)
INTER = ADAPTERS // 2 + HEADS // 2
"""The tower between them is a third of the same shape."""
IDS = ITEMS * WIDTH
NODES = (USERS + ITEMS) * WIDTH
SQUARE = WIDTH * WIDTH + WIDTH
LEARNED = sum(ITEMS * dim + dim * WIDTH + WIDTH for dim in DIMS)
"""Of each modality a table that begins as the features, and a projection."""

VISUAL = 12
"""Width that images are brought to before a tower of MMGCN."""
OTHER_LAYERS = 2 * (WIDTH * WIDTH + WIDTH * WIDTH + WIDTH + 2 * WIDTH * WIDTH + WIDTH)


def first_layer(wide):
    """Return the parameters of the first layer of a tower: messages, a node's own vector, and both joined."""
    return wide * wide + wide * WIDTH + WIDTH + (wide + WIDTH) * WIDTH + WIDTH


@dataclass(frozen=True)
class Case:
    """A small model of a kind."""

    parameters: int
    """By the formula."""
    floor: float
    """Test HR@10 that it passes over items met in training, where there is something to learn."""
    settings: tuple[str, ...] = ()


def concat(outputs):
    return outputs * WIDTH * WIDTH + WIDTH


CONTENT = ("model.width=16", "model.bottleneck_dim=8")
NARROW = ("model.width=16",)
REST = HEADS + ALIGN + SEQUENCE_ENCODER
CASES = {
    "crossan": Case(GATES + ADAPTERS + MOMEF + REST, 0.8, CONTENT),
    "indsan": Case(OWN_GATES + ADAPTERS + MOMEF + REST, 0.8, CONTENT),
    # a number for each tower, and one, or one for each modality, for the tower between
    "iisan": Case(LAYERS * (2 + 1) + ADAPTERS + INTER + concat(3) + REST, 0.8, CONTENT),
    "iisan-e": Case(LAYERS * (2 + 2) + ADAPTERS + INTER + concat(3) + REST, 0.8, CONTENT),
    "frozen": Case(MOMEF + REST, 0.8, NARROW),
    "frozen dynamic-gate": Case(DYNAMIC + REST, 0.8, (*NARROW, "model.fusion=dynamic-gate")),
    "frozen static-gate": Case(STATIC + REST, 0.8, (*NARROW, "model.fusion=static-gate")),
    "frozen concat": Case(concat(2) + REST, 0.8, (*NARROW, "model.fusion=concat")),
    # two linear layers that stand for backbones, a head for each
    "fine-tuned": Case(
        sum(dim * dim + dim + dim * WIDTH + WIDTH for dim in DIMS) + concat(2) + SEQUENCE_ENCODER,
        0.8,
        (*NARROW, "model.tuning=full", "model.chunk_size=16"),
    ),
    "sasrec": Case(IDS + SEQUENCE_ENCODER, 0.8, ("model.width=16",)),
    "popularity": Case(0, 0.8),
    "bigram": Case(0, 0.8),
    "markov": Case(0, 0.8),
    "item-knn": Case(0, 0.8),
    "vbpr": Case(
        USERS * (WIDTH + 8) + ITEMS * (WIDTH + 1) + sum(DIMS) * (8 + 1),
        0.8,
        (*NARROW, "model.content_width=8"),
    ),
    "freedom": Case(NODES + LEARNED, 0.8, (*NARROW, "model.neighbours=5")),
    "mgcn": Case(
        # A gate and a preference of each modality, and one attention.
        NODES + LEARNED + len(DIMS) * 2 * SQUARE + SQUARE + WIDTH,
        0.8,
        (*NARROW, "model.neighbours=5"),
    ),
    "mhcr": Case(
        # Four hyperedges of each modality, one attention and one gate of two layers, all normalised.
        NODES + LEARNED + sum(DIMS) * 4 + 3 * (SQUARE + 2 * WIDTH) + WIDTH,
        0.8,
        (*NARROW, "model.neighbours=5", "model.hyperedges=4"),
    ),
    "bm3": Case(NODES + LEARNED + WIDTH * WIDTH + WIDTH, 0.8, NARROW),
    "grcn": Case(
        NODES + (USERS + ITEMS) * 2 + sum(USERS * 8 + dim * 8 + 8 for dim in DIMS),
        0.8,
        (*NARROW, "model.content_width=8"),
    ),
    "mmgcn": Case(
        8 * VISUAL + VISUAL + first_layer(VISUAL) + first_layer(6) + 2 * OTHER_LAYERS,
        0.8,
        (*NARROW, f"model.visual_width={VISUAL}"),
    ),
    "title-knn": Case(0, 0.8),
    "hybrid": Case(0, 0.8),
}
RATES = ("lr", "adapter_lr", "id_lr", "text_lr")
KINDS = [case for case in CASES if " " not in case]
"""Cases that are trained too; another fusion changes neither how a run is resumed nor what it sees."""
LONG_TO_TRAIN = ("fine-tuned", "mhcr")
FIGURES = ("valid", "test", "cold_test", "slices", "recommendations", "sequences")
"""What `crossan evaluate` gives as training did."""
LEARNING = (
    "optimiser.lr=0.01",
    "optimiser.adapter_lr=0.01",
    "optimiser.id_lr=0.01",
    "batch_size=32",
)


def kind_of(case):
    """Return the kind of a case, the first word of its name."""
    return case.partition(" ")[0]


def test_every_kind_and_every_fusion_of_ours_has_a_case():
    # What is made of other runs: `tests/integration/test_hybrid_of_runs.py`.
    alone = [kind for kind in model_kinds() if not OURS[kind].is_of_runs]
    assert sorted({kind_of(case) for case in CASES}) == sorted(alone)
    fusions = {case.partition(" ")[2] or MOMEF_NAME for case in CASES}
    assert fusions == set(FUSIONS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def kept(place):
    return keep_sequences(open_dataset(place / "d").interactions(), max_items=13, min_items=5)


def title_of(item):
    """Return a title that shows an item's topic."""
    return f"topic{item[1]} {item}"


def settings_of(kind, *more):
    assignments = ["data.dataset=d", f"model.kind={kind_of(kind)}", *CASES[kind].settings, *more]
    return load_settings(RunSettings, assignments=assignments, environment={}).model


def make_features(order=None, absent=float("nan")):
    """Return hidden states of two modalities, some absent, with the items in another order."""
    generator = torch.Generator().manual_seed(3)
    presence = torch.rand(ITEMS, 2, generator=generator) < 0.7
    presence[~presence.any(dim=1), 1] = True
    hidden = [torch.randn(ITEMS, LAYERS, dim, generator=generator) for dim in DIMS]
    for modality, states in enumerate(hidden):
        states[~presence[:, modality]] = absent
    order = torch.arange(ITEMS) if order is None else order
    modalities = (Modality.IMAGE, Modality.TEXT)
    return FeatureTable(modalities, tuple(states[order] for states in hidden), presence[order])


def build(kind, kept, features, order=None):
    """Build a model of random weights, whose catalogue is in the order of the features."""
    torch.manual_seed(0)
    if settings_of(kind).reads_media:
        features = raw_of(features)
    elif not settings_of(kind).reads_hidden_states:
        features = FeatureTable.without_content(ITEMS)
    order = np.arange(ITEMS) if order is None else order.numpy()
    seen = kept.without_test()
    seen = replace(seen, item_ids=seen.item_ids[order], items=order.argsort()[seen.items])
    model = build_model(
        settings_of(kind),
        ModelContext(
            features,
            seen,
            training_counts(seen.training_items, ITEMS),
            LENGTH,
            titles=lambda: [title_of(item) for item in seen.item_ids.tolist()],
        ),
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():  # leave the start, where much is alike
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval(), features


def scores_of(model, features, readers, items=slice(0, ITEMS)):
    ranker = make_rankers(model, features, {"readers": readers})["readers"]
    return ranker.scores(torch.arange(ranker.user_count), items).clone()


@pytest.mark.parametrize("kind", CASES)
def test_the_parameters_are_those_of_the_formula(kind, kept):
    model, _ = build(kind, kept, make_features())
    assert trainable_parameter_count(model) == CASES[kind].parameters


@pytest.mark.parametrize("kind", [kind for kind in KINDS if OURS[kind].is_trained_by_steps])
def test_every_parameter_has_one_rate(kind, kept):
    model, _ = build(kind, kept, make_features())
    groups = model.parameter_groups()
    assignments = ["data.dataset=d", f"model.kind={kind}", *CASES[kind].settings]
    of_run = load_settings(RunSettings, assignments=assignments, environment={})
    rates = {group["name"] for group in make_optimiser(groups, of_run.optimiser).param_groups}
    # `settings.unread` says so of the settings alone, before there is a model.
    assert rates == {name for name in RATES if need_of(of_run, f"optimiser.{name}") is None}
    moved = [*groups.rest, *groups.adapters, *groups.ids, *groups.text]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(map(id, moved)) == sorted(map(id, learned))
    if issubclass(OURS[kind], GraphSettings):
        # As in the code that they were published with: one rate is searched.
        assert len(groups.rest) == len(moved)


@pytest.mark.parametrize("kind", CASES)
def test_settings_survive_their_file(kind, tmp_path):
    assignments = ["data.dataset=d", f"model.kind={kind_of(kind)}", *CASES[kind].settings]
    settings = load_settings(RunSettings, assignments=assignments, environment={})
    (tmp_path / "config.toml").write_text(to_toml(settings))
    assert load_settings(RunSettings, files=[tmp_path / "config.toml"], environment={}) == settings


@pytest.mark.parametrize("kind", CASES)
def test_whatever_lies_in_an_absent_row_changes_no_score(kind, kept):
    readers = validation_split(kept.without_test(), LENGTH)
    nothing, garbage = (
        scores_of(*build(kind, kept, make_features(absent=value)), readers)
        for value in (float("nan"), 1e4)
    )
    assert nothing.isfinite().all()
    assert torch.equal(nothing, garbage)


@pytest.mark.parametrize("kind", CASES)
def test_blocks_of_scores_are_parts_of_the_whole(kind, kept):
    readers = validation_split(kept.without_test(), LENGTH)
    model, features = build(kind, kept, make_features())
    whole = scores_of(model, features, readers)
    for items in (slice(0, 7), slice(7, 33), slice(33, ITEMS)):
        assert torch.allclose(
            scores_of(model, features, readers, items), whole[:, items], atol=1e-5
        )


@pytest.mark.parametrize("kind", CASES)
def test_items_in_another_order_have_the_same_scores(kind, kept):
    """The catalogue's order means nothing: features, item rows and histories move along."""
    readers = validation_split(kept.without_test(), LENGTH)
    model, features = build(kind, kept, make_features())
    scores = scores_of(model, features, readers)
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(2))
    moved_model, moved_features = build(kind, kept, make_features(order), order)
    weights = dict(model.state_dict())
    weights |= {name: weights[name][order] for name in item_rows_of(model)}
    for name, pairs in item_pairs_of(moved_model).items():
        pairs.hold(item_pairs_of(model)[name].table()[order.numpy()][:, order.numpy()])
        weights |= {f"{name}.{part}": tensor for part, tensor in pairs.state_dict().items()}
    moved_model.load_state_dict(weights)
    place_of = order.argsort()
    rows = place_of.numpy()
    inputs = torch.where(readers.inputs < 0, readers.inputs, place_of[readers.inputs.clamp(min=0)])
    moved = type(readers)(
        inputs,
        place_of[readers.targets],
        readers.users,
        [rows[history] for history in readers.histories],
    )
    moved_scores = scores_of(moved_model, moved_features, moved)
    assert torch.allclose(moved_scores, scores[:, order], atol=1e-4)


def train(place, kind, *more, out, epochs=3):
    settings = (*CASES[kind].settings, *LEARNING, f"max_epochs={epochs}", "patience=20")
    if settings_of(kind).reads_media:
        backbone = f"model.text={checkpoint_of(Modality.TEXT)}"
        settings = (*settings, backbone, "optimiser.text_lr=0.002")
    result = train_in(place, settings, "--model", kind_of(kind), *more, out=out)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_died_and_was_resumed_ends_in_the_same_bytes(place, tmp_path, kind, monkeypatch):
    (tmp_path / "d").symlink_to(place / "d")
    (tmp_path / "c").symlink_to(place / "c")
    every = ("--set", "checkpoint.every_steps=3")
    result = train(tmp_path, kind, *every, out="whole")
    assert result["model"] == kind_of(kind)
    is_trained = settings_of(kind).is_trained_by_steps
    if is_trained:
        with monkeypatch.context() as patch:
            die_at_step(patch, 8)
            with pytest.raises(Died):
                train(tmp_path, kind, *every, out="r")
    train(tmp_path, kind, *every, *(("--resume",) if is_trained else ()), out="r")
    assert outcome(tmp_path / "r") == outcome(tmp_path / "whole")
    monkeypatch.setattr(facts, "_peak_memory", lambda _device: 1)  # nothing is trained any more
    again = train(tmp_path, kind, *every, "--resume", out="r")
    assert outcome(tmp_path / "r") == outcome(tmp_path / "whole")
    assert again["peak_memory_bytes"] > 2**20


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_answers_on_a_run_of_every_kind(place, tmp_path, kind, monkeypatch):
    # The program is that of one encoder for all kinds, has tests of its own and takes seconds.
    monkeypatch.setattr(writing, "program_bytes", lambda *_: b"")
    (tmp_path / "d").symlink_to(place / "d")
    (tmp_path / "c").symlink_to(place / "c")
    told = train(tmp_path, kind, "--validation-only", out="r", epochs=1)
    result = train(tmp_path, kind, "--resume", out="r", epochs=1)
    assert result["valid"] == told["valid"]
    assert result["peak_memory_bytes"] >= told["peak_memory_bytes"]
    evaluated = json.loads(run(evaluate, tmp_path / "r", "--json").stdout.splitlines()[-1])
    assert {name: evaluated[name] for name in FIGURES} == {name: result[name] for name in FIGURES}
    run(analyse, tmp_path / "r")
    run(recommend, tmp_path / "r", "--all-users", "--out", tmp_path / "top.parquet")
    exported = attempt(export, tmp_path / "r", "--out", tmp_path / "e")
    if isinstance(settings_of(kind), SequenceSettings):
        assert exported.exit_code == 0
    else:
        assert isinstance(exported.exception, UsageError)
        assert f"crossan recommend {tmp_path / 'r'} --all-users" in exported.exception.remedy
        assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_every_kind_can_be_refitted_and_used(place, tmp_path, kind):
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    train(tmp_path, kind, out="plain", epochs=2)
    told = train(tmp_path, kind, "--refit", "all", out="r", epochs=2)
    assert outcome(tmp_path / "r") == outcome(tmp_path / "plain")
    epochs = told["best_epoch"] if settings_of(kind).is_trained_by_steps else 1
    assert told["refit"]["refit"]["epochs"] == epochs
    best, refitted = (
        load_file(folder / "checkpoints/best/model.safetensors")
        for folder in (tmp_path / "r", tmp_path / "r/refit")
    )
    assert best.keys() == refitted.keys()
    # Titles are the same, whatever is held out.
    is_by_titles = kind == "title-knn"
    is_same = all(
        best[name].shape == refitted[name].shape and torch.equal(best[name], refitted[name])
        for name in best
    )
    assert is_same == is_by_titles
    run(recommend, tmp_path / "r/refit", "--all-users", "--out", tmp_path / "top.parquet")


def popular_sequences():
    """Everybody meets the same eight items, in an order of their own, and now and then another."""
    random = np.random.default_rng(5)
    rows = []
    for user in range(150):
        hits = [f"i{item // 10}{item % 10}" for item in random.permutation(8)[:6]]
        other = [f"i{random.integers(4)}{random.integers(8, 10)}"] if user % 5 == 0 else []
        rows += [(f"u{user:03d}", item, time) for time, item in enumerate([*other, *hits])]
    return rows


def shuffled_items(rows):
    """Give every event an item drawn from all alike, so that nobody's past tells of the future."""
    random = np.random.default_rng(6)
    return [(u, f"i{random.integers(4)}{random.integers(10)}", time) for u, _, time in rows]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.exhaustive) if kind in LONG_TO_TRAIN else kind
        for kind in KINDS
    ],
)
def test_a_planted_signal_is_found_and_noise_is_not(place, tmp_path, kind):
    """Users keep to a topic that features show, or all to the same hits; ten of 40 items by chance are 0.25."""
    rows = popular_sequences() if kind == "popularity" else make_sequences()
    # The stores have been made from other titles, which those that compare titles cannot know.
    reads_titles = kind in ("title-knn", "hybrid", "fine-tuned")
    titles = {item: title_of(item) for _, item, _ in rows} if reads_titles else None
    write_rows(tmp_path / "d", rows, titles=titles)
    (tmp_path / "c").symlink_to(place / "c")
    signal = train(tmp_path, kind, out="signal", epochs=12)
    write_rows(tmp_path / "e" / "d", shuffled_items(rows), titles=titles)
    (tmp_path / "e" / "c").symlink_to(place / "c")
    noise = train(tmp_path / "e", kind, out="noise", epochs=12)
    assert warm_hit_ratio(signal) > CASES[kind].floor
    assert warm_hit_ratio(noise) < CASES[kind].floor / 2


def warm_hit_ratio(result):
    """Return HR@10 of targets that training met: no kind without content can know the others."""
    return result["slices"]["target"]["warm"]["hr@10"]
