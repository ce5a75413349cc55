"""How many workers fit a cluster, by arithmetic that can be done by hand; and what is asked of one."""

from __future__ import annotations

import json

import pytest

from crossan.cache_schema.errors import DataError, ResourceError, UsageError
from crossan.common.cluster import ClusterRequest, Crew, Failure, Node, fit_crew, parse_engine


class OwnError(DataError):
    """An error that only one side knows."""


def test_an_error_travels_as_plain_data_and_keeps_its_exit_code():
    failure = Failure.of(OwnError("two of them", remedy="count again"))
    error = Failure(**json.loads(json.dumps(failure.as_json()))).error()
    assert (type(error), error.exit_code, str(error)) == (
        DataError,
        3,
        "two of them\n  count again",
    )


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "crew"),
    [
        ([(8, 0)], None, 0, Crew(1, 8, 0, 1)),  # one worker takes the whole node
        ([(8, 0)], 3, 0, Crew(3, 2, 0, 4)),  # 3 of 3 cores would be 9
        ([(8, 0), (4, 0)], 3, 0, Crew(3, 4, 0, 3)),
        ([(2, 0)], 5, 0, Crew(5, 1, 0, 2)),  # more than fit: one core each, and room for two
        ([(0, 0), (16, 2), (16, 2)], None, 1, Crew(4, 8, 1, 4)),  # a head without cores takes none
        ([(16, 1)], None, 0.25, Crew(4, 4, 0.25, 4)),
        ([(10, 3)], 30, 0.1, Crew(30, 1, 0.1, 10)),
    ],
)
def test_workers_get_as_many_cores_as_leave_room_for_all(nodes, workers, gpus, crew):
    assert fit_crew([Node(*node) for node in nodes], workers, gpus) == crew


def test_a_cluster_without_room_for_one_worker_is_refused():
    with pytest.raises(
        ResourceError, match="a core and 1 GPUs for a worker, found 4 cores and 0 GPUs"
    ):
        fit_crew([Node(4, 0)], None, 1)
    with pytest.raises(ResourceError, match="found no node"):
        fit_crew([], 2, 0)


def test_the_engine_is_read_with_its_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert parse_engine("local", None, None, None) is None
    assert parse_engine("ray", None, 3, 0.5) == ClusterRequest(
        address="local", worker_count=3, gpus_per_worker=0.5
    )
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert parse_engine("local", None, None, None) is None
    assert parse_engine("ray", None, None, None) == ClusterRequest(address="head:6379")
    assert parse_engine("ray", "auto", None, None) == ClusterRequest(address="auto")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("rya", None, None, None), "--engine rya: expected one of local, ray; did you mean 'ray'"),
        (("local", "auto", None, None), "--address auto: needs a cluster"),
        (("local", None, 4, None), "--workers 4: needs a cluster\n"),
        (
            ("local", None, 4, None, "; or --num-workers"),
            "--workers 4: needs a cluster; or --num-workers",
        ),
        (("local", None, None, 0.0), "--gpus-per-worker 0.0: needs a cluster"),
    ],
)
def test_what_only_a_cluster_has_is_refused_without_one(asked, message):
    with pytest.raises(UsageError, match=message):
        parse_engine(*asked)
