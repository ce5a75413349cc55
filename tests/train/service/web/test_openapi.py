"""The interface as it is written down."""

import json
from pathlib import Path

import pytest

from crossan.train.service.web.openapi import text

DOCUMENT = Path(__file__).parents[4] / "docs" / "openapi.json"
REWRITE = "python -m crossan.train.service.web.openapi > docs/openapi.json"


@pytest.fixture(scope="module")
def written():
    return json.loads(DOCUMENT.read_text())


def test_the_document_is_that_of_the_application():
    assert DOCUMENT.read_text() == text(), f"the interface changed: {REWRITE}"


def test_it_is_openapi_3_1(written):
    assert written["openapi"].startswith("3.1")
    assert written["security"] == [{"token": []}]


def test_each_operation_says_its_role_and_answers_errors_in_our_shape(written):
    operations = [
        (path, method, operation)
        for path, methods in written["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 10
    for path, method, operation in operations:
        assert operation["x-crossan-role"] in {"read", "submit", "admin"}, (path, method)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert answer == {"$ref": f"#/components/responses/{status}"}, (path, status)
    for status, answer in written["components"]["responses"].items():
        assert int(status) >= 400
        schema = answer["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorView"}


def test_each_reference_leads_to_a_schema(written):
    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    missing = [
        name
        for name in references(written)
        if name.split("/")[-1] not in written["components"][name.split("/")[2]]
    ]
    assert missing == []


def test_specs_are_closed(written):
    schemas = written["components"]["schemas"]
    for name in ("RunSpec", "Limits", "StoreChoice"):
        assert schemas[name]["additionalProperties"] is False
