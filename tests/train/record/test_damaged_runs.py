"""A run folder damaged in any way, or made by a stranger: refused in one line, or read as it was.

``CROSSAN_FAULTS=full`` damages each file 1,000 times, otherwise 30.
"""

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save

from crossan.cache_schema.errors import CrossanError, IncompatibleError, StoreIntegrityError
from crossan.common.config import load_settings
from crossan.train.cli import evaluate, recommend, train
from crossan.train.record import checkpoint
from crossan.train.record.catalogue_lock import read_catalogue
from crossan.train.record.dataset_lock import changed_sequences
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.statistics import read_statistics
from crossan.train.report.curves import training_section
from crossan.train.report.exposure import exposure_section
from crossan.train.report.gathering import gather
from crossan.train.report.headline import headline
from crossan.train.report.measured import efficiency_section
from crossan.train.report.provenance import settings_section
from crossan.train.report.slices import slices_section
from crossan.train.report.summary import summary
from crossan.train.runs.opening import open_run
from crossan.train.settings import RunSettings
from support.commands import QUICK, attempt, run, training
from support.fabricated import write_small
from support.mutating import mutations
from support.reported import undrawn_figures

COUNT = 1_000 if os.environ.get("CROSSAN_FAULTS") == "full" else 30
FACTS = {"users": 150, "items": 40, "interactions": 950, "sequences": "another"}
SETTINGS = (*QUICK, "max_epochs=1", "model.id_embedding=true", "features.standardise=layer")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset, stores, and a run ``r`` with a catalogue of its own."""
    folder = write_small(tmp_path_factory.mktemp("place"))
    run(train, *training(folder, SETTINGS))
    return folder


@pytest.fixture
def changing(place):
    """Return a function that gives a file of the run other bytes; they are put back in the end."""
    before = {}

    def change(name, data):
        path = place / "r" / name
        before.setdefault(path, path.read_bytes())
        path.write_bytes(data)

    yield change
    for path, data in before.items():
        path.write_bytes(data)


def rows_of_report(folder):
    entries = gather([folder]).entries
    with undrawn_figures():
        return [
            headline(entries), slices_section(entries), training_section(entries), exposure_section(entries),
            settings_section(entries), efficiency_section(entries), summary(entries, []),
        ]  # fmt: skip


def weights_of(folder):
    opened = open_run(folder, device="cpu")
    return {name: tensor.tolist() for name, tensor in opened.model.state_dict().items()}


def statistics_of(folder):
    return {name: tensor.tolist() for name, tensor in read_statistics(folder).items()}


def begun_again(folder):
    opened = RunFolder(folder)
    environment = opened.path / "env.json"
    before = environment.read_bytes()
    try:
        opened.begin(opened.settings(), {}, may_resume=True, may_differ=True)
    finally:
        opened.release()
        environment.write_bytes(before)


DOORS = {
    "config.toml": [weights_of, rows_of_report],
    "env.json": [begun_again],
    "cache.lock.json": [weights_of, rows_of_report],
    "dataset.lock.json": [lambda folder: changed_sequences(folder, FACTS)],
    "catalogue.parquet": [lambda folder: read_catalogue(folder).tolist()],
    "standardise.safetensors": [statistics_of],
    "metrics.jsonl": [rows_of_report],
    "result.json": [rows_of_report],
    "checkpoints/best/state.json": [weights_of],
    "checkpoints/best/model.safetensors": [weights_of],
    "checkpoints/last/state.json": [
        lambda folder: checkpoint.load_checkpoint(folder / "checkpoints", "last").state
    ],
}
COVERED = {name for name in DOORS if "checkpoint" in name or name.startswith(("cat", "stand"))}
"""Files of which a digest or checksum is recorded, so that none is read as something else."""


@pytest.mark.parametrize("name", DOORS)
def test_a_damaged_file_is_an_error_of_ours_or_read_as_it_was(name, place, changing):
    folder, refused = place / "r", 0
    whole = [door(folder) for door in DOORS[name]]
    for changed in mutations((folder / name).read_bytes(), COUNT):
        changing(name, changed)
        for door, expected in zip(DOORS[name], whole, strict=True):
            try:
                opened = door(folder)
            except CrossanError:
                refused += 1
            else:
                assert name not in COVERED or opened == expected
    assert refused > COUNT / 10


def test_a_torn_owner_is_nobody(place):
    owner = place / "r" / ".owner"
    for text in (b"", b"x", b"\xff\xfe", bytes(90), b"a-b-c", b"1" * 5_000, b"-1--1-x"):
        owner.write_bytes(text)
        begun_again(place / "r")
        assert not owner.exists()


def forge(folder, changing, tensors=None, state=None):
    """Write the best checkpoint anew as a stranger could, with digests that are right."""
    best = folder / "checkpoints" / "best"
    path = best / "model.safetensors"
    data = tensors if isinstance(tensors, bytes) else save(tensors or load_file(path))
    digests = state or {"model.safetensors": hashlib.sha256(data).hexdigest()}
    recorded = json.loads((best / "state.json").read_text())
    del recorded["digest"]
    changing("checkpoints/best/model.safetensors", data)
    changing(
        "checkpoints/best/state.json", checkpoint._encode_state({**recorded, "sha256": digests})
    )


@pytest.mark.parametrize(
    "name", ["../../../secret", "/etc/hostname", "../last/model.safetensors", "state.json", ""]
)
def test_a_state_that_names_other_files_is_refused(name, place, changing):
    digest = hashlib.sha256(b"").hexdigest()
    forge(place / "r", changing, state={name: digest, "model.safetensors": digest})
    result = attempt(evaluate, place / "r", "--device", "cpu")
    assert isinstance(result.exception, StoreIntegrityError)
    assert "expected names of files beside it" in result.exception.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("command", [evaluate, recommend])
def test_weights_that_are_no_numbers_are_4_and_no_row_of_figures(value, command, place, changing):
    tensors = load_file(place / "r" / "checkpoints" / "best" / "model.safetensors")
    forge(place / "r", changing, {name: torch.full_like(t, value) for name, t in tensors.items()})
    user = ["--user", "u001"] if command is recommend else []
    result = attempt(command, place / "r", "--device", "cpu", *user)
    assert isinstance(result.exception, StoreIntegrityError)
    assert "weights are NaN or infinite, first: " in result.exception.message
    assert result.stdout == ""


def test_weights_that_overflow_are_4(place, changing):
    tensors = load_file(place / "r" / "checkpoints" / "best" / "model.safetensors")
    forge(place / "r", changing, {name: torch.full_like(t, 3e38) for name, t in tensors.items()})
    result = attempt(evaluate, place / "r", "--device", "cpu")
    assert isinstance(result.exception, StoreIntegrityError)
    assert "expected finite item vectors" in result.exception.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (2**63 - 1).to_bytes(8, "little"),
        (20).to_bytes(8, "little") + b"[" * 20,
        (2).to_bytes(8, "little") + b"{}",
        (72).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}'.ljust(72),
        (58).to_bytes(8, "little")
        + b'{"a":{"dtype":"ODD","shape":[0],"data_offsets":[0,0]}}'.ljust(58),
    ],
)
def test_tensors_that_are_none_are_refused(data, place, changing):
    forge(place / "r", changing, data)
    with pytest.raises((StoreIntegrityError, IncompatibleError)):
        open_run(place / "r", device="cpu")


def test_a_pipe_in_the_place_of_a_file_is_never_waited_for(place, tmp_path):
    (tmp_path / "r").mkdir()
    for path in (place / "r").iterdir():
        (tmp_path / "r" / path.name).symlink_to(path)
    for name in ("result.json", "metrics.jsonl", "config.toml", "cache.lock.json"):
        (tmp_path / "r" / name).unlink()
        os.mkfifo(tmp_path / "r" / name)
        with pytest.raises(CrossanError):
            rows_of_report(tmp_path / "r")
        (tmp_path / "r" / name).unlink()
        (tmp_path / "r" / name).symlink_to(place / "r" / name)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 3_000 + "b = 1",
        "a = " + "[" * 3_000,
        "\n".join(f"k{n} = 1" for n in range(60_000)),
        "seed = " + "9" * 5_000,
        "seed = " + "9" * 400,
        f'"{"x" * 100_000}" = 1',
        "x" * 2**21,
        "[model]\nkind = 3",
        "model = [{kind = 'crossan'}]",
        "max_epochs = 2024-01-01T00:00:00Z",
        "[optimiser]\nlr = nan",
    ],
)
def test_settings_that_no_run_has_are_refused_at_once(text, tmp_path):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(CrossanError) as refused:
        load_settings(RunSettings, files=[tmp_path / "config.toml"], environment={})
    assert refused.value.exit_code == 2
    assert len(refused.value.message) < 10_000
