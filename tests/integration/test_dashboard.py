"""A browser walks the dashboard of a service that runs, as a person would."""

import re

import pytest

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from support.browser import Browser, needs_chromium
from support.dashboard import HOSTILE
from support.dashboard_service import DashboardServer
from support.registered import registered

pytestmark = needs_chromium

PAGES = [
    "/",
    "/runs",
    "/runs/new",
    "/nights",
    "/nights/new",
    "/models",
    "/recommend",
    "/triggers",
    "/triggers/new",
    "/stores",
    "/compare",
    "/audit",
]
LINE = "document.querySelector('#curve .line')?.getAttribute('d') || ''"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with two versions of models, none of which is in production yet."""
    folder = tmp_path_factory.mktemp("server")
    data = ServiceFolder(folder / "service")
    data.path.mkdir()
    database = Database(data.database)
    registered(Registry(database, data), database, folder, 2)
    database.close()
    process = DashboardServer(folder).kept()
    yield process
    assert process.stop() == 0, process.log.read_text()


@pytest.fixture(scope="module")
def window(server, tmp_path_factory):
    """A browser that has logged in as an admin."""
    with Browser(tmp_path_factory.mktemp("profile")) as window:
        window.size(1200)
        window.go(f"{server.url}/runs")
        assert "Log in" in window.text()
        window.type_into("#token", server.tokens["admin"])
        window.press("button")
        assert window.run("location.pathname") == "/runs"
        yield window


@pytest.fixture
def browser(window):
    """The browser, whose console says nothing of an error while a test uses it."""
    # Before the log-in, 401 is what a browser calls an error.
    window.problems.clear()
    yield window
    assert window.problems == []
    window.size(1200)


def submit(server, label):
    with server.client("submit") as client:
        spec = {"dataset": "shop", "settings": {"model.kind": "popularity"}, "label": label}
        spec["limits"] = {"memory_gib": 0.1}
        return client.post("/v1/runs", json=spec).raise_for_status().json()["id"]


def test_a_run_is_queued_watched_while_it_learns_and_cancelled(server, browser):
    browser.go(f"{server.url}/runs")
    browser.press('a[href="/runs/new"]')
    browser.type_into("#settings", 'model.kind = "popularity"')
    browser.type_into("#label", "learn <b>this</b>")
    browser.run("document.querySelector('#memory_gib').value = '0.1'")
    browser.press("main form button")
    run_id = int(browser.run("location.pathname").rpartition("/")[2])
    assert "It is in the queue." in browser.text()
    assert browser.text("p.label") == "learn <b>this</b>"
    browser.wait("document.querySelector('h1 .state').textContent === 'running'")
    assert "No epoch has ended yet." in browser.text("#curve")

    # Nothing is loaded anew: the page keeps what the script of the page wrote here.
    browser.run("window.isStillHere = true")
    browser.run("document.querySelector('#act-cancel').open = true")
    server.let_learn(run_id, 1)
    server.let_learn(run_id, 2)
    browser.wait("document.querySelectorAll('#curve svg').length === 2")
    browser.wait("document.querySelector('#log-lines')?.innerText.includes('epoch 2')")
    before = browser.run(LINE)
    server.let_learn(run_id, 3)
    browser.wait(f"({LINE}) !== {before!r}")
    browser.wait("document.querySelector('#log-lines').innerText.includes('epoch 3')")
    assert "best: epoch 3" in browser.text("#curve")
    assert browser.run("window.isStillHere")
    assert browser.run("document.querySelector('#act-cancel').open")

    browser.press("#act-cancel button")
    browser.wait("document.querySelector('h1 .state').textContent === 'cancelled'")
    assert "cancelled by admin" in browser.text()
    assert browser.run("document.querySelector('#act-cancel')") is None


def test_a_page_that_is_open_shows_what_the_queue_does_and_keeps_the_focus(server, browser):
    browser.go(server.url)
    browser.run("document.querySelector('nav a[href=\"/runs\"]').focus()")
    run_id = submit(server, "learn of the queue")
    browser.wait(f"document.querySelector('#running a[href=\"/runs/{run_id}\"]')")
    browser.run(f"document.querySelector('#running a[href=\"/runs/{run_id}\"]').focus()")
    other = submit(server, "learn behind it")
    browser.wait(f"document.querySelector('#running a[href=\"/runs/{other}\"]')")
    assert browser.run("document.activeElement.getAttribute('href')") == f"/runs/{run_id}"
    with server.client() as client:
        for one in (run_id, other):
            client.post(f"/v1/runs/{one}/cancel")
    browser.wait("document.querySelector('#running').innerText.includes('Nothing runs.')")


def test_a_model_is_promoted_and_rolled_back(server, browser):
    browser.go(f"{server.url}/models")
    browser.press('a[href="/models/1/promote"]')
    assert "No model is in production." in browser.text()
    browser.press("main form button")
    assert "The alias names this model now." in browser.text()
    browser.press('a[href="/models/2/promote"]')
    assert "Model 1 answers until model 2 is loaded." in browser.text()
    browser.press("main form button")
    browser.go(server.url)
    assert browser.text("#production .big a") == "Model 2"
    browser.go(f"{server.url}/models")
    browser.press('a[href="/aliases/production/rollback"]')
    assert "Roll production back to model 1?" in browser.text()
    browser.press("main form button")
    assert re.search(r"production\s*→\s*model 1", browser.text())
    browser.go(f"{server.url}/audit")
    assert "rollback" in browser.text()


def test_an_open_page_is_told_of_a_promotion_at_once(server, browser):
    browser.go(f"{server.url}/models")
    # The look of each 30 seconds never comes where the clock of the page stands still.
    browser.run("{ const now = Date.now(); Date.now = () => now; }")
    with server.client() as client:
        aliases = {one["name"]: one for one in client.get("/v1/aliases").json()}
        revision = aliases.get("staging", {"revision": 0})["revision"]
        move = {"version": 2, "expected_revision": revision}
        assert client.post("/v1/aliases/staging/promote", json=move).status_code == 200
    browser.wait("document.querySelector('.aliases')?.innerText.includes('staging')")


def test_hostile_labels_run_no_script(server, browser):
    labels = [text.replace("\0", "") for text in HOSTILE]
    runs = [submit(server, label[:200]) for label in labels]
    for path in ["/", "/runs", *(f"/runs/{run_id}" for run_id in runs)]:
        browser.go(f"{server.url}{path}")
        assert (
            browser.run("document.querySelector('main img, main script, main svg[onload]')") is None
        )
    # That a script in the page would not run even if one stood there: the policy of the answer.
    image = '<img src="data:," onerror="alert(1)">'
    browser.run(f"document.body.insertAdjacentHTML('beforeend', {image!r})")
    browser.wait_for_problem("Content Security Policy")
    assert not [one for one in browser.problems if "javascript" in str(one.get("type", ""))]
    browser.problems.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(server, browser, scheme):
    submit(server, "w" * 200)
    browser.size(360, 740)
    browser.theme(scheme)
    for path in [*PAGES, "/runs/1", "/models/1", "/models/2/promote"]:
        browser.go(f"{server.url}{path}")
        assert browser.overflow() <= 0, path
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_everything_can_be_reached_by_the_keyboard(server, browser):
    browser.go(f"{server.url}/models")
    browser.key("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    reached = set()
    for _ in range(60):
        reached.add(
            browser.run(
                "document.activeElement.getAttribute('href') || document.activeElement.tagName"
            )
        )
        ring = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none" or browser.run("document.activeElement === document.body")
        browser.key("Tab", 9)
    assert {"/", "/runs", "/audit", "BUTTON", "/models/1", "/models/2/promote"} <= reached


def test_pages_are_the_same_without_a_script(server, browser):
    run_id = submit(server, "learn without a script")
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    server.let_learn(run_id, 1)
    with server.client() as client, client.stream("GET", f"/v1/runs/{run_id}/events") as events:
        assert any(line == "event: curve" for line in events.iter_lines())
    browser.go(f"{server.url}/runs/{run_id}")
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert "running" in browser.text("h1")
    assert browser.run("document.querySelectorAll('#curve svg').length") == 2
    with server.client() as client:
        client.post(f"/v1/runs/{run_id}/cancel")
