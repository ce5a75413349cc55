"""Whatever cannot be written, at whichever call: exit code 6, one line, and the same command goes on.

``CROSSAN_FAULTS=full`` refuses every call that writes, and all from it on; otherwise some of each.
"""

import errno
import os
import random
import shutil

import pytest

from crossan.cache_schema.errors import CrossanError
from crossan.cache_schema.modality import Modality
from crossan.common.console.program import resource_error
from crossan.common.datasets.cli import import_dataset
from crossan.common.stores.describing.cli import card
from crossan.common.stores.growing.cli import compact_store, merge_stores
from crossan.common.stores.interchange.cli import export_features
from crossan.common.stores.sharing.cli import pull, push
from crossan.extract.backbones.cli import init_tiny
from crossan.extract.cli import extract
from crossan.train.cli import train
from crossan.train.report.cli import report
from support.commands import QUICK, attempt, run, training
from support.fabricated import write_small, write_store
from support.refusing import NUMBERS, refusing

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
TRIES = 10**9 if IS_FULL else 5
"""Calls to refuse of each command."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_backbones):
    """A dataset, stores of two segments, a table, and tiny backbones."""
    folder = write_small(tmp_path_factory.mktemp("inputs"))
    write_store(folder / "c", Modality.TEXT)
    (folder / "table").mkdir()
    rows = [f"u{n % 7},i{n % 5},{n}" for n in range(60)]
    (folder / "table" / "interactions.csv").write_text(
        "\n".join(["user_id,item_id,timestamp", *rows])
    )
    (folder / "b").symlink_to(tiny_backbones)
    if IS_FULL:
        run(train, *training(folder, (*QUICK, "max_epochs=1")))
    return folder


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def commands(inputs, out):
    """Return every command that writes, as function and arguments that write into ``out``."""
    store = next((inputs / "c").glob("small/image/*"))
    two = next((inputs / "c").glob("small/text/*"))
    (out / "stores").mkdir(exist_ok=True)
    if not (out / "stores" / "compact").exists():
        shutil.copytree(two, out / "stores" / "compact")
    dataset, cache = ("--dataset", inputs / "d"), ("--cache", out / "cache")
    settings = (*QUICK, "max_epochs=1", "checkpoint.every_steps=3")
    trained = training(inputs, settings, "--resume", out=out / "run")
    return {
        "import": (
            import_dataset,
            [inputs / "table", "--format", "table", "--out", out / "d", "--replace"],
        ),
        "train": (train, trained),
        "merge": (merge_stores, [out / "stores" / "merged", store]),
        "compact": (compact_store, [out / "stores" / "compact"]),
        "card": (card, [out / "stores" / "compact"]),
        "export": (
            export_features,
            ["mmrec", store, "--out", out / "mmrec"],
        ),
        "push": (push, [store, f"{out}/remote/", "--i-have-rights"]),
        "pull": (pull, [store, "--to", out / "pulled"]),
        "extract": (
            extract,
            ["--modality", "text", *dataset, *cache, "--backbone", inputs / "b" / "text"],
        ),
        "report": (report, [inputs / "r", "--out", out / "page" / "report.html"]),
        "init-tiny": (init_tiny, [out / "tiny"]),
    }


NAMES = ["import", "train", "merge", "compact", "card", "export", "push", "pull", "extract"]
NAMES += ["report", "init-tiny"] if IS_FULL else []  # which take seconds each


def error_of(result):
    """Return the error of ours that a command ended with, as a program prints it; None after a success."""
    error = result.exception
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return None
    if isinstance(error, OSError) and not isinstance(error, CrossanError):
        error = resource_error(error) or error
    if not isinstance(error, CrossanError):
        raise error
    return error


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_write_is_one_line_and_the_same_command_goes_on(
    name, inputs, tmp_path, monkeypatch
):
    def once(folder, first, last=10**9, number=errno.EROFS):
        folder.mkdir(exist_ok=True)
        command, arguments = commands(inputs, folder)[name]
        before = files_in(folder)
        with refusing(monkeypatch, folder, first, last, number) as refusals:
            error = error_of(attempt(command, *arguments))
        kept = {file: data for file, data in files_in(folder).items() if file in before}
        return refusals.count, error, kept == before, (command, arguments)

    calls, error, *_ = once(tmp_path / "whole", 10**9)
    assert error is None
    assert calls > 3
    chance = random.Random(name)
    tries = range(1, calls + 1) if calls <= TRIES else chance.sample(range(1, calls + 1), TRIES)
    for first in tries:
        folder = tmp_path / f"{first}"
        last = first if first % 2 else 10**9
        number = NUMBERS[first % len(NUMBERS)]
        _, error, is_kept, (command, arguments) = once(folder, first, last, number)
        if error is not None:
            assert error.exit_code == 6, (first, error)
            assert str(folder) in error.message
            assert "\n" not in error.message
            assert is_kept
            again = attempt(command, *arguments)
            assert error_of(again) is None, (first, number, again.output, again.exception)
        shutil.rmtree(folder)
