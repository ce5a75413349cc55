"""The addresses of the dashboard, on a service that runs."""

import re
from pathlib import Path

import pytest

from crossan.train.service.queue.rows import State, get_run
from crossan.train.service.web.table import RouteTable
from support.dashboard import ANSWER, HOSTILE
from support.nightly import identity_of, write_store_versions
from support.page_rules import DashboardPage, broken_rules
from support.registered import registered
from support.started import wait_until

FORM = {
    "dataset": "shop", "recipe": "", "settings": 'model.kind = "popularity"', "seed": "0", "init": "none", "refit": "none",
    "cpus": "1", "memory_gib": "0.5", "gpus": "0", "hours": "1", "silent_minutes": "5", "label": "",
}  # fmt: skip
NIGHT = FORM | {
    "name": "nightly", "kind": "cron", "cron": "30 2 29 2 *", "timezone": "UTC", "modality": "", "grown_by": "", "margin": "0.002",
}  # fmt: skip
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


def browse(door, role="admin"):
    """Return a client that sends what a browser sends."""
    return door.client(role, accept="text/html", origin="http://localhost")


def ended(door, run_id):
    """Wait until a run has ended, and return it."""

    def row():
        return door.service.database.read(lambda connection: get_run(connection, run_id))

    wait_until(lambda: row().ended is not None, f"run {run_id} has ended", None)
    return row()


@pytest.mark.parametrize("role", ["read", "submit", "admin"])
def test_every_page_of_a_service_without_anything_keeps_the_rules(shared_door, role):
    client = browse(shared_door, role)
    for path in PAGES:
        answer = client.get(path)
        if answer.status_code == 403:
            assert path in {"/runs/new", "/nights/new", "/triggers/new"}
            assert role != "admin"
            continue
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert broken_rules(answer.text) == [], path


def test_what_pages_load_is_there_and_nothing_else(door):
    client = browse(door)
    page = DashboardPage(client.get("/").text)
    loaded = {one["href"] for one in page.all("link")} | {one["src"] for one in page.all("script")}
    assert loaded == {"/static/style.css", "/static/live.js", "/static/icon.svg"}
    for path in loaded:
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.content
    for name in (
        "",
        "base.html.jinja",
        "..%2fanswers.py",
        "%2e%2e/answers.py",
        "style.css/",
        "live.js%00",
    ):
        assert client.get(f"/static/{name}").status_code in {400, 404}, name


def test_the_form_of_a_run_queues_it_once(door):
    client = browse(door)
    page = DashboardPage(client.get("/runs/new").text)
    key = next(one["value"] for one in page.all("input") if one["name"] == "key")
    assert "shop" in [one["value"] for one in page.all("option")]
    addresses = {
        client.post("/runs", data=FORM | {"key": key}).headers["location"] for _ in range(3)
    }
    assert len(addresses) == 1
    address = addresses.pop()
    run_id = int(re.fullmatch(r"/runs/(\d+)\?done=queued", address)[1])
    assert ended(door, run_id).state is State.SUCCEEDED
    shown = DashboardPage(client.get(address).text)
    assert "It is in the queue." in shown.words()
    assert broken_rules(shown.content) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "nowhere"}, "no dataset folder of this name"),
        ({"settings": "lr ="}, "expected lines as in a config.toml"),
        ({"settings": "data.cache = '/etc'"}, "data.cache"),
        ({"cpus": "many"}, "cpus: expected a whole number"),
    ],
)
def test_a_form_with_a_mistake_is_shown_again_with_what_was_sent(shared_door, changes, said):
    answer = browse(shared_door).post(
        "/runs", data=FORM | {"key": "k", "label": HOSTILE[4]} | changes
    )
    assert answer.status_code == 422
    page = DashboardPage(answer.text)
    assert said in page.words()
    assert broken_rules(answer.text) == []
    assert HOSTILE[4] in [one.get("value") for one in page.all("input")]
    assert shared_door.service.scheduler.counts().runs[State.QUEUED] == 0


def test_cancelling_a_run_ends_it(door):
    client = browse(door)
    answer = client.post("/runs", data=FORM | {"key": "k", "label": "sleep 600"})
    path = answer.headers["location"].partition("?")[0]
    run_id = int(path.rpartition("/")[2])
    wait_until(lambda: door.service.scheduler.counts().runs[State.RUNNING], "it runs", None)
    assert "sleep 600" in DashboardPage(client.get("/").text).words()
    assert client.post(f"{path}/cancel").headers["location"].startswith(f"{path}?done=")
    assert ended(door, run_id).state is State.CANCELLED
    page = DashboardPage(client.get(path).text)
    assert "cancelled by admin" in page.words()
    assert f"{path}/cancel" not in {one["action"] for one in page.all("form")}


def test_a_page_of_what_does_not_exist_says_so(door):
    client = browse(door)
    for path in (
        "/runs/99",
        "/nights/99",
        "/models/99",
        "/models/99/promote",
        "/aliases/production/rollback",
        "/triggers/none/remove",
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert broken_rules(answer.text) == [], path
        assert "There is no such thing" in answer.text
    for path in ("/runs?state=lost", "/runs?before=x", "/runs/0", f"/runs/{2**70}"):
        answer = client.get(path)
        assert answer.status_code == 422, path
        assert broken_rules(answer.text) == [], path


def test_promoting_asks_first_and_refuses_what_has_moved_meanwhile(door, tmp_path):
    client = browse(door)
    models = registered(door.service.registry, door.service.database, tmp_path, 2)
    versions = [model.version for model in models]
    question = DashboardPage(client.get(f"/models/{versions[0]}/promote").text)
    form = next(one for one in question.all("form") if one["action"] != "/logout")
    fields = {one["name"]: one["value"] for one in question.all("input")}
    assert fields == {"expected_revision": "0"}
    assert client.post(form["action"], data=fields).headers["location"] == "/models?done=promoted"
    late = client.post(f"/models/{versions[1]}/promote", data=fields)
    assert late.status_code == 409
    assert broken_rules(late.text) == []
    assert door.service.registry.alias("production").version == versions[0]

    again = client.get(f"/models/{versions[0]}/promote").headers["location"]
    assert "in production already" in DashboardPage(client.get(again).text).words()

    client.post(f"/models/{versions[1]}/promote", data={"expected_revision": "1"})
    page = DashboardPage(client.get("/models").text)
    assert broken_rules(page.content) == []
    question = DashboardPage(client.get("/aliases/production/rollback").text)
    assert f"Roll production back to model {versions[0]}?" in question.words()
    fields = {one["name"]: one["value"] for one in question.all("input")}
    answer = client.post("/aliases/production/rollback", data=fields)
    assert answer.headers["location"] == "/models?done=rolled-back"
    assert door.service.registry.alias("production").version == versions[0]
    audit = DashboardPage(client.get("/audit").text)
    assert broken_rules(audit.content) == []
    assert "rollback" in audit.words()
    overview = DashboardPage(client.get("/").text)
    assert f"Model {versions[0]}" in overview.words()
    assert broken_rules(client.get(f"/models/{versions[0]}").text) == []


def test_a_trigger_is_added_run_and_removed(door):
    client = browse(door)
    assert client.post("/triggers", data=NIGHT).headers["location"] == "/triggers?done=added"
    again = client.post("/triggers", data=NIGHT)
    assert again.status_code == 409
    assert broken_rules(again.text) == []
    page = DashboardPage(client.get("/triggers").text)
    assert "Begins a night on shop at 30 2 29 2 * (UTC)" in page.words()
    assert broken_rules(page.content) == []
    begun = client.post("/triggers/nightly/run").headers["location"]
    assert re.fullmatch(r"/nights/\d+\?done=begun", begun)
    night = DashboardPage(client.get(begun).text)
    assert broken_rules(night.content) == []
    assert "run by admin" in night.words()
    client.post(f"{begun.partition('?')[0]}/cancel")
    assert broken_rules(client.get("/nights").text) == []
    assert broken_rules(client.get("/triggers/nightly/remove").text) == []
    assert client.post("/triggers/nightly/remove").headers["location"] == "/triggers?done=removed"
    assert "No trigger yet" in client.get("/triggers").text


def test_the_form_of_a_night_begins_it(door):
    client = browse(door)
    assert broken_rules(client.get("/nights/new").text) == []
    night = NIGHT | {"cold_margin": "0.1", "label": "sleep 600"}
    wrong = client.post("/nights", data=night | {"dataset": "nowhere", "label": HOSTILE[4]})
    assert wrong.status_code == 422
    assert "no dataset folder of this name" in DashboardPage(wrong.text).words()
    assert broken_rules(wrong.text) == []

    begun = client.post("/nights", data=night).headers["location"]
    assert begun == "/nights/1?done=begun"
    assert "begun by admin" in DashboardPage(client.get(begun).text).words()
    overview = DashboardPage(client.get("/").text).words()
    assert "Night under way" in overview
    assert "Step 1 of" in overview
    client.post("/nights/1/cancel")


def test_a_form_offers_the_stores_and_queues_what_was_chosen(door):
    cache = Path(door.service.settings.cache)
    write_store_versions(cache, 2)
    fingerprint = identity_of().fingerprint
    client = browse(door)
    page = DashboardPage(client.get("/runs/new").text)
    assert fingerprint in [one["value"] for one in page.all("option")]
    assert "newest version 2" in page.words()
    model = 'model.kind = "frozen"\ndata.modality = ["text"]'
    chosen = {"settings": model, "store-text": fingerprint, "version-text": "1", "key": "k"}
    address = client.post("/runs", data=FORM | chosen).headers["location"]
    run_id = int(re.fullmatch(r"/runs/(\d+)\?done=queued", address)[1])
    assert ended(door, run_id).spec["stores"] == [
        {"modality": "text", "fingerprint": fingerprint, "version": 1}
    ]
    late = client.post("/runs", data=FORM | chosen | {"version-text": "9", "key": "l"})
    assert late.status_code == 422
    assert "expected version 9 of the text store" in DashboardPage(late.text).words()
    assert 'value="9"' in late.text


def test_recommendations_are_tried_and_refusals_are_shown_with_the_form(door, monkeypatch):
    client = browse(door, "read")
    nobody = client.get("/recommend?user=u1")
    assert nobody.status_code == 503
    assert "no model is in production" in DashboardPage(nobody.text).words()
    assert broken_rules(nobody.text) == []
    both = client.get("/recommend?user=u1&history=i1")
    assert both.status_code == 422
    assert "expected a user or a history, found both" in DashboardPage(both.text).words()

    asked = []
    monkeypatch.setattr(
        door.service.serving, "ask", lambda request: asked.append(request) or ANSWER
    )
    page = client.get("/recommend", params={"user": HOSTILE[0], "top": 5})
    assert broken_rules(page.text) == []
    words = DashboardPage(page.text).words()
    assert HOSTILE[0] in words
    assert "Tide & anchor" in words
    client.get("/recommend", params={"history": "i1\ni2", "mask_history": "none", "new": 3})
    assert asked == [
        {"user": HOSTILE[0], "top": 5, "new": 0, "mask_history": "all"},
        {"history": ["i1", "i2"], "top": 10, "new": 3, "mask_history": "none"},
    ]
    more = client.get("/recommend", params={"user": "u1", "top": 5, "new": 6})
    assert more.status_code == 422
    assert "new: expected at most the 5 items of top, got 6" in DashboardPage(more.text).words()


def test_a_form_of_another_site_is_refused(door):
    client = browse(door)
    for entry in RouteTable(door.app.routes):
        if entry.methods == {"POST"} and not entry.template.startswith("/v1/"):
            path = re.sub(r"\{[^}]*\}", "1", entry.template)
            answer = client.post(path, headers={"origin": "http://evil.example.org"})
            assert answer.status_code == 403, path
