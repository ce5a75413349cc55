"""The order of a session: the files that take longest come first, so that no worker is left with one of them at the end."""

from __future__ import annotations

import pytest

LONGEST_FIRST = (
    "integration/test_ray_training.py",
    "integration/test_demo.py",
    "faults/test_interrupted_pipeline.py",
    "integration/test_ray_engine.py",
    "integration/test_torchrun.py",
    "integration/test_bench_microlens_mm.py",
    "integration/test_at_scale_howto.py",
    "faults/test_state_machine.py",
    "faults/test_kill_extract.py",
    "faults/test_hostile_media_extraction.py",
    "faults/test_kill_train.py",
    "docs/test_notebook.py",
    "common/stores/sharing/test_walkthrough.py",
    "integration/test_service_demo.py",
    "integration/test_run_the_service_howto.py",
    "integration/test_service_night_on_ray.py",
    "integration/test_service_night.py",
    "train/features/test_memory.py",
    "train/models/test_known_answers.py",
    "faults/service/test_broken_database.py",
    "train/service/queue/test_trainings.py",
    "train/objectives/test_twins.py",
    "extract/backbones/test_forward.py",
)
"""Measured with ``--durations=100``; a file that moved or became quick costs balance only."""

SECONDS_OF_A_SLOW_TEST = 1_800
"""What a test marked slow may take: those of a loaded machine are several times those of an idle one."""


def _place(item):
    path = item.path.as_posix()
    for number, name in enumerate(LONGEST_FIRST):
        if path.endswith(f"tests/{name}"):
            return number
    return len(LONGEST_FIRST)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Sort the tests by file, and give those that are known to take long the time that they take on a loaded machine."""
    items.sort(key=_place)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS_OF_A_SLOW_TEST))
