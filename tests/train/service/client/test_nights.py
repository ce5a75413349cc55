"""``crossan nights`` and ``crossan triggers`` against a server that runs."""

import re

import pytest

from crossan.train.service.client import nights, triggers

TINY = ("--dataset", "shop", "--set", "model.kind=popularity", "--memory", "0.5", "--no-update")


def test_a_night_from_its_beginning_to_its_end(call):
    night = call(nights.app, "begin", *TINY, "--label", "sleep 600", "--json").json
    assert [run["step"] for run in night["runs"]] == [
        "train",
        "evaluate",
        "gate",
        "refit",
        "promote",
    ]
    assert night["reason"] == "begun by admin"
    shown = call(nights.app, "show", night["id"]).out
    assert re.search(r"^ *\d+ +promote +waiting", shown, re.M)
    listed = call(nights.app, "ls").out.splitlines()
    assert "begun by admin" in listed[1]
    cancelled = call(nights.app, "cancel", night["id"])
    assert cancelled.out.startswith(f"night {night['id']} is ")
    assert call(nights.app, "ls", "--before", night["id"]).said == "no nights\n"
    page = call(nights.app, "ls", "--limit", "1", "--json").json
    assert [one["id"] for one in page["nights"]] == [night["id"]]
    assert call(nights.app, "show", night["id"], "--json").json["id"] == night["id"]


def test_a_trigger_from_its_addition_to_its_end(call):
    assert call(triggers.app, "ls").said == "no triggers\n"
    added = call(
        triggers.app,
        "add",
        "nightly",
        *TINY,
        "--cron",
        "30 2 29 2 *",
        "--timezone",
        "Europe/Berlin",
    )
    assert added.out == "trigger nightly is added\n"
    assert (
        call(triggers.app, "add", "growth", *TINY, "--grown-by", "500", "--json").json["name"]
        == "growth"
    )
    again = call(triggers.app, "add", "growth", *TINY, "--grown-by", "500")
    assert again.code == 7
    listed = call(triggers.app, "ls").out
    due = r"(in \d+ days|29 Feb 20\d\d)"
    assert re.search(rf"nightly +at 30 2 29 2 \* \(Europe/Berlin\) +shop +{due}", listed)
    assert "when there are 500 more interactions" in listed
    begun = call(triggers.app, "run", "nightly")
    assert re.fullmatch(r"night \d+ has begun\n", begun.out)
    call(nights.app, "cancel", begun.out.split()[1])
    assert call(triggers.app, "rm", "growth").out == "trigger growth is removed\n"
    assert call(triggers.app, "rm", "nightly", "--json").json["name"] == "nightly"
    assert call(triggers.app, "ls", "--json").json == {"triggers": []}


@pytest.mark.parametrize(
    ("app", "words", "said"),
    [
        (nights.app, ("show", "99"), "no such night"),
        (nights.app, ("cancel", "99"), "no such night"),
        (nights.app, ("begin", "--dataset", "nowhere"), "no dataset folder of this name"),
        (nights.app, ("begin", "--dataset", "shop", "--extract", "image"), "expected a backbone"),
        (triggers.app, ("run", "none"), "no such trigger"),
        (triggers.app, ("rm", "no/slash?"), ""),
        (triggers.app, ("add", "bad name", *TINY, "--grown-by", "5"), "name: expected"),
        (triggers.app, ("add", "x", *TINY, "--cron", "99 * * * *"), "cron"),
        (triggers.app, ("add", "x", *TINY), "expected one of --cron"),
    ],
)  # fmt: skip
def test_what_is_refused_is_exit_code_2(call, app, words, said):
    refused = call(app, *words)
    assert refused.code == 2
    assert said in refused.said
