"""Pooled hooks against transformers' own hidden states, for all five families."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.stores.canary import check_canary
from crossan.extract.backbones import backbone as backbone_module
from crossan.extract.backbones import load_backbone, loading, write_tiny
from crossan.extract.backbones.families import FAMILIES as BUILT_IN
from crossan.extract.backbones.layers import parse_layers
from crossan.extract.job.canary import canary_features

FAMILIES = ["bert", "vit", "audio-spectrogram-transformer", "videomae", "vivit"]
MODEL = {
    "bert": transformers.BertModel,
    "vit": transformers.ViTModel,
    "audio-spectrogram-transformer": transformers.ASTModel,
    "videomae": transformers.VideoMAEModel,
    "vivit": transformers.VivitModel,
}


def make_media(modality, frame_count=16):
    random = np.random.default_rng(0)
    if modality is Modality.TEXT:
        return ["a red fox", "two words and many more of them to read", "x"]
    if modality is Modality.IMAGE:
        return [
            Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(3)
        ]
    if modality is Modality.AUDIO:
        return [
            random.normal(size=length).astype(np.float32) * 0.1 for length in (48_000, 8_000, 600)
        ]
    return list(random.integers(0, 255, (3, frame_count, 40, 50, 3), dtype=np.uint8))


def reference_states(family, folder, media):
    """All hidden states of transformers itself with its own processor, ``(layer, items, position, dim)``; the mask."""
    options = {"add_pooling_layer": False} if family in {"bert", "vit", "vivit"} else {}
    model = MODEL[family].from_pretrained(folder, **options).eval()
    processor = getattr(transformers, BUILT_IN[family].processor_class).from_pretrained(folder)
    if family == "bert":
        given = processor(media, truncation=True, max_length=64, padding=True, return_tensors="pt")
    elif family == "audio-spectrogram-transformer":
        given = processor(media, sampling_rate=16_000, return_tensors="pt")
    elif family == "vit":
        given = processor(media, return_tensors="pt")
    else:
        given = processor(
            [list(frames) for frames in media],
            input_data_format="channels_last",
            return_tensors="pt",
        )
    with torch.no_grad():
        return model(**given, output_hidden_states=True).hidden_states, given.get("attention_mask")


# The golden rule of each family: which token positions one vector is made of.
POSITIONS = [
    ("bert", "cls", lambda state, mask: state[:, 0]),
    (
        "bert",
        "mean",
        lambda state, mask: torch.stack(
            [s[m.bool()].mean(0) for s, m in zip(state, mask, strict=True)]
        ),
    ),
    ("vit", "cls", lambda state, mask: state[:, 0]),
    ("vit", "mean", lambda state, mask: state[:, 1:].mean(1)),
    (
        "audio-spectrogram-transformer",
        "special",
        lambda state, mask: (state[:, 0] + state[:, 1]) / 2,
    ),
    ("audio-spectrogram-transformer", "mean", lambda state, mask: state[:, 2:].mean(1)),
    ("videomae", "mean", lambda state, mask: state.mean(1)),
    ("vivit", "cls", lambda state, mask: state[:, 0]),
    ("vivit", "mean", lambda state, mask: state[:, 1:].mean(1)),
]


@pytest.mark.parametrize("layers", ["half", "all", "1,3"])
@pytest.mark.parametrize(("family", "pooling", "pick"), POSITIONS)
def test_pooled_hooks_equal_output_hidden_states(tiny, family, pooling, pick, layers):
    modality, folder = tiny[family]
    backbone = load_backbone(modality, str(folder), layers=layers, pooling=pooling, device="cpu")
    media = make_media(modality, backbone.frame_count)
    states, mask = reference_states(family, folder, media)
    expected = torch.stack([pick(states[layer], mask) for layer in backbone.layers], dim=1)
    found = backbone.encode([backbone.prepare(medium) for medium in media])
    assert found.dtype == np.float32
    assert found.shape == (3, len(backbone.layers), 32)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_default_pooling_and_kept_layers(tiny, family):
    modality, folder = tiny[family]
    backbone = load_backbone(modality, str(folder), device="cpu")
    expected = {"videomae": "mean", "audio-spectrogram-transformer": "special"}.get(family, "cls")
    assert backbone.pooling == expected
    assert backbone.layers == ((0, 2) if family == "vivit" else (0, 2, 4, 6, 8, 10, 12))


@pytest.mark.parametrize("family", ["vit", "audio-spectrogram-transformer", "vivit"])
def test_the_final_norm_is_not_applied(tiny, family):
    modality, folder = tiny[family]
    backbone = load_backbone(modality, str(folder), layers="all", pooling="cls", device="cpu")
    batch = [backbone.prepare(medium) for medium in make_media(modality, backbone.frame_count)]
    options = {"add_pooling_layer": False} if family != "audio-spectrogram-transformer" else {}
    model = MODEL[family].from_pretrained(folder, **options).eval()
    with torch.no_grad():
        normed = model(**backbone.model_inputs(batch)[0]).last_hidden_state
    assert not np.allclose(backbone.encode(batch)[:, -1], normed[:, 0].numpy(), atol=1e-3)
    assert backbone.identity("float16", "raw").capture["final_norm"] == "not applied"


def test_padding_does_not_change_a_title(tiny):
    modality, folder = tiny["bert"]
    backbone = load_backbone(modality, str(folder), device="cpu")
    batch = [backbone.prepare(title) for title in make_media(modality)]
    alone = np.concatenate([backbone.encode([inputs]) for inputs in batch])
    np.testing.assert_allclose(backbone.encode(batch), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_different_media_differ_clearly(tiny, family):
    modality, folder = tiny[family]
    backbone = load_backbone(modality, str(folder), device="cpu")
    first, second, _ = backbone.encode(
        [backbone.prepare(medium) for medium in make_media(modality, backbone.frame_count)]
    )
    relative = np.abs(first - second).mean(axis=1) / np.abs(first).mean(axis=1).clip(1e-9)
    assert relative[1:].max() > (0.01 if family == "vivit" else 0.05)


def test_the_cls_position_of_hidden_state_0_is_the_same_for_every_item(tiny):
    modality, folder = tiny["vit"]
    backbone = load_backbone(modality, str(folder), device="cpu")
    states = backbone.encode([backbone.prepare(medium) for medium in make_media(modality)])
    assert np.array_equal(states[0, 0], states[1, 0])


def test_identity_does_not_depend_on_the_folder(tiny, tmp_path):
    modality, folder = tiny["bert"]
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    ours, theirs = (
        load_backbone(modality, str(place), device="cpu").identity("float16", "raw")
        for place in (folder, copy)
    )
    assert ours.fingerprint == theirs.fingerprint
    text = json.dumps(ours.to_dict())
    assert str(folder) not in text
    assert transformers.__version__ not in text


@pytest.mark.parametrize("change", [{"layers": "all"}, {"pooling": "mean"}, {"dtype": "bfloat16"}])
def test_identity_depends_on_the_recipe(tiny, change):
    modality, folder = tiny["bert"]
    plain = load_backbone(modality, str(folder), device="cpu").identity("float16", "raw")
    assert (
        load_backbone(modality, str(folder), device="cpu", **change)
        .identity("float16", "raw")
        .fingerprint
        != plain.fingerprint
    )


@pytest.mark.parametrize("family", ["bert", "vit", "audio-spectrogram-transformer", "videomae"])
def test_the_identity_has_the_attention_that_the_model_computes(tiny, family):
    modality, folder = tiny[family]
    backbone = load_backbone(modality, str(folder), device="cpu")
    assert (
        backbone.identity("float16", "raw").capture["attention"]
        == backbone.model.config._attn_implementation
        == "sdpa"
    )


def test_another_attention_is_another_store_though_its_numbers_pass_for_the_same(tiny, monkeypatch):
    modality, folder = tiny["bert"]
    stores = {}
    for attention in ("sdpa", "eager"):
        for module in (backbone_module, loading):
            monkeypatch.setattr(module, "ATTENTION", attention)
        loaded = load_backbone(modality, str(folder), device="cpu")
        stores[attention] = loaded.identity("float16", "raw"), canary_features(loaded)
    (ours, recorded), (theirs, computed) = stores.values()
    assert ours.fingerprint != theirs.fingerprint
    # Within rounding, so the canary alone would not tell the two apart.
    check_canary(recorded, computed, compute_dtype="float32", where="the store of sdpa")


def test_identity_depends_on_the_weights(tmp_path):
    prints = dict.fromkeys((0, 1))
    for seed in prints:
        folder = write_tiny(tmp_path / str(seed), seed)[Modality.IMAGE]
        prints[seed] = (
            load_backbone(Modality.IMAGE, str(folder), device="cpu")
            .identity("float16", "raw")
            .fingerprint
        )
    assert prints[0] != prints[1]


def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path):
    for modality, folder in write_tiny(tmp_path / "again").items():
        family = {Modality.TEXT: "bert", Modality.IMAGE: "vit", Modality.VIDEO: "videomae"}.get(
            modality, "audio-spectrogram-transformer"
        )
        for path in sorted(folder.iterdir()):
            assert path.read_bytes() == (tiny[family][1] / path.name).read_bytes(), path


def test_a_hub_snapshot_folder_tells_its_id_and_commit(tiny, tmp_path):
    place = tmp_path / "models--org--name" / "snapshots" / "abc123"
    shutil.copytree(tiny["vit"][1], place)
    backbone = (
        load_backbone(Modality.IMAGE, str(place), device="cpu").identity("float16", "raw").backbone
    )
    assert (backbone["id"], backbone["revision"]) == ("org/name", "abc123")


def test_a_hub_id_is_read_from_the_local_hub_cache_offline(tiny, tmp_path):
    place = tmp_path / "hub" / "models--org--name"
    shutil.copytree(tiny["vit"][1], place / "snapshots" / "abc123")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc123")
    script = (
        "from crossan.extract.backbones import load_backbone\nfrom crossan.cache_schema.modality import Modality\n"
        "print(load_backbone(Modality.IMAGE, 'org/name').identity('float16', 'raw').backbone['revision'])"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "abc123"


@pytest.mark.parametrize(
    ("source", "options", "match"),
    [
        ("/nowhere/model", {}, "--backbone /nowhere/model: no such folder"),
        ("{bert}", {"revision": "main"}, "is a folder, which has no revisions"),
        ("{vit}", {}, "expected a text backbone, found vit, which reads image"),
        ("{bert}", {"pooling": "special"}, "--pooling special: expected one of cls, mean for bert"),
        ("{bert}", {"layers": "0,13"}, "--layers 0,13: expected numbers from 0 to 12"),
        ("{bert}", {"dtype": "int8"}, "--dtype int8: expected one of float32"),
        ("{bert}", {"device": "quantum"}, "--device quantum: not available on this machine"),
    ],
)
def test_what_does_not_fit_is_named(tiny, source, options, match):
    source = source.format(bert=tiny["bert"][1], vit=tiny["vit"][1])
    with pytest.raises(UsageError, match=match):
        load_backbone(Modality.TEXT, source, **{"device": "cpu", **options})


def test_a_missing_model_says_what_to_download_where(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UsageError,
        match=r"(?s)revision v2 is not in the local hub cache .*hf download no/such --revision v2",
    ):
        load_backbone(Modality.TEXT, "no/such", revision="v2")


@pytest.mark.parametrize(
    ("file", "match"),
    [
        (
            "model.safetensors",
            r"(?s)expected weights as \*.safetensors.*found pytorch_model.bin; pickled weights are never loaded",
        ),
        ("config.json", r"expected config.json in"),
        ("preprocessor_config.json", r"expected preprocessor_config.json beside the weights"),
    ],
)
def test_an_incomplete_snapshot_is_refused(tiny, tmp_path, file, match):
    folder = tmp_path / "model"
    shutil.copytree(tiny["vit"][1], folder)
    (folder / file).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, never opened")
    with pytest.raises(UsageError, match=match):
        load_backbone(Modality.IMAGE, str(folder), device="cpu")


def test_a_checkpoint_without_some_weights_is_refused(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny["bert"][1], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 13}))
    with pytest.raises(
        UsageError, match=r"weights of BertModel are not in the checkpoint, first: encoder.layer.12"
    ):
        load_backbone(Modality.TEXT, str(folder), device="cpu")


@pytest.mark.parametrize(
    ("text", "expected"), [("half", (0, 2)), ("all", (0, 1, 2, 3)), ("3,0", (0, 3))]
)
def test_kept_layers(text, expected):
    assert parse_layers(text, 3) == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [("some", "expected half, all or numbers"), ("1,1", "named twice"), ("-1", "from 0 to 3")],
)
def test_bad_layers(text, match):
    with pytest.raises(UsageError, match=match):
        parse_layers(text, 3)


def test_real_vocabulary(test_data, tiny, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    vocabulary = test_data / "bert_vocab"
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(vocabulary / name, folder / name)
    config = json.loads((tiny["bert"][1] / "config.json").read_text())
    config |= {"vocab_size": 30_522, "max_position_embeddings": 512, "num_hidden_layers": 1}
    transformers.BertModel(
        transformers.BertConfig(**config), add_pooling_layer=False
    ).save_pretrained(folder)
    backbone = load_backbone(Modality.TEXT, str(folder), device="cpu")
    # [CLS] hello , world ! [SEP] in bert-base-uncased
    assert backbone.prepare("Hello, World!")["input_ids"].tolist() == [
        101,
        7592,
        1010,
        2088,
        999,
        102,
    ]
    assert backbone.text_length("Hello, World!") == 6
