"""A hybrid of finished runs, from its command to its figures, lists and refit."""

import json
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.train.cli import evaluate, export, train
from crossan.train.layers.sequence_encoder import EncoderForm, SequenceEncoder
from crossan.train.loop import hybrid_choice
from crossan.train.runs.opening import open_run
from crossan.train.runs.recommend import history_of_user, recommend_items
from crossan.train.service.recommender.opening import open_answering
from support.commands import run, train_quickly
from support.fabricated import write_rows, write_small
from support.hybrids import LATER, make_hybrid, sequences, with_later_item
from support.outcomes import outcome

COLD = "i09"
CHAIN, CONTENT = (0.5, 2.0), (1.0, 4.0)
TEMPERATURE = 0.2
NEARER = {"decay": 0.25, "window": 4, "gap_decay": 0.5, "reach": 3}
"""What the chain of ``h`` counts, none of it by default."""
OF_CHAIN = [part for name in NEARER for part in ("--set", f"model.{name}={NEARER[name]}")]
FIGURES = ("valid", "test", "cold_test", "slices", "recommendations", "sequences")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two stores, a run over their content, one over it and ids, one of ids alone, two hybrids."""
    place = write_small(tmp_path_factory.mktemp("hybrids"))
    shutil.rmtree(place / "d")
    write_rows(place / "d", sequences())
    train_quickly(place, "--model", "frozen", out="content", epochs=2)
    train_quickly(
        place, "--model", "crossan", "--set", "model.id_embedding=true", out="both", epochs=2
    )
    cosine = ("--set", "model.scores=cosine", "--set", f"objective.temperature={TEMPERATURE}")
    train_quickly(place, "--model", "sasrec", *cosine, out="ids", epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        # The least of them is above zero, so that every term counts in what follows.
        patch.setattr(hybrid_choice, "CHAIN_WEIGHTS", CHAIN)
        patch.setattr(hybrid_choice, "CONTENT_WEIGHTS", CONTENT)
        make_hybrid(place, "both", "ids", more=OF_CHAIN)
    make_hybrid(place, "ids", out="h-ids")
    return place


def test_its_figures_are_those_of_the_best_weights_and_evaluate_gives_them_again(place):
    result = json.loads((place / "h/result.json").read_text())
    mixture = result["mixture"]
    best = max(one["hr@10"] for one in mixture["grid"])
    chosen = next(one for one in mixture["grid"] if one["hr@10"] == best)
    assert (chosen["co_occurrence"], chosen["content"]) == (
        mixture["co_occurrence"],
        mixture["content"],
    )
    tried = {(one["co_occurrence"], one["content"]) for one in mixture["grid"]}
    assert tried == {(chain, content) for chain in CHAIN for content in CONTENT}
    costs = {
        (one["cold_bonus"], one["cold_content"]): best - one["hr@10"] for one in mixture["cold"]
    }
    cost = costs[mixture["cold_bonus"], mixture["cold_content"]]
    assert cost <= 0.001 + 1e-9
    assert result["valid"]["hr@10"] == pytest.approx(best - cost)
    assert result["model"] == "hybrid-of-runs"
    assert result["trainable_parameters"] == 0
    again = json.loads(run(evaluate, place / "h", "--json").stdout.splitlines()[-1])
    assert {name: again[name] for name in FIGURES} == {name: result[name] for name in FIGURES}


def test_with_every_term_at_zero_it_is_the_mean_of_its_runs(place, monkeypatch):
    for name in ("CHAIN_WEIGHTS", "CONTENT_WEIGHTS", "COLD_BONUSES"):
        monkeypatch.setattr(hybrid_choice, name, (0.0,))
    make_hybrid(place, "both", out="h-alone")
    alone, both = (
        json.loads((place / name / "result.json").read_text()) for name in ("h-alone", "both")
    )
    assert alone["valid"] == both["valid"]
    assert alone["test"] == both["test"]


def test_it_needs_its_runs_no_more(place, tmp_path):
    made = shutil.copytree(place / "h", tmp_path / "h")
    config = tomllib.loads((made / "config.toml").read_text())
    assert [base["model"]["kind"] for base in config["model"]["of"]] == ["crossan", "sasrec"]
    assert {name: config["model"][name] for name in NEARER} == NEARER
    text = (made / "config.toml").read_text()
    for name in ("both", "ids"):
        text = text.replace(f'"{place / name}"', '"/nowhere"')
    (made / "config.toml").write_text(text)
    before, after = open_run(place / "h", device="cpu"), open_run(made, device="cpu")
    rows = history_of_user(before, "u003")
    assert recommend_items(before, rows, 9) == recommend_items(after, rows, 9)


@pytest.mark.parametrize("name", ["h", "h-ids"])
def test_the_service_answers_as_the_command_does(place, name):
    opened, answering = open_run(place / name, device="cpu"), open_answering(place / name, "")
    for user in opened.kept.user_ids[::37].tolist():
        expected = recommend_items(opened, history_of_user(opened, user), 12)
        query, _ = answering.query({"user": user, "top": 12, "mask_history": "all"})
        items = answering.answers([query])[0]
        assert [one["item_id"] for one in items] == [one["item_id"] for one in expected]
        assert [one["score"] for one in items] == pytest.approx(
            [one["score"] for one in expected], abs=1e-5
        )


def test_an_item_that_came_later_is_scored_as_a_cold_one_of_the_same_content(place, tmp_path):
    answering = open_answering(with_later_item(place, tmp_path, COLD), "")
    query, _ = answering.query({"history": ["i13", "i01"], "top": 41, "mask_history": "none"})
    scores = {item["item_id"]: item["score"] for item in answering.answers([query])[0]}
    # It has the hidden states of an item that nobody had in training, and so its score.
    assert scores[LATER] == pytest.approx(scores[COLD], abs=1e-5)
    before, _ = open_answering(place / "h", "").query(
        {"history": ["i13", "i01"], "top": 40, "mask_history": "none"}
    )
    earlier = open_answering(place / "h", "").answers([before])[0]
    assert {one["item_id"]: one["score"] for one in earlier} == pytest.approx(
        {item: score for item, score in scores.items() if item != LATER}, abs=1e-5
    )


def test_resuming_it_changes_nothing(place, tmp_path):
    before = outcome(place / "h")
    make_hybrid(place, "both", "ids", more=(*OF_CHAIN, "--resume"))
    assert outcome(place / "h") == before
    # As if it had died after the weights were written, before it was judged.
    for name in ("result.json", "eval"):
        (place / "h" / name).rename(tmp_path / name)
    make_hybrid(place, "both", "ids", more=(*OF_CHAIN, "--resume"))
    assert outcome(place / "h") == before


def test_without_stores_it_has_no_content(place):
    result = json.loads((place / "h-ids/result.json").read_text())
    assert {one["content"] for one in result["mixture"]["grid"]} == {0.0}
    weights = load_file(place / "h-ids/checkpoints/best/model.safetensors")
    assert not [name for name in weights if name.startswith("content.")]


def test_a_refit_takes_the_refits_of_its_runs_and_the_weights_of_the_run_that_judges_it(place):
    with pytest.raises(UsageError, match="expected a finished refit of --refit validation"):
        run(train, "--out", place / "h-ids", "--resume", "--refit", "validation", "--device", "cpu")
    train_quickly(
        place, "--model", "sasrec", "--resume", "--refit", "validation", out="ids", epochs=2
    )
    run(train, "--out", place / "h-ids", "--resume", "--refit", "validation", "--device", "cpu")
    judged, refitted, of_base = (
        load_file(place / name / "checkpoints/best/model.safetensors")
        for name in ("h-ids", "h-ids/refit", "ids/refit")
    )
    assert torch.equal(judged["term_weights"], refitted["term_weights"])
    name = "id_embedding.weight"
    assert torch.equal(refitted[f"bases.0.{name}"], of_base[name])
    assert refitted["is_known"].sum() > judged["is_known"].sum()
    train_quickly(
        place, "--model", "crossan", "--set", "model.id_embedding=true", "--resume",
        "--refit", "validation", out="both", epochs=2,
    )  # fmt: skip
    run(train, "--out", place / "h", "--resume", "--refit", "validation", "--device", "cpu")
    judged, refitted = (
        load_file(place / name / "checkpoints/best/model.safetensors") for name in ("h", "h/refit")
    )
    for name in ("term_weights", "content.means", "content.basis"):
        assert torch.equal(judged[name], refitted[name])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--max-items", "9"), "data.max_items: expected 13, found 9"),
        (("--mask-history", "none"), "mask_history: expected all, found none"),
        (("--set", "model.layers=[1]"), r"text store, layers: expected \[0, 1\], found \[1\]"),
        (("--set", "features.standardise=none"), "features: expected"),
    ],
)
def test_runs_that_differ_are_refused_by_name(place, changed, message):
    out = f"odd{changed[1]}"
    train_quickly(place, "--model", "frozen", *changed, out=out, epochs=1)
    with pytest.raises(IncompatibleError, match=message) as refused:
        make_hybrid(place, "content", out, out="refused")
    assert out in str(refused.value)
    assert not (place / "refused").exists()


def test_what_cannot_be_a_part_is_refused(place, tmp_path):
    train_quickly(place, "--model", "markov", out="markov", epochs=1)
    with pytest.raises(UsageError, match="got one of markov"):
        make_hybrid(place, "markov", out="refused")
    with pytest.raises(UsageError, match="--of: expected --model hybrid with it, got sasrec"):
        run(train, "--model", "sasrec", "--of", place / "ids", "--out", tmp_path / "x")
    with pytest.raises(UsageError, match="--model hybrid --of RUN,RUN"):
        train_quickly(place, "--model", "hybrid-of-runs", out="refused")
    train_quickly(place, "--model", "sasrec", "--seed", "1", out="later", epochs=1)
    config = make_hybrid(place, "later", out="h-later")
    assert config["mixture"]["content"] == 0
    train_quickly(place, "--model", "sasrec", "--seed", "1", "--resume", out="later", epochs=3)
    (place / "h-copy").mkdir()
    with pytest.raises(IncompatibleError, match="the run has gone on since it was named"):
        run(train, "--config", place / "h-later/config.toml", "--out", place / "h-copy")


def test_standardised_runs_bring_their_statistics(place):
    settings = ("--set", "features.standardise=layer")
    train_quickly(place, "--model", "frozen", *settings, out="standardised", epochs=1)
    make_hybrid(place, "standardised", out="h-standardised")
    one, other = (
        load_file(place / name / "standardise.safetensors")
        for name in ("standardised", "h-standardised")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert np.isfinite(
        json.loads((place / "h-standardised/result.json").read_text())["test"]["hr@10"]
    )


WITHOUT_CROSSAN = """
import json, sys
sys.modules["crossan"] = None
exec(compile(sys.stdin.read(), "README.md", "exec"))
print(json.dumps([recommend(one, 40) for one in json.loads(sys.argv[1])]))
"""


@pytest.mark.parametrize("name", ["h", "h-ids"])
def test_an_export_scores_as_the_run_does_in_a_process_without_crossan(place, tmp_path, name):
    run(export, place / name, "--out", tmp_path / "e")
    manifest = json.loads((tmp_path / "e/manifest.json").read_text())
    mixture = json.loads((place / name / "result.json").read_text())["mixture"]
    assert manifest["chain"]["co_occurrence"] == mixture["co_occurrence"]
    opened = open_run(place / name, device="cpu")
    ids = opened.kept.item_ids
    rows = [np.tile(opened.kept.sequence(1), 3), opened.kept.sequence(4)[:1]]
    (program,) = re.findall(
        r"```python\n(.*?)```", (tmp_path / "e/README.md").read_text(), re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CROSSAN, json.dumps([ids[one].tolist() for one in rows])],
        input=program, cwd=tmp_path / "e", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for history, lists in zip(rows, json.loads(done.stdout), strict=True):
        expected = recommend_items(opened, history, 40)
        scores = dict(lists)
        assert [scores[one["item_id"]] for one in expected] == pytest.approx(
            [one["score"] for one in expected], abs=1e-4
        )


def test_the_manifest_says_what_another_implementation_reads_the_weights_by(place, tmp_path):
    run(export, place / "h", "--out", tmp_path / "e")
    manifest = json.loads((tmp_path / "e/manifest.json").read_text())
    weights = load_file(tmp_path / "e/user_encoder.safetensors")
    vectors = load_file(tmp_path / "e/items.safetensors")["vectors"]
    forms, terms, chain = (manifest[name] for name in ("encoders", "terms", "chain"))
    assert [form.pop("scores") for form in forms] == ["dot", "cosine"]
    assert forms[0] == {
        "blocks": 2, "heads": 2, "activation": "gelu", "norm": "post", "positions": "absolute",
    }  # fmt: skip
    assert terms["divisors"] == [2.0, pytest.approx(2.0 * TEMPERATURE)]
    width = (manifest["width"] - terms["content_width"] - 1) // 2
    rows, joined = torch.tensor([[-1, -1, -1, -1, -1, -1, -1, 4, 11, 7]]), []
    for number, (scores, divisor) in enumerate(
        zip(("dot", "cosine"), terms["divisors"], strict=True)
    ):
        prefix = f"encoders.{number}.sequence_encoder."
        encoder = SequenceEncoder(width, 10, 2, 2, 0.0, form=EncoderForm(scores=scores)).eval()
        encoder.load_state_dict(
            {name[len(prefix) :]: one for name, one in weights.items() if name.startswith(prefix)}
        )
        part = vectors[:, number * width : (number + 1) * width]
        joined.append(encoder(part[rows.clamp(min=0)], rows >= 0)[:, -1] / divisor)
    content = vectors[:, 2 * width : -1]
    taste = sum(chain["decay"] ** age * content[row] for age, row in enumerate((7, 11, 4)))
    joined.append(terms["content"] * taste.unsqueeze(0) / taste.norm())
    joined.append(torch.tensor([[terms["cold_bonus"]]]))
    program = torch.export.load(tmp_path / "e/user_encoder.pt2").module()
    assert torch.allclose(program(rows, vectors), torch.cat(joined, dim=1), atol=1e-5)


def test_an_item_that_came_later_is_new_whoever_had_it_since(place, tmp_path):
    # Its time puts it among what an opened run takes for trained.
    opened = open_run(with_later_item(place, tmp_path, COLD, [("u003", LATER, -1)]), device="cpu")
    assert LATER in opened.kept.item_ids[opened.trained_items]
    new, before = (
        set(one.kept.item_ids[one.new_items(1).is_new.numpy()].tolist())
        for one in (opened, open_run(place / "h", device="cpu"))
    )
    assert new == {*before, LATER}
