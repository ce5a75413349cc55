import sqlite3

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    CrossanError,
    DataError,
    IncompatibleError,
    RemoteError,
    ResourceError,
    StoreNotFoundError,
    UsageError,
)
from crossan.train.service.database import DatabaseUnusableError, DiskFullError
from crossan.train.service.specs import NightSpec, RunSpec, TriggerSpec
from crossan.train.service.web.errors import add_error_handlers
from crossan.train.service.web.problems import first_problem


def answer_to(error):
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    def fail():
        raise error

    return TestClient(app, raise_server_exceptions=False).get("/")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("run 7: no such run", remedy="crossan runs ls"), 404),
        (StoreNotFoundError("no store"), 404),
        (ConfigError("seed: expected less"), 422),
        (DataError("bad"), 422),
        (BusyError("moved"), 409),
        (IncompatibleError("newer"), 409),
        (DiskFullError("full", remedy="Free some space"), 507),
        (DatabaseUnusableError("damaged", remedy="--restore newest"), 503),
        (ResourceError("memory"), 503),
        (RemoteError("silent"), 502),
        (CrossanError("any"), 500),
    ],
)
def test_each_kind_of_error_has_its_status_and_all_have_one_shape(error, status):
    answer = answer_to(error)

    assert answer.status_code == status
    assert answer.json() == {"error": {"message": error.message, "remedy": error.remedy}}


def test_the_field_that_an_error_names_is_told():
    error = ConfigError("settings.x: unknown")
    error.field = "settings.x"

    assert answer_to(error).json()["error"]["field"] == "settings.x"


def test_an_error_of_ours_is_logged_under_the_id_that_the_client_gets(caplog):
    answer = answer_to(sqlite3.OperationalError("no such table: secret"))

    assert answer.status_code == 500
    message = answer.json()["error"]["message"]
    number = message.split()[4]
    assert f"unexpected error {number}" in caplog.text
    assert "secret" in caplog.text
    assert "secret" not in answer.text


def problem(model: type[BaseModel], value):
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(value)
    return first_problem(wrong.value.errors())


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ({}, "dataset", "dataset: expected a value, found none"),
        ({"dataset": 3}, "dataset", "dataset: expected a text"),
        ({"dataset": "../x"}, "dataset", "dataset: expected a text that matches"),
        ({"dataset": "a", "x": 1}, "x", "x: expected no such field"),
        ({"dataset": "a", "seed": -1}, "seed", "seed: expected 0 or more"),
        ({"dataset": "a", "seed": 2**32}, "seed", "seed: expected less than 4294967296"),
        ({"dataset": "a", "seed": "one"}, "seed", "seed: expected a whole number"),
        ({"dataset": "a", "init": "x"}, "init", "init: expected 'none' or 'production'"),
        ({"dataset": "a", "label": "x" * 201}, "label", "label: expected at most 200 characters"),
        ({"dataset": "a", "limits": {"cpus": 0}}, "limits.cpus", "limits.cpus: expected 1 or more"),
        ({"dataset": "a", "limits": 3}, "limits", "limits: expected an object"),
        ({"dataset": "a", "stores": [{}]}, "stores.0.modality", "stores.0.modality: expected a value"),
        ({"dataset": "a", "settings": []}, "settings", "settings: expected an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_spec_is_said_with_its_place(value, field, message):
    place, text = problem(RunSpec, value)

    assert place == field
    assert text.startswith(message)


def test_only_the_first_problem_is_told_and_how_many_there_are():
    _, text = problem(NightSpec, {"dataset": "../x", "seed": -1, "x": 1})

    assert text.endswith("(2 more)")


def test_a_message_of_our_own_stays_as_it_is():
    value = {"name": "t", "kind": "cron", "night": {"dataset": "a"}}

    assert problem(TriggerSpec, value) == (
        "body",
        "body: expected cron with kind=cron, found none",
    )
