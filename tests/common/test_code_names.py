"""Code that settings name: imported only where somebody here wants it."""

import sys

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common.code_names import (
    ALLOW_CODE,
    code_name,
    is_importable,
    load_code,
    names_code,
    using_code,
)


class Inner:
    class Deep:
        pass


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package of the user's, which leaves a trace when it is imported."""
    folder = tmp_path / "site" / "my_parts_of_mine"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "fusions.py").write_text(
        "import pathlib\n"
        "pathlib.Path(__file__).with_name('ran').touch()\n"
        "class Mean: pass\n"
        "entry = Mean()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder
    for name in [name for name in sys.modules if name.startswith("my_parts_of_mine")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        ("a:B", True),
        ("a.b_c:D.E", True),
        ("__main__:f.<locals>.G", True),
        ("momef", False),
        ("dynamic-gate", False),
        ("a:", False),
        (":B", False),
        ("a b:C", False),
        ("os:system('x')", False),
    ],
)
def test_names_of_code_are_told_by_their_colon(name, is_code):
    assert names_code(name) is is_code


@pytest.mark.parametrize(
    "allowed", ["", "my_parts", "other,my_parts_of_min", "my_parts_of_mine.fus"]
)
def test_nothing_runs_that_nobody_allowed(module, monkeypatch, allowed):
    monkeypatch.setenv(ALLOW_CODE, allowed)
    with pytest.raises(ConfigError, match="model.fusion=my_parts_of_mine.fusions:Mean") as error:
        load_code("my_parts_of_mine.fusions:Mean", "model.fusion")
    assert f"{ALLOW_CODE}=my_parts_of_mine.fusions" in str(error.value)
    assert not (module / "ran").exists()


@pytest.mark.parametrize("allowed", ["my_parts_of_mine", "os, my_parts_of_mine.fusions"])
def test_what_is_allowed_is_imported(module, monkeypatch, allowed):
    monkeypatch.setenv(ALLOW_CODE, allowed)
    loaded = load_code("my_parts_of_mine.fusions:Mean", "model.fusion")
    assert (module / "ran").exists()
    assert code_name(loaded) == "my_parts_of_mine.fusions:Mean"
    assert is_importable("my_parts_of_mine.fusions:Mean", loaded)
    assert not is_importable("my_parts_of_mine.fusions:Other", loaded)
    assert not is_importable("my_parts_of_mine.fusions:Mean", Inner)


@pytest.mark.parametrize(
    "name", ["my_parts_of_mine.fusions:Other", "my_parts_of_mine.nothing:Mean"]
)
def test_what_is_allowed_and_not_there_is_said(module, monkeypatch, name):
    monkeypatch.setenv(ALLOW_CODE, "my_parts_of_mine")
    with pytest.raises(ConfigError, match="could not be imported") as error:
        load_code(name, "model.fusion")
    assert "PYTHONPATH=FOLDER" in str(error.value)


def test_what_was_passed_in_needs_no_leave_and_only_for_the_block():
    class Local:
        pass

    name = code_name(Local)
    assert "<locals>" in name
    assert not is_importable(name, Local)
    with using_code({name: Local}):
        with using_code({"a:B": Inner}):
            assert load_code(name, "model.fusion") is Local
        with pytest.raises(ConfigError, match="a:B"):
            load_code("a:B", "model.fusion")
    with pytest.raises(ConfigError, match="defined in a notebook, a script or a function"):
        load_code(name, "model.fusion")


def test_code_is_named_by_its_class_or_by_what_it_is_bound_to():
    assert code_name(Inner.Deep).endswith(":Inner.Deep")
    with pytest.raises(ConfigError, match="Bind it to a name at the top of a module"):
        code_name(Inner())
