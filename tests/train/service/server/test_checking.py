"""Specs that were checked a moment ago."""

from __future__ import annotations

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.queue import Slots, Usage
from crossan.train.service.server import checking
from crossan.train.service.server.checking import Checks
from crossan.train.service.specs import RunSpec
from support.service import SPEC, service_settings


@pytest.fixture
def checks(tmp_path):
    return Checks(service_settings(tmp_path), Slots(Usage(2, 4.0, 0)))


def spec(**changes):
    return RunSpec.model_validate({**SPEC, **changes})


def test_what_passed_is_known_whatever_its_label_and_seed(checks):
    assert not checks.has_passed(spec())
    checks.require(spec())
    assert checks.has_passed(spec(label="another", seed=7))
    assert not checks.has_passed(spec(settings={"model.kind": "sasrec"}))


def test_what_passed_is_looked_at_again_after_two_seconds(checks, monkeypatch):
    monkeypatch.setattr(checking, "_SECONDS", -1.0)
    checks.require(spec())
    assert not checks.has_passed(spec())


def test_more_than_there_is_never_passes(checks):
    checks.require(spec())
    large = spec(limits={"cpus": 3})
    assert not checks.has_passed(large)
    with pytest.raises(ConfigError, match="limits.cpus: expected at most 2"):
        checks.require(large)


def test_what_does_not_exist_is_refused_and_not_known(checks):
    missing = spec(dataset="elsewhere")
    with pytest.raises(ConfigError, match="elsewhere"):
        checks.require(missing)
    assert not checks.has_passed(missing)
