"""Runs of every objective: they learn, and one that died ends as if it had not, whatever it remembered between steps."""

import io
import json

import pytest
import torch

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.train.cli import evaluate
from crossan.train.export.program import UserEncoder, program_bytes
from crossan.train.runs.opening import open_run
from crossan.train.runs.recommend import recommend_items
from crossan.train.runs.vectors import item_vectors
from crossan.train.service.recommender.ranking import Query, scores_of
from support.commands import run, train_in
from support.outcomes import unmeasured_bytes
from support.stopping import Died, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.id_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=32",
)
OBJECTIVES = {
    "catalogue of content": ("objective.kind=catalogue", "objective.refresh_steps=4"),
    "catalogue of both": (
        "objective.kind=catalogue",
        "objective.refresh_steps=3",
        "model.id_embedding=true",
    ),
    "catalogue of ids": (
        "objective.kind=catalogue",
        "model.kind=sasrec",
    ),
    "cross-batch": ("objective.kind=cross-batch", "objective.memory_size=50"),
    "in-batch, all chosen otherwise": (
        "objective.debias=negatives",
        "objective.uniform_negatives=10",
        "objective.label_smoothing=0.05",
        "objective.temperature=0.2",
        "model.scores=cosine",
        "model.norm=pre",
        "model.positions=relative",
    ),
}


def run_train(place, settings, *more, out="r", epochs=3):
    settings = (*SETTINGS, f"max_epochs={epochs}", *settings)
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def outcome(run_folder):
    paths = [*sorted(run_folder.glob("checkpoints/*/*.safetensors")), run_folder / "metrics.jsonl"]
    return {
        str(path.relative_to(run_folder)): unmeasured_bytes(path)
        for path in paths
        if "previous" not in str(path)
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_that_died_twice_ends_as_if_it_had_not(place, name, monkeypatch):
    """5 steps an epoch and a checkpoint every 2: it dies in the first and in the second epoch, having lost steps."""
    whole, died = f"{name} whole", f"{name} died"
    result = run_train(place, OBJECTIVES[name], out=whole)
    for at, more in ((4, ()), (5, ("--resume",))):
        with monkeypatch.context() as patch:
            die_at_step(patch, at)
            with pytest.raises(Died):
                run_train(
                    place, OBJECTIVES[name], "--set", "checkpoint.every_steps=2", *more, out=died
                )
    resumed = run_train(place, OBJECTIVES[name], "--resume", out=died)
    assert outcome(place / died) == outcome(place / whole)
    for key in ("valid", "test", "best_epoch"):
        assert resumed[key] == result[key]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(place, name):
    result = run_train(place, OBJECTIVES[name], out=f"{name} long", epochs=10)
    assert result["valid"]["hr@10"] > 0.9 > result["popularity"]["valid"]["hr@10"] + 0.3


def test_a_checkpoint_holds_what_an_objective_remembers_and_only_that(place):
    for number, settings in enumerate(
        ((), OBJECTIVES["catalogue of ids"], OBJECTIVES["cross-batch"])
    ):
        run_train(place, (*settings, "average_epochs=1"), out=f"files {number}", epochs=1)
    found = [
        sorted(path.stem for path in (place / f"files {n}/checkpoints/last").iterdir())
        for n in range(3)
    ]
    plain = ["model", "optimiser", "random", "state"]
    assert found == [plain, plain, ["model", "objective", *plain[1:]]]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_begun_from_another_may_die_before_its_first_step(place, name, monkeypatch):
    """The first checkpoint is written then, of an objective that remembers nothing yet."""
    paper = [
        setting
        for setting in OBJECTIVES[name]
        if not setting.startswith("objective.") or setting.startswith("objective.temperature")
    ]
    run_train(place, paper, out=f"{name} before", epochs=1)
    begun = ("--init", place / f"{name} before")
    run_train(place, OBJECTIVES[name], *begun, out=f"{name} begun whole", epochs=1)
    with monkeypatch.context() as patch:
        die_at_step(patch, 1)
        with pytest.raises(Died):
            run_train(place, OBJECTIVES[name], *begun, out=f"{name} begun", epochs=1)
    run_train(place, OBJECTIVES[name], *begun, "--resume", out=f"{name} begun", epochs=1)
    assert outcome(place / f"{name} begun") == outcome(place / f"{name} begun whole")


def test_a_run_goes_on_with_its_own_objective_only(place):
    run_train(place, OBJECTIVES["cross-batch"], out="own", epochs=1)
    with pytest.raises(UsageError, match=r"\n  objective\.memory_size: 50 there, 51 asked"):
        run_train(
            place,
            (*OBJECTIVES["cross-batch"], "objective.memory_size=51"),
            "--resume",
            out="own",
            epochs=1,
        )


@pytest.mark.parametrize("name", ["catalogue of content", "cross-batch"])
def test_the_slow_step_is_the_papers_objective_only(place, name):
    kind = OBJECTIVES[name][0].partition("=")[2]
    with pytest.raises(
        ConfigError, match=f"expected objective.kind=in-batch with reference, got {kind}"
    ):
        run_train(place, OBJECTIVES[name], "--reference", out="slow")


def test_what_is_shown_of_a_cosine_run_is_the_cosine(place):
    """Recommendation, evaluation and export read the vectors that it was trained with."""
    run_train(place, OBJECTIVES["in-batch, all chosen otherwise"], out="cosine", epochs=2)
    opened = open_run(place / "cosine", device="cpu")
    vectors = item_vectors(opened)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    history = opened.kept.sequence(0)
    rows = torch.full((1, 10), -1)
    rows[0, -len(history[-10:]) :] = torch.from_numpy(history[-10:])
    user = opened.model.sequence_encoder(vectors[rows.clamp(min=0)], rows >= 0)[0, -1]
    cosines = torch.nn.functional.cosine_similarity(user.unsqueeze(0), vectors)
    of_item = dict(zip(opened.kept.item_ids.tolist(), cosines.tolist(), strict=True))
    for item in recommend_items(opened, history, 10):
        assert item["score"] == pytest.approx(of_item[item["item_id"]], abs=1e-5)
    serving = scores_of(opened.model, opened.features, 10)
    (best,) = serving.best([Query(history, history, 5)])
    assert best.scores == pytest.approx([cosines[row].item() for row in best.rows], abs=1e-5)
    program = torch.export.load(
        io.BytesIO(program_bytes(UserEncoder(opened.model.sequence_encoder), 10, vectors.shape[1]))
    ).module()
    assert torch.allclose(program(rows, vectors)[0], user, atol=1e-5)
    assert (
        json.loads(run(evaluate, place / "cosine", "--json").stdout)["test"]
        == json.loads((place / "cosine" / "result.json").read_text())["test"]
    )


def test_the_slow_step_knows_of_what_is_chosen(place):
    """One epoch of each without dropout: the same validation to rounding."""
    chosen = (*OBJECTIVES["in-batch, all chosen otherwise"], "model.dropout=0")
    fast = run_train(place, chosen, out="chosen fast", epochs=1)
    slow = run_train(place, chosen, "--reference", out="chosen slow", epochs=1)
    assert slow["valid"]["ndcg@10"] == pytest.approx(fast["valid"]["ndcg@10"], abs=1e-3)


def test_longer_histories_are_learned_from(place):
    """More positions than any user has items: every path pads, and nothing else changes."""
    chosen = ("model.kind=sasrec", "data.max_items=53")
    for form in ((), ("model.norm=pre", "model.positions=relative")):
        result = run_train(place, (*chosen, *form), out=f"long {len(form)}", epochs=4)
        assert result["test"]["hr@10"] > result["popularity"]["test"]["hr@10"]
