"""What is wrong with a checkpoint's folder is named with its file, before anything large is done."""

import json
import os
import re

import numpy as np
import pytest
import transformers
from PIL import Image

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from support.checkpoint_damage import LFS_POINTER
from support.checkpoints import MODALITIES


def load(folder, name=None):
    return load_backbone(MODALITIES[name or folder.name], str(folder), device="cpu")


def refused(folder, match):
    with pytest.raises(UsageError, match=f"(?s){match}") as caught:
        load(folder)
    assert caught.value.exit_code == 2
    return caught.value


FILES = [
    (name, file)
    for name, files in {
        "bert": ["config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"],
        "bert-json": ["tokenizer.json", "special_tokens_map.json"],
        "vit": ["preprocessor_config.json", "processor_config.json"],
        "ast": ["preprocessor_config.json", "model.safetensors"],
    }.items()
    for file in files
]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_pointer_that_git_lfs_left_is_named_with_the_command(changed_copy, name, file):
    folder = changed_copy(name)
    (folder / file).write_bytes(LFS_POINTER)
    error = refused(folder, f"{re.escape(file)}: .* git-lfs pointer")
    assert error.remedy == f"Run: git lfs pull  (in {folder})"


@pytest.mark.parametrize(("name", "file"), FILES)
@pytest.mark.parametrize("kind", ["dangling link", "loop", "pipe", "device"])
def test_what_is_no_regular_file_is_refused_without_waiting(changed_copy, name, file, kind):
    folder = changed_copy(name)
    path = folder / file
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        target = {"dangling link": "nowhere", "loop": file, "device": "/dev/zero"}[kind]
        path.symlink_to(target)
    refused(folder, f"{re.escape(file)}: ")


@pytest.mark.parametrize(("name", "file"), [entry for entry in FILES if entry[1].endswith("json")])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '{"a": "\\ud800"}'],
)
def test_what_is_not_one_json_object_is_refused(changed_copy, name, file, text):
    folder = changed_copy(name)
    (folder / file).write_text(text)
    refused(folder, re.escape(file))


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("bert", {"quantization_config": {"quant_method": "bitsandbytes"}}, "by bitsandbytes"),
        ("bert", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "by gptq"),
        ("vit", {"quantization_config": {"quant_method": "fp8"}}, "quantised by fp8"),
        ("ast", {"quantization_config": {"quant_method": "awq"}}, "quantised by awq"),
        ("vivit", {"compression_config": {"x": 1}}, "quantised by"),
        ("bert", {"quantization_config": "int8"}, "quantised by"),
        ("bert", {"hidden_act": "swiglu"}, "found hidden_act 'swiglu'"),
        ("vit", {"hidden_act": "nonsense"}, "found hidden_act 'nonsense'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"num_hidden_layers": 0}, "1 weights|weights of the checkpoint are no part|none"),
        ("bert", {"num_hidden_layers": 10_000_000}, "num_hidden_layers 10000000"),
        ("ast", {"num_hidden_layers": 10_000_000}, "num_hidden_layers 10000000"),
        ("bert", {"num_hidden_layers": 1}, "no part of BertModel .* encoder.layer.1."),
        ("vit", {"num_hidden_layers": 1}, "no part of ViTModel .* first: .*layers?.1."),
        ("bert", {"hidden_size": 10**9}, "would have .* numbers"),
        ("bert", {"intermediate_size": 10**9}, "would have .* numbers"),
        ("bert", {"vocab_size": 10**12}, "would have .* numbers"),
        ("bert", {"max_position_embeddings": 10**10}, "would have .* numbers"),
        ("bert", {"num_attention_heads": 0}, "BertModel could not be loaded"),
        ("bert", {"num_attention_heads": 3}, "BertModel could not be loaded"),
        ("bert", {"type_vocab_size": 0}, "another shape|fail|could not"),
        ("bert", {"layer_norm_eps": "x"}, "BertModel could not be loaded"),
        ("bert", {"layer_norm_eps": -1e9}, "expected finite hidden states"),
        ("bert", {"pad_token_id": 10**6}, "BertModel could not be loaded"),
        ("videomae", {"image_size": 10**6}, "patches, found"),
        ("videomae", {"num_frames": 10**7}, "patches, found"),
        ("vivit", {"tubelet_size": [9, 8, 8]}, "patches, found 0"),
        ("vit", {"patch_size": 64}, "patches, found 0"),
        ("vit", {"image_size": 64}, "another shape"),
        ("vit", {"num_channels": 1}, "another shape"),
        ("ast", {"time_stride": 0}, "ASTModel could not be loaded"),
    ],
)  # fmt: skip
def test_a_config_that_the_weights_cannot_fill_is_refused(changed_copy, name, changes, match):
    refused(changed_copy(name, **changes), match)


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("vit", {"size": 0}, "size"),
        ("vit", {"size": {"height": 0, "width": 32}}, "size.height: input should be greater"),
        ("vit", {"size": {"height": 10**9, "width": 10**9}}, "size"),
        ("vit", {"size": "large"}, "size"),
        ("vit", {"size": {"height": 16, "width": 16}}, "inputs do not fit its model: .*32 x 32"),
        ("vit", {"image_std": [0.5, 0, 0.5]}, "image_std.1: .* should not be 0"),
        ("vit", {"image_mean": "grey"}, "image_mean"),
        ("vit", {"image_mean": [0.5]}, "refuses a plain picture: mean must have 3"),
        ("vit", {"resample": 99}, "resample: input should be less"),
        ("vit", {"resample": "bicubic"}, "resample"),
        ("vit", {"rescale_factor": 0}, "rescale_factor"),
        ("vit", {"do_resize": "yes"}, "do_resize"),
        ("vivit", {"crop_size": {"height": -1, "width": 2}}, "crop_size"),
        ("vit", {"image_processor_type": "Qwen2Tokenizer"}, "found Qwen2Tokenizer"),
        ("vit", {"image_processor_type": "OursImageProcessor"}, "found OursImageProcessor"),
        ("vit", {"image_processor_type": ["ViTImageProcessor"]}, "ViTImageProcessor"),
        ("ast", {"sampling_rate": 0}, "sampling_rate"),
        ("ast", {"sampling_rate": 10**10}, "sampling_rate"),
        ("ast", {"sampling_rate": "16k"}, "sampling_rate"),
        ("ast", {"std": 0}, "std: .* should not be 0"),
        ("ast", {"num_mel_bins": 10**9}, "num_mel_bins"),
        ("ast", {"num_mel_bins": 64}, "expected num_mel_bins 32, as config.json says, found 64"),
        ("ast", {"max_length": 10**9}, "max_length"),
        ("ast", {"feature_extractor_type": "WhisperFeatureExtractor"}, "found WhisperFeature"),
    ],
)  # fmt: skip
def test_settings_of_a_processor_that_cannot_be_are_refused(changed_copy, name, changes, match):
    refused(changed_copy(name, "preprocessor_config.json", **changes), match)


def test_another_processor_that_the_folder_declares_is_used(changed_copy):
    square = {"height": 32, "width": 32}
    folder = changed_copy(
        "vit", "preprocessor_config.json",
        feature_extractor_type="DeiTFeatureExtractor", image_processor_type=None,
        do_center_crop=True, crop_size=square, size={"height": 40, "width": 40}, resample=3,
    )  # fmt: skip
    backbone = load(folder)
    assert backbone.identity("float16", "raw").inputs["processor"] == "DeiTImageProcessorPil"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8))
    expected = transformers.DeiTImageProcessorPil.from_pretrained(folder)(
        picture, return_tensors="np"
    )["pixel_values"][0]
    inputs, _ = backbone.model_inputs([backbone.prepare(picture)])
    assert np.array_equal(inputs["pixel_values"][0].numpy(), expected)


def test_settings_in_a_joint_file_go_before_those_of_their_own(changed_copy):
    folder = changed_copy("vit")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    joint = {"image_processor": settings | {"image_mean": [0.1, 0.1, 0.1]}}
    (folder / "processor_config.json").write_text(json.dumps(joint))
    (folder / "preprocessor_config.json").unlink()
    shown = load(folder).identity("float16", "raw").inputs["processor_config"]
    assert shown["image_mean"] == [0.1, 0.1, 0.1]


def test_a_folder_of_links_to_its_files_is_a_folder_of_files(changed_copy, tmp_path):
    folder = changed_copy("bert")
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    prints = [
        load_backbone(Modality.TEXT, str(place), device="cpu")
        .identity("float16", "raw")
        .fingerprint
        for place in (folder, linked)
    ]
    assert prints[0] == prints[1]
