"""A night on the sample from end to end: ten new items and 500 interactions become a new model.

The server, the commands and the recommender are the real ones, and so is the browser that watches
them. All tests look at one night, whose training waits until a test lets it go on.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.browser import Browser, needs_chromium
from support.night import NIGHT, Gate, Served
from support.started import CEILING_S, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

GROWN = {"name": "grown", "kind": "log", "grown_by": 400, "night": NIGHT}
NEW = {f"new{number}" for number in range(10)}
HISTORY = ["new0", "new1", "new2", "new3"]
LINE = "document.querySelector('#curve .line')?.getAttribute('d') || ''"
MOVING_PAGES = ["/", "/runs", "/runs/9", "/nights", "/nights/2", "/triggers", "/stores"]
"""What looks otherwise while the night is under way."""
PAGES = [
    *MOVING_PAGES, "/runs/new", "/nights/new", "/models", "/models/1", "/models/1/promote", "/models/2", "/recommend?user=n001",
    "/triggers/new", "/compare?run=2", "/audit",
]  # fmt: skip
PICTURES = os.environ.get("CROSSAN_PICTURES")
"""Folder that gets a picture of each page at each stage of the night, for people to look at."""


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    return Gate(tmp_path_factory.mktemp("gate") / "held")


@pytest.fixture(scope="module")
def served(tmp_path_factory, sampled, gate):
    """A server with a model in production, that of its first night, and two triggers."""
    served = Served(tmp_path_factory.mktemp("served"), sampled, gate.environment).kept()
    try:
        gate.open()
        first = served.post("/v1/nights", {**NIGHT, "extract": []})
        assert served.ended_night(first["id"])["state"] == "promoted"
        gate.close()
        served.post("/v1/triggers", GROWN)
        # At a time of day that does not come while the tests run.
        far = datetime.now(UTC) + timedelta(hours=12)
        times = f"{far.minute} {far.hour} * * *"
        cron = {"name": "nightly", "kind": "cron", "cron": times, "night": NIGHT}
        served.post("/v1/triggers", cron)
        yield served
    finally:
        gate.open()
        served.client.close()
        served.stop()


@pytest.fixture(scope="module")
def night(served):
    """The night that the appended items and interactions begin, with its training under way."""
    served.append(10, 500)

    def training():
        answer = served.client.get("/v1/nights/2")
        runs = answer.json()["runs"] if answer.status_code == 200 else []
        return next((run for run in runs if run["step"] == "train" and run["started"]), None)

    wait_until(training, "the night's training begins", served.process, 0.2, 2 * CEILING_S)
    return training()


@pytest.fixture(scope="module")
def window(served, night, tmp_path_factory):
    """A browser in which somebody has logged in, by the keyboard alone."""
    with Browser(tmp_path_factory.mktemp("profile")) as window:
        window.size(1200)
        window.go(served.url)
        window.wait("document.activeElement.id === 'token'")  # once it is drawn
        window.write(served.tokens["admin"])
        window.enter()
        yield window


@pytest.fixture
def browser(window):
    """The browser, whose console says nothing of an error while a test uses it."""
    # Before the log-in, 401 is what a browser calls an error.
    window.problems.clear()
    yield window
    assert window.problems == []
    window.size(1200)


def look_at(pages, browser, served, stage):
    """Look at each page as wide as a phone, and picture it where a folder is named for that."""
    for path in pages:
        browser.size(360, 740)
        browser.go(f"{served.url}{path}")
        assert browser.overflow() <= 0, path
        assert browser.unnamed() == [], path
        for width in (360, 1200) if PICTURES else ():
            browser.size(width)
            for scheme in ("light", "dark"):
                browser.theme(scheme)
                name = re.sub(r"\W+", "-", path).strip("-") or "overview"
                folder = Path(PICTURES, stage)
                folder.mkdir(parents=True, exist_ok=True)
                browser.shot(folder / f"{name}-{width}-{scheme}.png")
    browser.size(1200)


@needs_chromium
def test_a_browser_watches_the_night_until_its_model_is_in_production(served, night, gate, browser):
    browser.go(f"{served.url}/triggers")
    grown, nightly = browser.text("#triggers li:nth-child(1)"), browser.text("#triggers li + li")
    assert "Begins a night on sample when there are 400 more interactions." in grown
    assert re.search(r"Last\n.* ago \d{4}-\d\d-\d\d \d\d:\d\d UTC\s+night 2", grown)
    assert re.search(r"Next\nin 1[12] h\s+\d{4}-\d\d-\d\d \d\d:\d\d UTC", nightly)

    browser.go(served.url)
    assert browser.text("#production .big").startswith("Model 1")
    assert browser.text("#latest h2") == "Night under way"
    assert "Step 3 of 7, train, running for" in browser.text("#latest")
    waiting = browser.run("[...document.querySelectorAll('#queue tbody tr')].map(r => r.innerText)")
    assert [
        re.search(r"waiting\s+(\w+) on sample, night 2\s+run \d+", row)[1] for row in waiting
    ] == ["evaluate", "gate", "refit", "promote"]
    look_at(MOVING_PAGES, browser, served, "1-under-way")

    browser.go(served.url)
    browser.press("#running a")
    assert "No epoch has ended yet." in browser.text("#curve")
    # Nothing is loaded anew: the page keeps what the script of the page wrote here.
    browser.run("window.isStillHere = true")
    gate.let_through(1)
    gate.let_through(2)
    browser.wait("document.querySelectorAll('#curve svg').length === 2", CEILING_S)
    browser.wait("document.querySelector('#log-lines')?.innerText.includes('epoch 2/3')", CEILING_S)
    before = browser.run(LINE)
    gate.open()
    browser.wait(f"({LINE}) !== {before!r}", CEILING_S)
    browser.wait("document.querySelector('h1 .state').textContent === 'succeeded'", CEILING_S)
    assert browser.run("window.isStillHere")

    browser.go(f"{served.url}/nights/2")
    browser.run("window.isStillHere = true")
    browser.wait("document.querySelector('h1 .state').textContent === 'promoted'", 2 * CEILING_S)
    assert browser.run("window.isStillHere")
    assert re.match(r"promoted model 2: NDCG@10 0\.\d+ → 0\.\d+ \(", browser.text("p.reason"))
    assert "10 new items, 500 interactions" in browser.text("p.reason")
    steps = browser.text("#steps .chain")
    for outcome in ("+10 items, +500 interactions", "10 items extracted", "production: model 2"):
        assert outcome in steps
    assert "The gate holds" in browser.text("#verdict")


def test_ten_new_items_become_part_of_a_promoted_and_refitted_model(served, night, gate):
    gate.open()
    ended = served.ended_night(2)
    states = {run["step"]: run for run in served.get("/v1/nights/1")["runs"]}
    assert (states["update"]["state"], states["update"]["reason"]) == (
        "skipped",
        "the inbox is empty",
    )
    assert states["gate"]["reason"] == "no model is in production yet"

    runs = {run["step"]: run for run in ended["runs"]}
    assert ended["state"] == "promoted", json.dumps(ended, indent=1)
    assert ended["reason"] == "500 more interactions"
    assert runs["update"]["result"]["added"] == {"interactions": 500, "users": 100, "items": 10}
    assert runs["extract"]["result"]["stores"][0]["forwarded"] == 10
    assert runs["train"]["result"]["init"] == 1
    assert runs["evaluate"]["result"]["of"] == {"version": 1, "revision": 1}
    assert runs["gate"]["result"]["holds"] is True
    # What is judged has not seen what is held out, what is served has; figures are of the judged.
    assert runs["refit"]["result"]["refit"]["trained_on"] == "all"
    assert "test" not in runs["refit"]["result"]
    assert runs["promote"]["result"]["version"] == 2
    assert ended["summary"].startswith("promoted model 2: NDCG@10 ")
    assert "10 new items, 500 interactions" in ended["summary"]

    alias = next(one for one in served.get("/v1/aliases") if one["name"] == "production")
    assert alias["version"] == 2
    wish = {"history": HISTORY, "top": 10}

    def answered():
        answer = served.client.post("/v1/recommend", json=wish)
        return answer.status_code == 200 and answer.json()["model"]["version"] == 2

    wait_until(answered, "model 2 answers", served.process, pause=0.2)
    recommended = [one["item_id"] for one in served.post("/v1/recommend", wish)["items"]]
    assert set(recommended) & (NEW - set(HISTORY)), recommended

    # The night's own update and extraction begin no other night.
    trigger = next(one for one in served.get("/v1/triggers") if one["name"] == "grown")
    assert (trigger["last_night"], len(served.get("/v1/nights")["nights"])) == (2, 2)


@needs_chromium
def test_the_morning_after_is_told_by_the_dashboard(served, night, gate, browser):
    gate.open()
    ended = served.ended_night(2)
    browser.go(served.url)
    browser.wait("document.querySelector('#production .state.sound')", CEILING_S)
    assert browser.text("#production .big") == "Model 2 answers"
    assert browser.text("#latest .big") == "Night 2 promoted"
    assert ended["summary"].replace("->", "→") in browser.text("#latest")

    browser.press("#production .big a")
    weights = browser.text("table.weights")
    assert re.search(
        r"Judged\s+training items alone\s+measuring, and the gate\s+those below", weights
    )
    assert re.search(r"Served\s+everything\s+answering\s+none: they have seen", weights)
    judged = served.get("/v1/models/2")["card"]["figures"]["test"]["ndcg@10"]
    assert re.search(rf"Test\s+{judged:.4f}", browser.text("table.numbers"))

    browser.go(f"{served.url}/audit")
    promotion = browser.text("tbody tr:first-child")
    assert re.search(r"trigger grown\s+promote\s+alias production\s+version 2", promotion)

    browser.go(f"{served.url}/stores")
    browser.wait("document.querySelector('.state.sound')", CEILING_S)
    store = next(one for one in served.get("/v1/stores") if one["modality"] == "text")
    row = browser.text("tbody tr")
    counts = rf"sound\s+2\s+{store['health']['ok']}\s+0\s+0\s+{store['health']['absent']}"
    assert re.search(counts, row), row
    assert store["health"]["items"] == 310  # the sample's 300 and ten more
    assert "0, 2, 4, 6, 8, 10, 12" in row
    assert "data: generated by crossan, free of rights (CC0-1.0)" in row
    look_at(PAGES, browser, served, "2-morning")


@needs_chromium
def test_by_the_keyboard_alone_somebody_is_recommended_a_new_item(served, night, gate, browser):
    gate.open()
    served.ended_night(2)
    browser.go(served.url)
    browser.wait("document.querySelector('#production .state.sound')", CEILING_S)
    browser.tab_to('nav a[href="/models"]')
    browser.enter()
    browser.tab_to("#history")
    browser.write("\n".join(HISTORY))
    browser.tab_to("form.form button")
    browser.enter()
    assert browser.text("h1") == "Try recommendations"
    assert "Model 2 answered." in browser.text("#answer")
    rows = "[...document.querySelectorAll('#answer tbody td:first-of-type')].map(c => c.innerText)"
    recommended = browser.run(rows)
    assert len(recommended) == 10
    assert set(recommended) & (NEW - set(HISTORY)), recommended
    titles = browser.text("#answer")
    assert re.search(r"new\d\s+(\w+ ){4}new \d", titles), titles

    browser.tab_to("#user")
    browser.write("n001")
    browser.tab_to("#history")
    browser.run("document.activeElement.select()")
    browser.key("Backspace", 8)
    browser.tab_to("form.form button")
    browser.enter()
    assert "Recommended to n001" in browser.text("#answer")


def test_the_server_ends_and_leaves_nothing_behind(served, night):
    served.stop()
