"""What a worker or a driver refuses before anything is computed; no cluster is needed for it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import SimpleNamespace

import pyarrow as pa
import pytest

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster import ClusterRequest
from crossan.common.datasets import open_dataset, write_dataset
from crossan.extract.cluster.driver import extract_on_cluster
from crossan.extract.cluster.worker import Worker, WorkerSetup
from crossan.extract.job.plan import Shard
from crossan.extract.job.request import JobRequest


@pytest.fixture
def request_of(tmp_path):
    """Return a function that gives a request for a dataset of one title."""
    nothing = pa.nulls(1, pa.string())
    items = pa.table(
        {"item_id": ["i"], "title": ["a"], "image": nothing, "video": nothing, "audio": nothing}
    )
    interactions = pa.table(
        {"user_id": ["u"], "item_id": ["i"], "timestamp": pa.nulls(1, pa.int64())}
    )
    write_dataset(
        tmp_path / "d",
        name="one",
        source_format="table",
        licence="ours",
        interactions=interactions,
        items=items,
    )
    return lambda **changed: JobRequest(
        **({"dataset": tmp_path / "d", "cache": tmp_path / "c"} | changed)
    )


@pytest.fixture
def setup_of(request_of, tiny_backbones, tmp_path):
    source = str(tiny_backbones / "text")
    mark = tmp_path / "mark"
    mark.touch()

    def make(**changed):
        facts = {"request": request_of(device="cpu"), "modality": Modality.TEXT, "source": source}
        facts |= {
            "dataset_digest": open_dataset(tmp_path / "d").digest,
            "mark": mark,
            "version": version("crossan"),
        }
        return WorkerSetup(**(facts | {"threads": 1} | changed))

    return make


def test_a_worker_that_sees_other_folders_says_so(setup_of, request_of, tmp_path):
    assert Worker(setup_of(), None).begin().failure is None
    cases = {
        "not a dataset on node": {"request": request_of(dataset=tmp_path / "elsewhere")},
        "another dataset on node": {"dataset_digest": "0" * 64},
        "another folder on node": {"mark": tmp_path / "nowhere"},
    }
    for message, changed in cases.items():
        with pytest.raises(UsageError, match=message):
            raise Worker(setup_of(**changed), None).begin().failure.error()


def test_another_version_of_crossan_on_a_node_is_refused(setup_of):
    failure = Worker(setup_of(version="0.0.0"), None).begin().failure
    assert (failure.error().exit_code, failure.kind) == (5, "IncompatibleError")
    assert "expected crossan 0.0.0, as where the job was started" in failure.message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shard": Shard(1, 2)}, "--shard 1/2 --engine ray: the cluster gets the whole job"),
        ({"limit": 5}, "--limit 5 --engine ray: which items come first is not known"),
        ({"device": "cuda"}, "--device cuda --engine ray: a worker is given no accelerator"),
    ],
)
def test_what_has_no_meaning_on_a_cluster_is_refused(request_of, changed, message):
    with pytest.raises(UsageError, match=message):
        next(extract_on_cluster(request_of(**changed), [(Modality.TEXT, None)], ClusterRequest()))


@pytest.fixture
def ray_environment(monkeypatch):
    """Set what the driver would: so it stays, and is not left to other tests."""
    for name in (
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    ):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def test_without_ray_the_command_to_install_it_is_named(monkeypatch, request_of, ray_environment):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError,
        match=r"Ray is not installed on this machine\n  Run: pip install 'crossan\[ray\]'",
    ):
        next(extract_on_cluster(request_of(), [(Modality.TEXT, None)], ClusterRequest()))


def test_without_its_client_the_command_to_install_that_is_named(
    monkeypatch, request_of, ray_environment
):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace())
    monkeypatch.setattr("crossan.common.cluster.connection.find_spec", lambda name: None)
    cluster = ClusterRequest(address="ray://head:10001")
    with pytest.raises(
        UsageError,
        match=r"Ray's client is not installed on this machine\n  Run: pip install 'ray\[client\]'",
    ):
        next(extract_on_cluster(request_of(), [(Modality.TEXT, None)], cluster))
