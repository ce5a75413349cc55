"""Checkpoints that are damaged, hostile or not to be had; and the command line."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.cli import app
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.backbones.presets import PRESETS, default_preset, resolve
from crossan.extract.job.request import backbone_source
from support.refusals import refusal


@pytest.fixture
def copy(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny["bert"][1], folder)
    return folder


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def load(folder):
    return load_backbone(Modality.TEXT, str(folder), device="cpu")


def test_damaged_weights_are_named_with_the_remedy(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(
        UsageError,
        match=r"BertModel could not be loaded from .*\n  .*again, to a new folder: --backbone FOLDER",
    ):
        load(copy)


def test_a_damaged_snapshot_of_the_hub_is_fetched_again_at_its_commit(tiny, tmp_path):
    commit = "0123456789" * 4
    folder = tmp_path / "models--org--bert" / "snapshots" / commit
    shutil.copytree(tiny["bert"][1], folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UsageError) as caught:
        load(folder)
    expected = f"Run: hf download org/bert --revision {commit} --force-download"
    assert caught.value.remedy == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "vocab.txt").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        lambda folder: change_config(folder, vocab_size=7),
    ],
)
def test_no_remedy_writes_into_the_folder_of_a_checkpoint(copy, damage):
    damage(copy)
    with pytest.raises(UsageError) as caught:
        load(copy)
    remedy = caught.value.remedy or ""
    assert "--local-dir" not in remedy
    assert "ID" not in remedy
    assert f"save_pretrained('{copy}')" not in remedy


@pytest.mark.parametrize(
    "name", ["", "config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"]
)
def test_what_may_not_be_read_is_refused_as_such(copy, name, monkeypatch):
    """By stand-ins for the system's calls, as whoever runs the tests may be allowed everything."""
    forbidden = copy / name

    def refuse(call):
        def guarded(path, *args, **options):
            if Path(path) == forbidden:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *args, **options)

        return guarded

    monkeypatch.setattr(Path, "open", refuse(Path.open))
    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    before = sorted(copy.iterdir()) if name else None
    with pytest.raises(ResourceError) as caught:
        load(copy)
    assert caught.value.message == f"{forbidden}: cannot be read: Permission denied"
    assert caught.value.remedy.endswith("or give another folder: --backbone FOLDER")
    assert caught.value.exit_code == 6
    assert before is None or sorted(copy.iterdir()) == before


def test_a_folder_that_may_not_be_entered_is_refused_as_such(tiny, monkeypatch):
    folder = tiny["bert"][1]

    def refuse(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ResourceError, match="cannot be read: Permission denied"):
        load(folder)
    with pytest.raises(ResourceError, match="cannot be read: Permission denied"):
        backbone_source(str(folder), Modality.TEXT, (Modality.TEXT,))


def test_weights_of_another_shape_are_refused(copy):
    change_config(copy, hidden_size=64)
    with pytest.raises(
        UsageError,
        match=r"weights of the checkpoint have another shape than config.json says, first: emb",
    ):
        load(copy)


def test_a_config_that_cannot_be_is_refused(copy):
    change_config(copy, hidden_size="wide")
    with pytest.raises(UsageError, match="BertModel could not be loaded"):
        load(copy)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "config.json: expected one JSON object"),
        ("[]", "config.json: expected one JSON object, found list"),
    ],
)
def test_a_config_that_is_no_json_object(copy, text, match):
    (copy / "config.json").write_text(text)
    with pytest.raises(UsageError, match=match):
        load(copy)


def test_too_little_memory_for_the_weights_is_a_resource_error(copy, monkeypatch):
    def no_memory(*args, **kwargs):
        raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("transformers.BertModel.from_pretrained", no_memory)
    with pytest.raises(ResourceError, match="no memory left on cpu for the weights") as caught:
        load(copy)
    assert caught.value.exit_code == 6


def test_an_unknown_family_is_named(copy):
    change_config(copy, model_type="gpt2")
    with pytest.raises(UsageError, match="expected model_type one of bert, vit, .* found gpt2"):
        load(copy)


def test_a_folder_of_checkpoints_names_them(tiny):
    with pytest.raises(
        UsageError,
        match=r"expected config.json in .* \(it holds the folders audio, .*text.*: name one\)",
    ):
        load(tiny["bert"][1].parent)


def test_code_beside_a_checkpoint_is_never_run(copy, tmp_path):
    marker = tmp_path / "it-ran"
    (copy / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    change_config(copy, auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load(copy).dim == 32
    assert not marker.exists()


@pytest.mark.parametrize("name", ["no such thing", "a/b/c"])
def test_what_can_be_no_hub_id(name):
    with pytest.raises(UsageError, match=f"--backbone {name}: neither a folder nor a hub id"):
        load_backbone(Modality.TEXT, name)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_that_is_not_there_says_which_revision_to_download_where(
    preset, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        load_backbone(preset.modality, preset.name)
    assert caught.value.exit_code == 2
    assert (
        f"revision {preset.revision} is not in the local hub cache {tmp_path}"
        in caught.value.message
    )
    assert f"hf download {preset.hub_id} --revision {preset.revision}" in str(caught.value)


def test_offline_asks_nobody(tmp_path):
    script = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from crossan.extract.backbones import load_backbone\n"
        "from crossan.cache_schema.errors import UsageError\n"
        "from crossan.cache_schema.modality import Modality\n"
        "try: load_backbone(Modality.TEXT)\n"
        "except UsageError as error: print(error)\n"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "hf download google-bert/bert-base-uncased --revision 86b5e093" in done.stdout


def test_a_named_revision_beats_the_pinned_one_and_a_folder_beats_a_preset(monkeypatch, tmp_path):
    assert resolve("vit-base", None) == (
        "google/vit-base-patch16-224",
        "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
    )
    assert resolve("google/vit-base-patch16-224", "main") == ("google/vit-base-patch16-224", "main")
    assert resolve("someone/else", None) == ("someone/else", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit-base").mkdir()
    assert resolve("vit-base", None) == ("vit-base", None)


def test_presets_cover_every_modality_and_say_what_their_licence_allows():
    assert [default_preset(modality).hub_id.split("/")[1] for modality in Modality] == [
        "bert-base-uncased",
        "vit-base-patch16-224",
        "videomae-base",
        "ast-finetuned-audioset-10-10-0.4593",
    ]
    assert {preset.name for preset in PRESETS if not preset.is_commercial} == {"videomae-base"}
    for preset in PRESETS:
        assert FAMILIES[preset.family].modality is preset.modality


def test_cli_lists_presets_with_licences():
    shown = CliRunner().invoke(app, ["ls"])
    assert shown.exit_code == 0
    assert "CC-BY-NC-4.0" in shown.stdout
    listed = json.loads(CliRunner().invoke(app, ["ls", "--json"]).stdout)["backbones"]
    assert [entry["name"] for entry in listed] == [preset.name for preset in PRESETS]


def test_cli_writes_and_shows_tiny_checkpoints(tmp_path):
    out = tmp_path / "out"
    written = CliRunner().invoke(app, ["init-tiny", str(out), "--seed", "3", "--json"])
    assert json.loads(written.stdout) == {
        "backbones": {modality.value: str(out / modality.value) for modality in Modality},
        "seed": 3,
    }
    report = json.loads(CliRunner().invoke(app, ["info", str(out / "audio"), "--json"]).stdout)
    assert report["capture"]["layers"] == [0, 2, 4, 6, 8, 10, 12]
    assert len(report["backbone"]["weights_sha256"]["model.safetensors"]) == 64
    shown = CliRunner().invoke(app, ["info", str(out / "text")])
    assert "pooling     cls" in shown.stdout
    assert "is the same for every item" in shown.stderr
    with pytest.raises(UsageError, match="is not empty"):
        CliRunner().invoke(app, ["init-tiny", str(out)], catch_exceptions=False)
    smell = refusal(app, "info", out / "text", "--modality", "smell")
    assert smell.startswith("--modality smell: expected one of text, image, ")


@pytest.mark.parametrize("command", ["info", "check"])
def test_a_length_of_titles_for_a_backbone_of_pictures_is_refused(command, small):
    error = CliRunner().invoke(app, [command, str(small / "vit"), "--max-length", "10"]).exception
    assert isinstance(error, UsageError)
    assert error.message == (
        f"--max-length 10: titles are cut to it, and {small / 'vit'} reads image"
    )
    shown = CliRunner().invoke(app, ["info", str(small / "bert"), "--max-length", "10"])
    assert "max length  10 tokens" in shown.stdout
