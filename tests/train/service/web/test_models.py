"""The routes of the registry and of recommendations."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from crossan.train.service.serving import Serving
from crossan.train.service.web.app import build_app, guarded
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.tokens import Tokens
from support.finished_runs import metrics_of
from support.registered import RANKS, a_refit, a_row, a_run, change_a_byte
from support.service import small_service
from support.started import CEILING_S, wait_until
from support.tiny_recommender import TINY

from .conftest import TOKENS, client_of


@pytest.fixture
def shop(tmp_path, portal, monkeypatch):
    """A service with three trainings that succeeded, and a recommender that starts in a moment."""
    # Of a busy machine a moment is longer.
    name = "crossan.train.service.serving.serving._PATIENCE_SECONDS"
    monkeypatch.setattr(name, CEILING_S)
    service = small_service(tmp_path / "shop")
    service.serving = Serving(service.registry, service.folder, program=TINY)
    service.start()
    tokens = Tokens((TOKENS[role], Identity(role.value, role)) for role in Role)
    guard = guarded(build_app(service), service, tokens, lambda *answer: None)
    runs = []
    for number in range(3):
        row = a_row(service.database, refit="all" if number == 2 else "none")
        a_run(service.folder.output(row.id), seed=number)
        runs.append(row.id)
    a_refit(service.folder.output(runs[2]) / "refit", "all")
    yield SimpleNamespace(
        service=service,
        runs=runs,
        admin=client_of(guard, portal, "admin"),
        read=client_of(guard, portal, "read"),
        submit=client_of(guard, portal, "submit"),
    )
    service.stop()


def register_all(shop):
    return [shop.admin.post("/v1/models", json={"run": run}).json()["version"] for run in shop.runs]


def promote(shop, version, expected):
    body = {"version": version, "expected_revision": expected}
    return shop.admin.post("/v1/aliases/production/promote", json=body)


def test_a_training_becomes_a_version_once(shop):
    first = shop.admin.post("/v1/models", json={"run": shop.runs[0]})
    assert (first.status_code, first.headers["location"]) == (201, "/v1/models/1")
    again = shop.admin.post("/v1/models", json={"run": shop.runs[0]})
    assert (again.status_code, again.json()) == (200, first.json())
    model = shop.read.get("/v1/models/1").json()
    assert (model["run"], model["model"], model["aliases"]) == (shop.runs[0], "sasrec", [])
    assert model["created_by"] == "admin"
    assert model["card"]["figures"]["test"] == pytest.approx(metrics_of(RANKS))
    assert "judged/checkpoints/best/model.safetensors" in model["card"]["sha256"]


def test_a_refit_is_served_and_has_no_figures_of_its_own(shop):
    register_all(shop)
    card = shop.read.get("/v1/models/3").json()["card"]
    assert card["served"] == {"is_refitted": True, "trained_on": "everything"}
    assert card["figures"]["of"] == "judged"


def test_what_is_no_training_that_succeeded_is_no_version(shop):
    unknown = shop.admin.post("/v1/models", json={"run": 99})
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (
        422, "run 99: no such run",
    )  # fmt: skip
    shop.service.database.write(lambda c: c.execute("UPDATE runs SET state = 'failed'"))
    failed = shop.admin.post("/v1/models", json={"run": shop.runs[0]})
    assert failed.status_code == 409
    assert "expected a training that succeeded, found a step train that is failed" in failed.text
    assert shop.read.get("/v1/models").json() == {"models": [], "before": None}


def test_versions_come_in_pages(shop):
    register_all(shop)
    page = shop.read.get("/v1/models?limit=2").json()
    assert [model["version"] for model in page["models"]] == [3, 2]
    assert "sha256" not in page["models"][0]["card"]
    rest = shop.read.get(f"/v1/models?limit=2&before={page['before']}").json()
    assert ([model["version"] for model in rest["models"]], rest["before"]) == ([1], None)
    assert shop.read.get("/v1/models/9").status_code == 404


def test_an_alias_moves_for_who_has_seen_it(shop):
    register_all(shop)
    moved = promote(shop, 1, 0)
    assert (moved.status_code, moved.json()["revision"]) == (200, 1)
    late = promote(shop, 2, 0)
    assert late.status_code == 409
    assert "expected revision 0, found 1" in late.json()["error"]["message"]
    assert promote(shop, 2, 1).json()["version"] == 2
    assert shop.read.get("/v1/models/2").json()["aliases"] == ["production"]
    back = shop.admin.post("/v1/aliases/production/rollback", json={"expected_revision": 2})
    assert (back.json()["version"], back.json()["revision"]) == (1, 3)
    none = shop.admin.post("/v1/aliases/production/rollback", json={"expected_revision": 3})
    assert none.status_code == 409
    assert "expected an earlier version to go back to" in none.text
    assert [alias["version"] for alias in shop.read.get("/v1/aliases").json()] == [1]
    moves = shop.read.get("/v1/aliases/production/moves").json()
    assert [move["version"] for move in moves] == [1, 2, 1]
    log = shop.read.get("/v1/audit?limit=3").json()["entries"]
    assert [entry["action"] for entry in log] == ["rollback", "promote", "promote"]
    assert log[0]["details"] == {"version": 1, "before": 2, "revision": 3}


def test_one_of_many_promotions_at_once_wins(shop):
    register_all(shop)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: promote(shop, n % 3 + 1, 0).status_code, range(24)))
    assert sorted(set(statuses)) == [200, 409]
    assert statuses.count(200) == 1


def test_what_a_promotion_names_has_to_be_there_and_whole(shop):
    register_all(shop)
    unknown = promote(shop, 9, 0)
    assert (unknown.status_code, "model 9: no such version" in unknown.text) == (422, True)
    change_a_byte(shop.service.folder.model(2) / "judged/config.toml")
    damaged = promote(shop, 2, 0)
    assert damaged.status_code == 409
    assert damaged.json()["error"]["remedy"] == "Promote another version: crossan models ls"
    assert shop.admin.post("/v1/aliases/a.b/promote", json={}).status_code == 422


def test_only_an_admin_moves_anything(shop):
    for path in ("/v1/models", "/v1/aliases/production/promote", "/v1/aliases/production/rollback"):
        assert shop.submit.post(path, json={}).status_code == 403


def test_nobody_answers_where_no_model_is_in_production(shop):
    answer = shop.read.get("/v1/recommend?user=u")
    assert answer.status_code == 503
    assert answer.json()["error"] == {
        "message": "no model is in production",
        "remedy": "Promote one: crossan models ls, then crossan models promote",
    }


def test_the_model_in_production_answers(shop):
    register_all(shop)
    promote(shop, 2, 0)
    answer = shop.read.get("/v1/recommend?user=u&top=2&mask_history=none").json()
    assert answer == {
        "model": {"version": 2, "run": shop.runs[1]},
        "items": [
            {"item_id": "v2-0", "title": None, "score": 0.0},
            {"item_id": "v2-1", "title": None, "score": -1.0},
        ],
        "unknown": [],
    }
    posted = shop.read.post("/v1/recommend", json={"history": ["a", "b"], "top": 1}).json()
    assert [item["item_id"] for item in posted["items"]] == ["v2-0"]
    new = {"history": ["a", "b"], "top": 2, "new": 1}
    for of_new in (
        shop.read.get("/v1/recommend?user=u&top=2&new=1"),
        shop.read.post("/v1/recommend", json=new),
    ):
        assert [item["item_id"] for item in of_new.json()["items"]] == ["v2-0", "v2-new-1"]
    promote(shop, 3, 1)
    wait_until(lambda: shop.service.serving.loaded() == 3, "model 3 is loaded")
    assert shop.read.get("/v1/recommend?user=u").json()["model"]["version"] == 3
    assert shop.read.get("/v1/recommend?user=nobody").status_code == 404


def test_a_wish_that_is_none_is_refused(shop):
    for body in (
        {},
        {"history": []},
        {"history": ["a"] * 1001},
        {"history": [""]},
        {"history": ["a" * 1025]},
        {"history": ["a"], "top": 0},
        {"history": ["a"], "top": 1001},
        {"history": ["a"], "new": -1},
        {"history": ["a"], "top": 5, "new": 6},
        {"history": ["a"], "top": 0, "new": 6},
        {"history": ["a"], "mask_history": "some"},
        {"history": ["a"], "user": "u"},
        {"history": "a"},
    ):
        answer = shop.read.post("/v1/recommend", json=body)
        assert answer.status_code == 422, body
        assert answer.json()["error"]["field"], body
    for query in ("new=11", "top=3&new=4", "new=-1", "new=1001"):
        answer = shop.read.get(f"/v1/recommend?user=u&{query}")
        assert answer.status_code == 422, query
        assert answer.json()["error"]["message"].startswith("new: expected"), query


def test_a_version_outlives_its_run_folder(shop):
    register_all(shop)
    for run in shop.runs:
        # The queue writes it soon after a run was queued, not at once.
        wait_until((shop.service.folder.run(run) / "run.json").exists, "the record of the run")
        shutil.rmtree(shop.service.folder.run(run))
    promote(shop, 1, 0)
    assert shop.read.get("/v1/recommend?user=u").json()["model"]["version"] == 1
