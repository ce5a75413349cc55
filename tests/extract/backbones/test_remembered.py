"""A backbone that was loaded once is known without loading it, until anything that it follows from changes."""

import json
import os
import shutil

import numpy as np
import pytest

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import Backbone, Choice, load_backbone, open_backbone, remembering
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.remembered import RememberedBackbone

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


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"dim": "wide"}', b"\xff", b'{"dim": 32, "layers']
)
def test_a_damaged_memory_is_made_anew(vit, memory, content):
    open_vit(vit)
    (file,) = memory.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert isinstance(open_vit(vit), Backbone)
    assert file.read_bytes() == whole


def test_a_memory_that_loading_contradicts_is_refused_and_forgotten(vit, memory):
    open_vit(vit)
    (file,) = memory.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"pooling":"cls"', b'"pooling":"max"'))
    false = open_vit(vit)
    assert false.identity("float16", "raw").capture["pooling"] == "max"
    with pytest.raises(IncompatibleError, match="expected the backbone that an earlier run"):
        false.prepare(canary_inputs(false)[0])
    assert list(memory.iterdir()) == []
    assert isinstance(open_vit(vit), Backbone)


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
