"""Sizes as people write them, what a machine and a control group leave, and errors of memory."""

import errno

import pytest
import torch

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.memory import (
    MemoryRanOutError,
    available_ram,
    first_line,
    naming_shortage,
    parse_size,
    ran_out_of_memory,
    resident_bytes,
    show_size,
)

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7), ("7K", 7 * 1024), ("8G", 8 * GIB), ("8GiB", 8 * GIB), ("500MiB", 500 << 20)],
)
def test_sizes_are_read(text, expected):
    assert parse_size(text, "--max-ram") == expected


@pytest.mark.parametrize("text", ["0", "-1GiB", "8GB", "1.5G", "8 G", "", "G", "8g", "٣G"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--max-ram .*: expected a size such as 4GiB or 500MiB"):
        parse_size(text, "--max-ram")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (10 << 20, "10 MiB"),
        (3 * GIB // 2, "1.5 GiB"),
    ],
)
def test_sizes_are_shown(size, shown):
    assert show_size(size) == shown


def machine(folder, *, group="0::/\n", **limits):
    """Write what the kernel would show: 10 GiB available, and the groups' files."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {10 * GIB // 1024} kB\n")
    (folder / "proc/self/cgroup").write_text(group)
    (folder / "groups").mkdir()
    for name, text in limits.items():
        place = folder / "groups" / name.replace("__", "/").replace("_dot_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return available_ram(folder / "proc", folder / "groups")


def test_without_a_limit_the_machine_counts(tmp_path):
    assert machine(tmp_path) == 10 * GIB


def test_page_cache_that_can_be_dropped_is_not_used_memory(tmp_path):
    found = machine(
        tmp_path,
        memory_dot_max=f"{4 * GIB}\n",
        memory_dot_current=f"{3 * GIB}\n",
        memory_dot_stat=f"anon 5\ninactive_file {GIB}\n",
    )
    assert found == 2 * GIB  # 4 - 3 + 1


def test_the_tightest_of_nested_groups_counts(tmp_path):
    found = machine(
        tmp_path,
        group="0::/outer/inner\n",
        outer__memory_dot_max=f"{2 * GIB}\n", outer__memory_dot_current=f"{GIB}\n", outer__memory_dot_stat="",
        outer__inner__memory_dot_max="max\n", outer__inner__memory_dot_current="5\n", outer__inner__memory_dot_stat="",
    )  # fmt: skip
    assert found == GIB


def test_an_old_group_counts_too_and_nothing_is_never_negative(tmp_path):
    found = machine(
        tmp_path,
        group="4:memory:/x\n",
        memory__memory_dot_limit_in_bytes=f"{GIB}\n",
        memory__memory_dot_usage_in_bytes=f"{3 * GIB}\n",
        memory__memory_dot_stat=f"total_inactive_file {GIB}\n",
    )
    assert found == 0


def test_this_machine_has_some():
    assert available_ram() > 1 << 20


def test_what_a_process_takes_is_read(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("Name:\tpython\nVmHWM:\t  900 kB\nVmRSS:\t  300 kB\n")
    assert resident_bytes(tmp_path) == 300 * 1024
    assert resident_bytes() > 10 << 20


SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS = [RuntimeError("odd"), OSError(errno.ENOSPC, "No space left"), ValueError("out of memory")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("a\nb", "a"), ("\n  a\nb", "a"), ("", "RuntimeError"), (" \n", "RuntimeError")],
)
def test_the_first_line_of_an_error_is_never_empty(said, expected):
    assert first_line(RuntimeError(said)) == expected


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_every_way_to_be_out_of_memory_is_known(error):
    assert ran_out_of_memory(error)
    expected = pytest.raises(ResourceError, match="^out of memory in a step: ")
    with expected as caught, naming_shortage("a step"):
        raise error
    assert caught.value.exit_code == 6
    assert caught.value.doing == "a step"


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_another_error_stays_what_it_is(error):
    assert not ran_out_of_memory(error)
    with pytest.raises(type(error)) as caught, naming_shortage("a step"):
        raise error
    assert caught.value is error


def test_what_was_being_done_is_named_by_the_innermost_block():
    expected = pytest.raises(
        MemoryRanOutError, match="^out of memory in a validation: MemoryError$"
    )
    with expected, naming_shortage("the training"), naming_shortage("a validation"):
        raise MemoryError
