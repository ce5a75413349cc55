"""Where trials run: one device and a share of the cores each."""

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.sweep import devices
from crossan.train.sweep.devices import Slot, device_kind, make_slots, threads_each


@pytest.fixture
def cuda(monkeypatch):
    def have(count, visible=None):
        monkeypatch.setattr(devices, "_cuda_count", lambda: count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    return have


def test_the_cpu_is_one_slot_with_all_threads_unless_jobs_say_otherwise(cuda):
    cuda(0)
    assert make_slots("cpu", None, None) == [Slot("cpu", {"OMP_NUM_THREADS": "8"})]
    assert make_slots("cpu", 3, None) == [Slot("cpu", {"OMP_NUM_THREADS": "2"})] * 3  # 8 // 3
    assert make_slots("cpu", 20, None)[0].environment == {"OMP_NUM_THREADS": "1"}
    assert make_slots("cpu", 2, 5)[1].environment == {"OMP_NUM_THREADS": "5"}


def test_every_cuda_device_is_a_slot_and_more_jobs_share_them(cuda):
    cuda(2)
    assert [
        slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots("cuda", None, None)
    ] == ["0", "1"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots("cuda", 3, None)] == [
        "0",
        "1",
        "0",
    ]
    assert make_slots("cuda", None, None)[0] == Slot(
        "cuda", {"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": "0"}
    )


def test_the_devices_this_process_was_given_are_kept_to(cuda):
    cuda(2, visible="3, GPU-abc")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in make_slots("cuda", None, 1)] == [
        "3",
        "GPU-abc",
    ]


def test_the_kind_is_found_or_refused(cuda):
    cuda(1)
    assert (device_kind("auto"), device_kind("cuda"), device_kind("cpu")) == ("cuda", "cuda", "cpu")
    with pytest.raises(UsageError, match="--device cuda:1: expected auto, cpu or cuda"):
        device_kind("cuda:1")
    cuda(0)
    assert device_kind("auto") == "cpu"
    with pytest.raises(UsageError, match="--device cuda: not available on this machine"):
        device_kind("cuda")
    with pytest.raises(UsageError, match="this machine has none"):
        make_slots("cuda", None, None)


def test_without_a_variable_the_cores_are_divided(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda who: set(range(6)))
    assert (threads_each(1), threads_each(4)) == (6, 1)
