"""Every example in a docstring of crossan.api runs and gives what it says."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys

import pytest
import torch

import crossan.api

MODULES = [
    importlib.import_module(f"crossan.api.{name}")
    for name in ("datasets", "runs", "stores", "training")
]
PUBLIC = [getattr(crossan.api, name) for name in crossan.api.__all__]


def examples():
    finder = doctest.DocTestFinder()
    tests = [test for module in MODULES for test in finder.find(module, globs={})]
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_the_example_runs(test, world, tmp_path, monkeypatch):
    # Links, so that what an example trains lands in a folder of its own.
    for name in ("data", "cache"):
        (tmp_path / name).symlink_to(world / name)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(world / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    dataset = crossan.api.open_dataset("data")
    test.globs = {
        "crossan": crossan,
        "torch": torch,
        "dataset": dataset,
        "cache": crossan.api.open_cache("cache", dataset),
        "run": crossan.api.open_run("runs/first", device="cpu"),
    }
    printed = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=printed.append)
    assert runner.failures == 0, "".join(printed)


def public_parts():
    for thing in PUBLIC:
        yield thing.__name__, thing
        if inspect.isclass(thing) and thing.__module__.startswith("crossan.api"):
            for name, part in vars(thing).items():
                if not name.startswith("_"):
                    yield f"{thing.__name__}.{name}", part


PARTS = dict(public_parts())


@pytest.mark.parametrize("name", PARTS)
def test_every_promised_name_is_documented(name):
    assert inspect.getdoc(PARTS[name])


def test_functions_and_methods_have_examples():
    """Properties and small methods that an example of another shows need none of their own."""
    shown = "".join(example.source for test in examples() for example in test.examples)
    callable_names = [
        name.rpartition(".")[2] for name, part in PARTS.items() if inspect.isfunction(part)
    ]
    assert len(callable_names) > 12
    assert [name for name in callable_names if f"{name}(" not in shown] == []


def test_no_example_uses_a_name_that_is_not_promised():
    sources = [example.source for test in examples() for example in test.examples]
    assert not [text for text in sources if re.search(r"crossan\.(?!api\b)|\._[a-z]", text)]


@pytest.mark.parametrize(
    ("source", "heavy"),
    [
        ("dir(crossan.api)", {"torch", "pyarrow", "numpy", "zarr"}),
        ("crossan.api.open_dataset, crossan.api.open_cache", {"torch", "zarr"}),
    ],
)
def test_nothing_heavy_loads_with_the_names(source, heavy):
    """A notebook's first cell answers at once."""
    code = f"import sys, crossan.api; {source}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not heavy & set(loaded.stdout.split())
