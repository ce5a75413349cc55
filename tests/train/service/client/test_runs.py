"""``crossan runs`` against a server that runs."""

import re

import pytest

from crossan.train.service.client.runs import app
from support.client import invoke
from support.started import wait_until

TINY = ("--set", "model.kind=popularity", "--memory", "0.5")


def submit(call, label="", *more):
    return call(app, "submit", "--dataset", "shop", *TINY, "--label", label, *more, "--json")


def test_a_run_from_its_submission_to_its_log(call):
    run = submit(call, "say hello \u202e there", "--wait").json
    assert (run["state"], run["label"], run["submitted_by"]) == (
        "succeeded",
        "say hello \u202e there",
        "admin",
    )
    shown = call(app, "show", run["id"])
    assert shown.code == 0
    assert "succeeded" in shown.out
    assert re.search(r"label +say hello \\u202e there", shown.out)
    assert re.search(r"settings\.model\.kind +popularity", shown.out)
    assert call(app, "logs", run["id"]).out == "hello \\u202e there\n"
    followed = call(app, "logs", run["id"], "-f", "--json")
    assert followed.out.startswith("hello \\u202e there\n")
    assert followed.json["id"] == run["id"]
    logged = call(app, "logs", run["id"], "--attempt", "1", "--json").json
    assert logged == {"run": run["id"], "attempt": 1, "log": "hello \u202e there\n"}


def test_waiting_says_how_it_went_and_a_failed_run_is_exit_code_1(call):
    failed = submit(call, "fail", "--wait")
    assert failed.code == 1
    assert failed.json["state"] == "failed"
    # A run that ends at once may not be seen while it runs.
    assert f"run {failed.json['id']} is failed" in failed.said
    again = call(app, "show", failed.json["id"], "--wait")
    assert again.code == 1
    assert "it failed" in again.out


def test_the_list_can_be_narrowed_and_gone_on_with(call):
    ids = [submit(call, "say x").json["id"] for _ in range(3)]
    page = call(app, "ls", "--limit", "2", "--json").json
    assert [run["id"] for run in page["runs"]] == ids[:0:-1]
    following = call(app, "ls", "--limit", "1", "--before", page["before"], "--json").json
    assert [run["id"] for run in following["runs"]] == [ids[0]]
    assert "submitted" in call(app, "ls").out.splitlines()[0]
    assert call(app, "ls", "--state", "skipped").said == "no runs\n"


def test_a_key_that_is_used_again_gives_the_run_it_gave(call):
    first, second = (submit(call, "say once", "--key", "nightly-1").json for _ in range(2))
    assert first["id"] == second["id"]
    other = submit(call, "say twice", "--key", "nightly-1")
    assert other.code == 7
    assert "another spec" in other.said


def test_a_run_is_cancelled(call):
    run = submit(call, "sleep 600").json
    wait_until(
        lambda: call(app, "show", run["id"], "--json").json["state"] == "running", "it runs", None
    )
    assert call(app, "cancel", run["id"]).out in {
        f"run {run['id']} is stopping\n", f"run {run['id']} is cancelled\n",
    }  # fmt: skip
    ended = call(app, "show", run["id"], "--wait", "--json")
    assert (ended.code, ended.json["state"]) == (1, "cancelled")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "999999"), "no such run"),
        (("logs", "999999"), "no such run"),
        (("logs", "999999", "-f"), "no such run"),
        (("cancel", "999999"), "no such run"),
        (("submit", "--dataset", "nowhere"), "no dataset folder of this name"),
        (("submit", "--dataset", "shop", "--set", "data.cache=/etc"), "data.cache"),
        (("submit", "--dataset", "shop", "--set", "nothing"), "expected key=value"),
        (("submit", "--dataset", "shop", "--config", "/nowhere.toml"), "no such file"),
        (("submit", "--dataset", "shop", "--store", "text"), "--store text: expected a modality"),
        (("submit", "--dataset", "shop", "--cpus", "9999"), "limits.cpus: expected 1024 or less"),
        (("logs", "1", "-f", "--attempt", "1"), "expected no --attempt"),
    ],
)
def test_a_refused_request_is_exit_code_2_and_says_why(call, words, said):
    refused = call(app, *words)
    assert refused.code == 2
    assert said in refused.said


def test_a_token_that_reads_may_not_submit(server, tmp_path):
    token = tmp_path / "token"
    token.write_text(server.tokens["read"])
    token.chmod(0o600)
    options = ("--server", server.url, "--token-file", token)
    assert invoke(app, "ls", *options, "--json").code == 0
    refused = invoke(app, "submit", "--dataset", "shop", *options)
    assert refused.code == 2
    assert "role" in refused.said


def test_the_environment_names_the_server(server, monkeypatch):
    monkeypatch.setenv("CROSSAN_SERVICE", str(server.data))
    assert invoke(app, "ls", "--json").code == 0
