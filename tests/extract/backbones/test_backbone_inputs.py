"""Odd media, several threads, other libraries: what must not change a medium's model inputs, and what the identity tells."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.models.audio_spectrogram_transformer import (
    feature_extraction_audio_spectrogram_transformer as ast,
)

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.families import FAMILIES


def load(tiny, family, **options):
    modality, folder = tiny[family]
    return load_backbone(modality, str(folder), device="cpu", **options)


def model_input(backbone, medium):
    """What the model reads of one medium, without the batch axis."""
    (values,) = backbone.model_inputs([backbone.prepare(medium)])[0].values()
    return values[0].numpy()


@pytest.mark.parametrize("family", ["vit", "videomae", "vivit"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (40, 1), (1, 40), (50, 3), (3, 50)])
def test_colours_stay_in_their_channels_however_small_the_picture(tiny, family, size):
    backbone = load(tiny, family)
    colour = (255, 0, 128)
    width, height = size
    if backbone.modality is Modality.IMAGE:
        values = model_input(backbone, Image.new("RGB", size, colour))
    else:
        frames = np.broadcast_to(
            np.array(colour, np.uint8), (backbone.frame_count, height, width, 3)
        )
        values = model_input(backbone, frames)[0]
    assert values.shape == (3, 32, 32)
    # With mean and deviation 0.5, 255 becomes 1, 0 becomes -1 and 128 almost 0; ViViT's tiny processor scales again.
    red, green, blue = values.mean(axis=(1, 2))
    assert red > blue > green
    assert np.ptp(values, axis=(1, 2)).max() < 1e-5


def test_a_picture_of_known_values_becomes_known_inputs(tiny):
    values = model_input(load(tiny, "vit"), Image.new("RGB", (7, 5), (255, 0, 51)))
    np.testing.assert_allclose(values[:, 0, 0], [1.0, -1.0, -0.6], atol=1e-6)  # 2 * value / 255 - 1
    assert values.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 399])
def test_a_sound_shorter_than_one_window_is_refused(tiny, count):
    with pytest.raises(DataError, match=f"at least 400 samples, found {count}"):
        load(tiny, "audio-spectrogram-transformer").prepare(np.zeros(count, np.float32))


def test_one_window_of_sound_is_enough_and_the_rest_is_padding(tiny):
    values = model_input(load(tiny, "audio-spectrogram-transformer"), np.full(400, 0.1, np.float32))
    assert values.shape == (304, 32)
    padding = (0.0 + 4.2677393) / (2 * 4.5689974)  # the extractor pads before it standardises
    np.testing.assert_allclose(values[1:], padding, rtol=1e-6)


def test_an_installed_torchaudio_makes_no_difference(tiny, monkeypatch):
    monkeypatch.setattr(ast, "is_speech_available", lambda: True)
    samples = np.sin(np.arange(8_000) * 0.1).astype(np.float32)
    values = model_input(load(tiny, "audio-spectrogram-transformer"), samples)
    assert np.isfinite(values).all()
    assert not ast.is_speech_available()


def test_titles_are_cut_at_the_longest_the_backbone_reads(tiny):
    backbone = load(tiny, "bert")
    assert backbone.text_length("ab") == 3  # [CLS] ab [SEP]
    assert backbone.text_length("") == 2
    assert backbone.text_length("ab " * 500) == 64
    assert backbone.encode([backbone.prepare("ab " * 500), backbone.prepare("")]).shape == (
        2,
        7,
        32,
    )


def test_threads_prepare_the_same_inputs(tiny):
    backbone = load(tiny, "bert")
    titles = ["word " * (number % 90) for number in range(600)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(backbone.prepare, titles))
    for title, inputs in zip(titles, together, strict=True):
        assert len(inputs["input_ids"]) == min(2 + 2 * title.count("word"), 64)  # wo ##rd


def test_a_case_keeping_tokeniser_is_another_identity(tiny, tmp_path):
    folder = tmp_path / "cased"
    shutil.copytree(tiny["bert"][1], folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    plain, cased = load(tiny, "bert"), load_backbone(Modality.TEXT, str(folder), device="cpu")
    assert plain.prepare("AB")["input_ids"].tolist() != cased.prepare("AB")["input_ids"].tolist()
    inputs, other = (backbone.identity("float16", "raw").inputs for backbone in (plain, cased))
    assert inputs["tokenizer_sha256"] != other["tokenizer_sha256"]


@pytest.mark.parametrize(
    "family", ["bert", "vit", "audio-spectrogram-transformer", "videomae", "vivit"]
)
def test_the_fingerprint_is_the_same_when_loaded_again(tiny, family):
    first, second = (load(tiny, family).identity("float16", "raw") for _ in range(2))
    assert first == second
    assert first.fingerprint == second.fingerprint
    assert first.dim == 32


def test_media_recipe_is_part_of_the_identity(tiny):
    inputs = load(tiny, "videomae").identity("float16", "raw").inputs
    assert (inputs["clip_start_s"], inputs["clip_length_s"], inputs["frame_count"]) == (
        0.0,
        3.0,
        16,
    )
    assert inputs["processor"] == "VideoMAEImageProcessorPil"
    assert (
        load(tiny, "audio-spectrogram-transformer")
        .identity("float16", "raw")
        .inputs["sampling_rate"]
        == 16_000
    )


def test_codec_changes_no_fingerprint_but_the_stored_type_does(tiny):
    backbone = load(tiny, "vit")
    plain = backbone.identity("float16", "raw").fingerprint
    assert backbone.identity("float16", "zstd").fingerprint == plain
    assert backbone.identity("float32", "raw").fingerprint != plain


def topic_media(modality, topic, random):
    """One medium whose topic shows: other letters, another colour, another pitch, a colour that wanders."""
    if modality is Modality.TEXT:
        words = ["guitar amp", "river trout", "cake icing", "python code"][topic].split()
        return " ".join([*random.permutation([*words, *words]), f"no {random.integers(10, 99)}"])
    noise = random.integers(-25, 25, (16, 48, 64, 3))
    frames = np.full(
        (16, 48, 64, 3), [(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60)][topic]
    )
    frames = np.clip(frames + noise, 0, 255).astype(np.uint8)
    if modality is Modality.IMAGE:
        return Image.fromarray(frames[0])
    if modality is Modality.VIDEO:
        return frames
    time = np.arange(48_000) / 16_000
    tone = np.sin(2 * np.pi * (150 << topic) * random.uniform(0.95, 1.05) * time)
    return (0.3 * tone + 0.02 * random.normal(size=time.size)).astype(np.float32)


@pytest.mark.parametrize("family", ["bert", "vit", "audio-spectrogram-transformer", "videomae"])
def test_tiny_backbones_tell_topics_apart(tiny, family):
    backbone, random = load(tiny, family), np.random.default_rng(1)
    topics = np.arange(48) % 4
    inputs = [backbone.prepare(topic_media(backbone.modality, topic, random)) for topic in topics]
    states = np.concatenate(
        [backbone.encode(inputs[start : start + 16]) for start in range(0, 48, 16)]
    )
    known, asked = states[:24].reshape(24, -1), states[24:].reshape(24, -1)
    centres = np.stack([known[topics[:24] == topic].mean(axis=0) for topic in range(4)])
    nearest = np.linalg.norm(asked[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == topics[24:]).mean() >= 0.9


@pytest.mark.parametrize(
    ("family", "head_class"),
    [
        ("bert", "BertForPreTraining"),
        ("vit", "ViTForImageClassification"),
        ("audio-spectrogram-transformer", "ASTForAudioClassification"),
        ("videomae", "VideoMAEForPreTraining"),
        ("vivit", "VivitForVideoClassification"),
    ],
)
def test_published_checkpoints_with_a_head_give_the_backbone_inside(
    tiny, family, head_class, tmp_path
):
    modality, folder = tiny[family]
    shutil.copytree(folder, tmp_path / "model")
    plain = load(tiny, family)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.decoder_hidden_size, config.decoder_num_attention_heads = 32, 2
    model = getattr(transformers, head_class)(config)
    inner = getattr(model, model.base_model_prefix)
    body = getattr(transformers, FAMILIES[family].model_class).from_pretrained(folder)
    inner.load_state_dict(body.state_dict(), strict=False)
    model.save_pretrained(tmp_path / "model")
    headed = load_backbone(modality, str(tmp_path / "model"), device="cpu")
    batch = (
        [headed.prepare(topic_media(modality, 0, np.random.default_rng(0)))]
        if family != "vivit"
        else [
            headed.prepare(
                np.arange(4 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(4, 32, 32, 3)
            )
        ]
    )
    np.testing.assert_allclose(headed.encode(batch), plain.encode(batch), rtol=1e-5, atol=1e-6)
