"""What each step of a night runs, from specs and paths of ours; and how it ends."""

import json
import sys
import tomllib

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.executors import Outcome
from crossan.train.service.nights.steps import ProductSteps
from crossan.train.service.queue.rows import Order, State, Step, submit
from crossan.train.service.queue.steps import InServer, Program, Skip
from crossan.train.service.specs import Limits, NightSpec, RunSpec
from support.nightly import identity_of, write_description, write_store_versions
from support.registered import a_refit, a_run

CROSSAN = (sys.executable, "-P", "-m", "crossan")
FROZEN = {"model.kind": "frozen", "model.top_k": 1, "max_epochs": 2}


@pytest.fixture
def steps(office):
    return ProductSteps(office.folder, office.settings, office.registry, office.database)


def begin(office, **fields):
    fields = {"dataset": "shop", "settings": FROZEN, "extract": ["text"], **fields}
    night = office.nights.begin(NightSpec.model_validate(fields), "ann", "asked for")
    return {run.step: run for run in office.nights.runs_of(night.id)}


def words_after(argv, flag):
    return [argv[place + 1] for place, word in enumerate(argv) if word == flag]


def test_an_update_reads_what_lies_in_the_inbox(office, steps):
    run = begin(office)[Step.UPDATE]
    assert steps.plan(run) == Skip("there is no inbox for shop")
    inbox = office.path / "inbox/shop"
    (inbox / "image").mkdir(parents=True)
    assert steps.plan(run) == Skip("the inbox is empty")
    (inbox / "interactions.csv").write_text("user_id,item_id,timestamp\n")
    (inbox / "items.parquet").write_text("not looked at")
    (inbox / "image/i1.jpg").write_text("not looked at")
    (inbox / "notes.txt").write_text("left alone")
    plan = steps.plan(run)
    assert plan == Program(
        (
            *(*CROSSAN, "data", "update", str(office.path / "roots/shop")),
            *("--images", str(inbox / "image")),
            *("--interactions", str(inbox / "interactions.csv")),
            *("--items", str(inbox / "items.parquet"), "--json"),
        )
    )
    log(office, run, '{"report": {"added": {"items": 10, "interactions": 512, "users": 0}}}')
    ended = steps.conclude(run, Outcome("exited", 0))
    assert (ended.state, ended.result["added"]["items"]) == (State.SUCCEEDED, 10)
    office.end_run(run, State.SUCCEEDED, result=ended.result)
    following = begin(office)[Step.UPDATE]
    assert steps.plan(following).reason.startswith("nothing in the inbox has changed")
    (inbox / "image/i2.jpg").write_text("one more")
    assert isinstance(steps.plan(following), Program)


def log(office, run, *lines):
    """Write the log of a run's first attempt, which is its latest."""
    folder = office.folder.attempt(run.id, run.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "output.log").write_text("\n".join(["some words", *lines, "more words", ""]))


def test_two_logs_in_an_inbox_are_refused(office, steps):
    run = begin(office)[Step.UPDATE]
    inbox = office.path / "inbox/shop"
    inbox.mkdir()
    for name in ("interactions.csv", "interactions.tsv"):
        (inbox / name).write_text("user_id,item_id,timestamp\n")
    with pytest.raises(UsageError, match=r"expected one file interactions.\*"):
        steps.plan(run)


def test_a_link_out_of_an_inbox_is_refused(office, steps):
    run = begin(office)[Step.UPDATE]
    inbox = office.path / "inbox/shop"
    inbox.mkdir()
    (inbox / "interactions.csv").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="a link that leads out of it"):
        steps.plan(run)


def test_an_extraction_uses_the_operators_backbone(office, steps):
    run = begin(office)[Step.EXTRACT]
    assert steps.plan(run) == Program(
        (
            *(*CROSSAN, "extract", "--modality", "text"),
            *("--dataset", str(office.path / "roots/shop")),
            *("--cache", office.settings.cache, "--backbone", "tiny", "--json"),
        )
    )
    store = {"store": "/secret", "modality": "text", "version": 3, "ok": 5}
    log(office, run, json.dumps({"stores": [store]}))
    ended = steps.conclude(run, Outcome("exited", 0))
    assert ended.result == {"stores": [{"modality": "text", "version": 3, "ok": 5}]}


def test_a_training_is_pinned_once_for_all_its_attempts(office, steps):
    run = begin(office)[Step.TRAIN]
    plan = steps.plan(run)
    folder, store = office.folder.run(run.id), write_store_versions(office.path / "cache", 1)
    assert plan.argv == (
        *(*CROSSAN, "train", "--out", str(folder / "run"), "--resume"),
        *("--dataset", str(office.path / "roots/shop"), "--cache", office.settings.cache),
        *("--config", str(folder / "settings.toml")),
    )
    config = tomllib.loads((folder / "settings.toml").read_text())
    assert config["data"]["store"] == [f"{store}@1"]
    assert config["data"]["modality"] == ["text"]
    assert (config["model"]["kind"], config["max_epochs"], config["seed"]) == ("frozen", 2, 0)
    write_store_versions(office.path / "cache", 2)
    assert steps.plan(run) == plan
    assert tomllib.loads((folder / "settings.toml").read_text()) == config


def test_a_chosen_version_is_the_one_that_is_read(office, steps):
    write_store_versions(office.path / "cache", 3)
    choice = {"modality": "text", "fingerprint": identity_of().fingerprint[:12], "version": 2}
    run = begin(office, extract=[], stores=[choice])[Step.TRAIN]
    steps.plan(run)
    config = tomllib.loads((office.folder.run(run.id) / "settings.toml").read_text())
    assert config["data"]["store"][0].endswith("@2")


def test_a_recipe_is_named_so_that_its_verdict_is_given(office, steps):
    run = begin(office, recipe="baselines/popularity", settings={}, extract=[])[Step.TRAIN]
    assert words_after(steps.plan(run).argv, "--recipe") == ["baselines/popularity"]


def test_of_two_nights_on_one_input_the_second_skips_everything(office, steps):
    first = begin(office)
    assert isinstance(steps.plan(first[Step.TRAIN]), Program)
    second = office.nights.begin(
        NightSpec.model_validate({"dataset": "shop", "settings": FROZEN, "extract": ["text"]}),
        *("trigger t", "fired"),
        fingerprint="f" * 64,
    )
    runs = {run.step: run for run in office.nights.runs_of(second.id)}
    skip = steps.plan(runs[Step.TRAIN])
    assert skip.reason == "nothing new: night 1 trains on the same dataset, stores and settings"
    office.end_run(runs[Step.TRAIN], State.SKIPPED, skip.reason)
    for step in (Step.EVALUATE, Step.GATE, Step.REFIT, Step.PROMOTE):
        assert steps.plan(runs[step]) == skip


def test_the_first_model_has_no_gate_and_is_promoted(office, steps):
    runs = begin(office)
    steps.plan(runs[Step.TRAIN])
    evaluation = steps.plan(runs[Step.EVALUATE])
    assert evaluation == Skip("no model is in production yet")
    office.end_run(runs[Step.EVALUATE], State.SKIPPED, evaluation.reason)
    assert steps.plan(runs[Step.GATE]) == evaluation
    output = office.folder.output(runs[Step.TRAIN].id)
    refit = steps.plan(runs[Step.REFIT])
    assert words_after(refit.argv, "--refit") == ["all"]
    assert words_after(refit.argv, "--out") == [str(output)]
    finish_training(office, runs)
    plan = steps.plan(runs[Step.PROMOTE])
    assert isinstance(plan, InServer)
    result = plan.work()
    assert result == {"model": 1, "alias": "production", "version": 1, "revision": 1}
    # After a crash it is done again, and ends the same.
    assert steps.plan(runs[Step.PROMOTE]).work() == result
    assert office.registry.alias("production").revision == 1
    model = office.registry.get(1)
    assert model.served_run != model.judged_run


def finish_training(office, runs, *, is_refitted=True):
    output = office.folder.output(runs[Step.TRAIN].id)
    a_run(output)
    if is_refitted:
        a_refit(output / "refit", "all")
    office.end_run(runs[Step.TRAIN], State.SUCCEEDED)


def promoted(office, steps, **fields):
    """Run a whole first night; return the model that it promoted."""
    runs = begin(office, **fields)
    steps.plan(runs[Step.TRAIN])
    office.end_run(runs[Step.EVALUATE], State.SKIPPED, steps.plan(runs[Step.EVALUATE]).reason)
    finish_training(office, runs)
    steps.plan(runs[Step.PROMOTE]).work()
    for run in runs.values():
        if office.nights.runs_of(1)[run.id - 1].ended is None:
            office.end_run(run, State.SUCCEEDED)
    write_description(office.path / "roots/shop", content="next day")
    return office.registry.get(1)


def test_the_model_in_production_is_judged_on_todays_data(office, steps):
    model = promoted(office, steps)
    runs = begin(office)
    steps.plan(runs[Step.TRAIN])
    plan = steps.plan(runs[Step.EVALUATE])
    out = office.folder.output(runs[Step.EVALUATE].id)
    assert plan.argv == (
        *(*CROSSAN, "evaluate", str(model.judged_run), "--out", str(out)),
        *("--dataset", str(office.path / "roots/shop"), "--cache", office.settings.cache),
    )
    out.mkdir(parents=True)
    (out / "result.json").write_text(json.dumps({"test": {"ndcg@10": 0.1}, "run": "/secret"}))
    ended = steps.conclude(runs[Step.EVALUATE], Outcome("exited", 0))
    of = {"version": 1, "revision": 1}
    assert ended.result == {"of": of, "test": {"ndcg@10": 0.1}}
    gate = steps.plan(runs[Step.GATE])
    candidate = str(office.folder.output(runs[Step.TRAIN].id))
    assert gate.argv == (
        *(*CROSSAN, "gate", candidate, str(out)),
        *("--margin", "0.002", "--confidence", "0.95", "--cold-margin", "0.005", "--json"),
    )


VERDICT = {
    "holds": True,
    "reasons": [],
    "candidate": "/secret",
    "production": "/secret",
    "all": {"production": 0.1, "candidate": 0.2, "difference": 0.1, "interval": [0.0, 0.2]},
}


@pytest.mark.parametrize(
    ("exit_code", "verdict", "state", "reason"),
    [
        (0, VERDICT, State.SUCCEEDED, ""),
        (1, {**VERDICT, "holds": False, "reasons": ["worse"]}, State.FAILED, "held back: worse"),
        (5, None, State.FAILED, "not the same protocol"),
        (1, None, State.FAILED, "not the same protocol"),
    ],
)
def test_a_gate_ends_as_its_verdict_says(office, steps, exit_code, verdict, state, reason):
    run = begin(office)[Step.GATE]
    log(office, run, *([] if verdict is None else [json.dumps(verdict)]))
    ended = steps.conclude(run, Outcome("exited", exit_code, message="not the same protocol"))
    assert (ended.state, ended.reason) == (state, reason)
    if verdict is not None:
        assert ended.result["all"]["difference"] == 0.1
        assert "candidate" not in ended.result
        assert ended.result.get("held_back") == (None if verdict["holds"] else "worse")


def test_a_model_that_was_moved_meanwhile_is_not_replaced_unseen(office, steps):
    promoted(office, steps)
    runs = begin(office)
    steps.plan(runs[Step.TRAIN])
    steps.plan(runs[Step.EVALUATE])
    office.registry.promote("production", 1, 1, "bob")  # its revision moves
    finish_training(office, runs)
    result = steps.plan(runs[Step.PROMOTE]).work()
    assert result["held_back"] == (
        "production was moved to model 1 while the night ran, and model 2 was compared with model 1"
    )
    assert office.registry.alias("production").version == 1


def test_training_begins_from_production_where_the_weights_fit(office, steps):
    model = promoted(office, steps, settings={"model.kind": "sasrec"}, extract=[])
    (model.judged_run / "config.toml").chmod(0o644)
    # What the fabricated run was trained as: the same settings, another width.
    runs = begin(office, settings={"model.kind": "sasrec", "model.width": 96}, extract=[])
    assert words_after(steps.plan(runs[Step.TRAIN]).argv, "--init") == []
    notes = json.loads((office.folder.run(runs[Step.TRAIN].id) / "training.json").read_text())
    assert "model.width: 128 in that run, 96 in this one" in notes["notes"]["init_note"]
    runs = begin(office, settings={"model.kind": "sasrec", "model.dropout": 0.3}, extract=[])
    assert words_after(steps.plan(runs[Step.TRAIN]).argv, "--init") == [str(model.judged_run)]
    runs = begin(office, settings={"model.kind": "popularity"}, extract=[])
    assert words_after(steps.plan(runs[Step.TRAIN]).argv, "--init") == []
    runs = begin(office, settings={"model.kind": "sasrec"}, extract=[], init="none")
    assert words_after(steps.plan(runs[Step.TRAIN]).argv, "--init") == []


def test_an_alias_of_another_datasets_model_is_refused(office, steps):
    promoted(office, steps)
    write_description(office.path / "roots/other")
    runs = begin(office, dataset="other", settings={"model.kind": "popularity"}, extract=[])
    with pytest.raises(UsageError, match="expected a model of the dataset other, found model 1"):
        steps.plan(runs[Step.EVALUATE])


def test_a_lone_run_refits_in_the_same_command(office, steps):
    spec = RunSpec.model_validate(
        {"dataset": "shop", "settings": {"model.kind": "sasrec"}, "refit": "validation", "seed": 3}
    )
    order = Order(Step.TRAIN, "shop", spec.model_dump(mode="json"), Limits(), "ann", 1.0)
    run, _ = office.database.write(lambda connection: submit(connection, order))
    plan = steps.plan(run)
    assert words_after(plan.argv, "--refit") == ["validation"]
    assert "--init" not in plan.argv
    output = office.folder.output(run.id)
    a_run(output)
    a_refit(output / "refit", "validation")
    ended = steps.conclude(run, Outcome("exited", 0))
    assert ended.result["refit"]["refit"]["trained_on"] == "validation"
    assert "ndcg@10" in ended.result["test"]


def test_a_program_without_a_result_has_failed(office, steps):
    runs = begin(office)
    steps.plan(runs[Step.TRAIN])
    ended = steps.conclude(runs[Step.TRAIN], Outcome("exited", 0))
    assert ended.state is State.FAILED
    assert "expected the result of the run, found none" in ended.reason
    ended = steps.conclude(runs[Step.TRAIN], Outcome("exited", 3, message="DataError: bad"))
    assert (ended.state, ended.reason) == (State.FAILED, "DataError: bad")


def test_no_text_of_a_client_stands_in_a_command(office, steps):
    """But the names of modalities, recipes and scopes of a refit, which are from lists of ours."""
    hostile = "; rm -rf $HOME `id` --out /etc"
    run = begin(office, label=hostile, settings={"model.kind": "sasrec"}, extract=[])[Step.TRAIN]
    assert not any("rm -rf" in word for word in steps.plan(run).argv)
