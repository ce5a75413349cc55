"""The version in production answers, whatever moves or dies meanwhile."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.recommender.wire import receive
from crossan.train.service.serving import UnavailableError
from crossan.train.service.serving import process as process_module
from crossan.train.service.serving import serving as serving_module
from support.registered import change_a_byte
from support.started import CEILING_S, wait_until

REQUEST = {"user": "u", "top": 3, "mask_history": "all"}
FULL = os.environ.get("CROSSAN_FAULTS") == "full"


def eventually(condition):
    """Wait until a condition holds, looking again and again."""
    wait_until(condition, "it to come true")


def promote(registry, version):
    alias = registry.alias("production")
    registry.promote("production", version, 0 if alias is None else alias.revision, "ann")


def begun(registry, serving, version=1):
    promote(registry, version)
    serving.start()
    eventually(lambda: serving.loaded() == version)
    return serving


def test_without_a_model_in_production_nobody_answers(serving):
    serving.start()
    assert serving.loaded() is None
    with pytest.raises(UnavailableError, match="no model is in production") as refused:
        serving.ask(REQUEST)
    assert refused.value.remedy == "Promote one: crossan models ls, then crossan models promote"


def test_a_request_that_comes_while_a_model_is_loaded_waits_for_it(registry, serving):
    promote(registry, 2)
    serving.start()
    answer = serving.ask(REQUEST)
    assert answer["version"] == 2
    assert [item["item_id"] for item in answer["items"]] == ["v2-0", "v2-1", "v2-2"]


def test_errors_of_the_recommender_are_raised_here(registry, serving):
    begun(registry, serving)
    with pytest.raises(UsageError, match="user nobody: not among the users") as refused:
        serving.ask({**REQUEST, "user": "nobody"})
    assert refused.value.remedy == "Name another"


@pytest.mark.parametrize("clients", [1000 if FULL else 16])
def test_no_request_fails_or_mixes_two_models_while_versions_are_swapped(
    registry, serving, clients
):
    """Twenty swaps among three versions: to one that is loaded still, and to one that is not."""
    begun(registry, serving)
    is_over, answers = threading.Event(), []

    def ask():
        while not is_over.is_set():
            answer = serving.ask({**REQUEST, "top": 50})
            answers.append(answer)
            assert {item["item_id"] for item in answer["items"]} == {
                f"v{answer['version']}-{n}" for n in range(50)
            }

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        for swap in range(20 if FULL else 8):
            version = (2, 1, 3, 1)[swap % 4]
            promote(registry, version)
            eventually(lambda version=version: serving.loaded() == version)
            # One that is swapped at once may answer nobody.
            before = len(answers)
            eventually(
                lambda version=version, before=before: (
                    version in {answer["version"] for answer in answers[before:]}
                )
            )
        is_over.set()
        for future in asking:
            future.result()
    assert len(answers) >= clients
    assert {answer["version"] for answer in answers} == {1, 2, 3}
    assert serving.latency().failures == 0


def test_an_answer_names_the_new_version_as_soon_as_the_old_one_is_gone(registry, serving):
    begun(registry, serving)
    promote(registry, 2)
    eventually(lambda: serving.loaded() == 2)
    assert [serving.ask(REQUEST)["version"] for _ in range(20)] == [2] * 20


def test_a_rollback_starts_no_process_and_answers_within_a_second(registry, serving):
    begun(registry, serving)
    first = serving._current
    promote(registry, 2)
    eventually(lambda: serving.loaded() == 2)
    begin = time.monotonic()
    registry.rollback("production", registry.alias("production").revision, "ann")
    eventually(lambda: serving.ask(REQUEST)["version"] == 1)
    assert serving._current is first
    if FULL:  # a busy machine is slow, not wrong
        assert time.monotonic() - begin < 1


def test_a_killed_recommender_is_replaced_and_no_request_fails(registry, serving):
    begun(registry, serving)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10 if FULL else 3):
            asking = [pool.submit(serving.ask, REQUEST) for _ in range(40)]
            killed = serving._current
            os.kill(killed.pid, signal.SIGKILL)
            assert {future.result()["version"] for future in asking} == {1}
            eventually(lambda killed=killed: serving._current not in {None, killed})
    assert serving.latency().failures == 0


def test_an_answer_that_comes_while_its_process_is_ended_keeps_no_connection(
    registry, serving, monkeypatch
):
    begun(registry, serving)
    answering, used = serving._current, []

    def receive_and_end(connection):
        answer = receive(connection)
        used.append(connection)
        answering.end(at_once=True)
        return answer

    monkeypatch.setattr(process_module, "receive", receive_and_end)
    assert answering.ask(REQUEST, CEILING_S)["version"] == 1
    assert answering._idle.empty()
    assert used[0].fileno() == -1


def test_a_recommender_that_does_not_answer_in_time_is_replaced(registry, serving, monkeypatch):
    begun(registry, serving)
    hung = serving._current.pid
    with monkeypatch.context() as patch:
        patch.setattr(serving_module, "_ANSWER_SECONDS", 0.5)
        with pytest.raises(UnavailableError, match="did not answer within 0.5 seconds"):
            serving.ask({**REQUEST, "user": "hang"})
    assert serving.ask(REQUEST)["version"] == 1
    assert serving._current.pid != hung


def test_a_version_that_does_not_start_leaves_the_old_one_to_answer(registry, serving, folder):
    begun(registry, serving)
    (folder.path / "refuse-2").touch()
    promote(registry, 2)
    eventually(lambda: serving.problem() is not None)
    assert serving.loaded() == serving.ask(REQUEST)["version"] == 1
    assert serving.problem() == "version 2 does not start: expected sound weights, found none"
    (folder.path / "refuse-2").unlink()
    eventually(lambda: serving.loaded() == 2)
    assert serving.problem() is None


def test_a_damaged_version_is_never_loaded(registry, serving):
    promote(registry, 3)
    change_a_byte(registry.get(3).served_run / "checkpoints/best/model.safetensors")
    serving.start()
    eventually(lambda: serving.problem() is not None)
    assert serving.loaded() is None
    assert "not those that were registered" in serving.problem()


def test_stopping_ends_every_process(registry, serving, folder):
    begun(registry, serving)
    promote(registry, 2)
    eventually(lambda: serving.loaded() == 2)
    processes = [serving._current, serving._before]
    serving.stop()
    assert not any(process.is_alive for process in processes)
    assert list(folder.sockets.iterdir()) == []
    with pytest.raises(UnavailableError):
        serving.ask(REQUEST)


def test_answers_are_counted_by_how_long_they_took(registry, serving):
    begun(registry, serving)
    for _ in range(5):
        serving.ask(REQUEST)
    latency = serving.latency()
    assert (latency.count, latency.failures) == (5, 0)
    assert latency.counts[-1] == 5
    assert list(latency.counts) == sorted(latency.counts)
    assert 0 < latency.seconds < 5 * 10
