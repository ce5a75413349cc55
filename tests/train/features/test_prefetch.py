"""One prepared ahead: in order, no more than one, errors where they belong, and no thread left."""

import gc
import threading
import weakref

import pytest

from crossan.train.features.prefetch import prepared_ahead
from support.started import CEILING_S


def threads():
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("crossan-prefetch")
    ]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not threads()


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_everything_comes_in_its_order(count):
    with prepared_ahead(range(count), lambda task: (task, threading.current_thread())) as ahead:
        found = list(ahead)
    assert [task for task, _ in found] == list(range(count))
    assert all(thread is not threading.current_thread() for _, thread in found)


def test_the_next_is_prepared_while_one_is_in_use_and_no_third():
    begun, may_begin = [], {n: threading.Event() for n in range(5)}

    def prepare(task):
        begun.append(task)
        may_begin[task].set()
        return task

    with prepared_ahead(range(5), prepare) as ahead:
        assert next(ahead) == 0
        assert may_begin[1].wait(CEILING_S)  # without anybody asking for it
        assert begun == [0, 1]
        assert next(ahead) == 1
        assert may_begin[2].wait(CEILING_S)
        assert begun == [0, 1, 2]


class Batch:
    """Something that can be referred to weakly."""


def test_what_was_used_is_let_go():
    alive = []

    def prepare(task):
        alive.append(weakref.ref(batch := Batch()))
        return batch

    with prepared_ahead(range(6), prepare) as ahead:
        for number in range(5):  # of the last one there is nothing to wait for
            next(ahead)
            gc.collect()
            assert alive[number]() is None


def test_an_error_is_raised_where_its_task_is_asked_for():
    def prepare(task):
        if task == 2:
            raise KeyError("two")
        return task

    with prepared_ahead(range(5), prepare) as ahead:
        assert [next(ahead), next(ahead)] == [0, 1]
        with pytest.raises(KeyError, match="two"):
            next(ahead)


def test_an_error_of_the_block_ends_the_thread():
    with pytest.raises(ZeroDivisionError), prepared_ahead(range(5), lambda task: task) as ahead:
        assert next(ahead) / 0
    assert not threads()


def test_an_error_nobody_asks_for_is_dropped_with_the_block():
    def prepare(task):
        if task:
            raise KeyError
        return task

    with prepared_ahead(range(5), prepare) as ahead:
        assert next(ahead) == 0


def test_the_tasks_are_taken_by_the_caller():
    takers = []

    def tasks():
        for number in range(3):
            takers.append(threading.current_thread())
            yield number

    with prepared_ahead(tasks(), lambda task: task) as ahead:
        assert list(ahead) == [0, 1, 2]
    assert set(takers) == {threading.current_thread()}
