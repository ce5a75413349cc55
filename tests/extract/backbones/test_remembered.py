"""A backbone that was loaded once is known without loading it, until anything that it follows from changes."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import (
    Backbone,
    Choice,
    load_backbone,
    open_backbone,
    opening,
    remembering,
)
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.description import Description
from crossan.extract.backbones.remembered import RememberedBackbone
from support.counts import of_full

FAMILIES = ("bert", "vit", "audio-spectrogram-transformer", "videomae", "vivit")


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "crossan" / "backbones"


@pytest.fixture
def vit(tiny, tmp_path):
    return shutil.copytree(tiny["vit"][1], tmp_path / "vit")


def open_vit(folder, **options):
    return open_backbone(Modality.IMAGE, str(folder), choice=Choice(**{"device": "cpu", **options}))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_remembered_is_what_loading_tells(tiny, family):
    modality, folder = tiny[family]
    choice = Choice(layers="all", pooling="mean", device="cpu", dtype="bfloat16")
    first = open_backbone(modality, str(folder), choice=choice)
    again = open_backbone(modality, str(folder), choice=choice)
    loaded = load_backbone(
        modality, str(folder), layers="all", pooling="mean", device="cpu", dtype="bfloat16"
    )
    assert (type(first), type(again)) == (Backbone, RememberedBackbone)
    for is_clipped in (False, True):
        identity = loaded.identity("float16", "raw", is_clipped=is_clipped)
        assert again.identity("float16", "raw", is_clipped=is_clipped) == identity
        assert first.identity("float16", "raw", is_clipped=is_clipped) == identity
    for fact in ("modality", "layers", "dim", "sampling_rate", "frame_count"):
        assert getattr(again, fact) == getattr(loaded, fact), fact
    assert again.preparer() == loaded.preparer() or family == "bert"
    media = canary_inputs(again)
    states = again.begin([again.prepare(medium) for medium in media])()
    assert np.array_equal(states, loaded.encode([loaded.prepare(medium) for medium in media]))
    assert (str(again.device), again.provenance()) == ("cpu", loaded.provenance())


def test_a_title_has_as_many_tokens_as_the_loaded_backbone_finds(tiny):
    folder = str(tiny["bert"][1])
    first, again = (open_backbone(Modality.TEXT, folder) for _ in range(2))
    assert isinstance(again, RememberedBackbone)
    assert again.text_length("three red cats") == first.text_length("three red cats") > 2


@pytest.mark.parametrize(
    "options",
    [{"layers": "all"}, {"pooling": "mean"}, {"dtype": "bfloat16"}, {"max_length": 9}],
)
def test_other_options_are_another_backbone(vit, options):
    open_vit(vit)
    assert isinstance(open_vit(vit), RememberedBackbone)
    assert isinstance(open_vit(vit, **options), Backbone)


def _edit(name, **changes):
    def change(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return change


def _flip_a_weight(folder):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    status = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(weights)
    os.utime(folder / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        _edit("config.json", hidden_dropout_prob=0.25),
        _edit("preprocessor_config.json", image_mean=[0.1, 0.2, 0.3]),
        _flip_a_weight,
        lambda folder: (folder / "processor_config.json").write_text("{}"),
    ],
)
def test_any_change_of_the_folder_is_seen(vit, change):
    open_vit(vit)
    change(vit)
    changed = open_vit(vit)
    assert isinstance(changed, Backbone)
    loaded = load_backbone(Modality.IMAGE, str(vit), device="cpu")
    assert changed.identity("float16", "raw") == loaded.identity("float16", "raw")


@pytest.mark.parametrize(
    "changed",
    [
        ("_version_of", lambda name: "9.9" if name == "transformers" else "1"),
        ("_own_files", lambda: iter([])),
        ("platform", type("Other", (), {"machine": lambda: "m", "python_version": lambda: "4"})),
    ],
)
def test_other_libraries_code_or_machines_load_anew(vit, monkeypatch, changed):
    open_vit(vit)
    monkeypatch.setattr(remembering, *changed)
    assert isinstance(open_vit(vit), Backbone)
    assert isinstance(open_vit(vit), RememberedBackbone)


def _write(content):
    return lambda file, whole: file.write_bytes(content)


def _pipe(file, whole):
    file.unlink()
    os.mkfifo(file)


def _endless(file, whole):
    file.unlink()
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "damage",
    [
        *map(_write, (b"", b"{}", b'{"dim": "wide"}', b"\xff", b'{"dim": 32, "layers')),
        # Still a description, of another backbone.
        lambda file, whole: file.write_bytes(whole.replace(b'"layers":[0,2', b'"layers":[0,1')),
        lambda file, whole: file.write_bytes(whole.partition(b"\n")[2]),
        lambda file, whole: file.write_bytes(whole + b" "),
        _pipe,
        _endless,
    ],
)
def test_a_damaged_memory_is_made_anew(vit, memory, damage):
    open_vit(vit)
    (file,) = memory.iterdir()
    whole = file.read_bytes()
    damage(file, whole)
    assert isinstance(open_vit(vit), Backbone)
    assert file.read_bytes() == whole
    assert isinstance(open_vit(vit), RememberedBackbone)


def test_a_memory_under_another_ones_key_is_made_anew(vit, memory):
    open_vit(vit)
    (file,) = memory.iterdir()
    of_half = file.read_bytes()
    open_vit(vit, layers="all")
    (other,) = set(memory.iterdir()) - {file}
    other.write_bytes(of_half)
    assert isinstance(open_vit(vit, layers="all"), Backbone)
    assert other.read_bytes() != of_half


@given(st.data())
@settings(max_examples=of_full(200, 60))
def test_no_flipped_bit_is_remembered(tmp_path_factory, data):
    description = Description(
        modality=Modality.IMAGE, family="vit", family_revision=1, dim=32,
        inputs={"processor": "P"}, capture={"layers": [0, 2], "pooling": "cls"},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("flipped")))
        remembering.remember("a" * 64, description)
        assert remembering.recall("a" * 64) == description
        file = remembering._file("a" * 64)
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        assert remembering.recall("a" * 64) is None


def test_what_is_no_text_is_the_loaders_to_report(vit, memory):
    (vit / os.fsdecode(b"notes\xff.txt")).write_text("")
    assert isinstance(open_vit(vit), Backbone)
    assert isinstance(open_vit(vit), Backbone)
    assert not memory.exists()
    with pytest.raises(UsageError, match="expected one of cls, mean"):
        open_vit(vit, pooling=os.fsdecode(b"\xff"))


def test_a_memory_that_loading_contradicts_is_refused_and_forgotten(vit, memory):
    first = open_vit(vit)
    (file,) = memory.iterdir()
    capture = {**first.description.capture, "pooling": "max"}
    remembering.remember(file.stem, replace(first.description, capture=capture))
    false = open_vit(vit)
    assert false.identity("float16", "raw").capture["pooling"] == "max"
    with pytest.raises(IncompatibleError, match="expected the backbone that an earlier run"):
        false.prepare(canary_inputs(false)[0])
    assert list(memory.iterdir()) == []
    assert isinstance(open_vit(vit), Backbone)


def test_weights_that_are_replaced_before_they_are_loaded_are_refused(vit):
    open_vit(vit)
    again = open_vit(vit)
    weights = again.identity("float16", "raw").backbone["weights_sha256"]
    _flip_a_weight(vit)
    with pytest.raises(IncompatibleError, match="expected the weights that were there when"):
        again.prepare(canary_inputs(again)[0])
    assert open_vit(vit).identity("float16", "raw").backbone["weights_sha256"] != weights


def test_what_was_loaded_of_replaced_files_is_not_remembered(vit, memory, monkeypatch):
    def load_changed(*args):
        _edit("config.json", hidden_dropout_prob=0.25)(vit)
        return load_snapshot(*args)

    load_snapshot = opening.load_snapshot
    with monkeypatch.context() as patch:
        patch.setattr(opening, "load_snapshot", load_changed)
        open_vit(vit)
    assert not memory.exists()
    assert isinstance(open_vit(vit), Backbone)
    assert isinstance(open_vit(vit), RememberedBackbone)


def test_a_device_that_is_named_is_tried_at_once(vit):
    open_vit(vit)
    assert isinstance(open_vit(vit), RememberedBackbone)
    with pytest.raises(UsageError, match="--device nonsense: not available on this machine"):
        open_vit(vit, device="nonsense")


def test_without_a_place_for_the_memory_every_run_loads(vit, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert isinstance(open_vit(vit), Backbone)
    assert isinstance(open_vit(vit), Backbone)


def test_a_file_that_cannot_be_read_is_the_loaders_to_report(vit):
    open_vit(vit)
    (vit / "preprocessor_config.json").unlink()
    os.mkfifo(vit / "preprocessor_config.json")
    with pytest.raises(UsageError, match="expected a regular file"):
        open_vit(vit)
