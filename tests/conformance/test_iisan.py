"""IISAN against numbers of its own published code: towers, item and user vectors, loss and gradients.

``conformance/iisan.json`` was made in float64 and is held to 1e-12; ``golden/iisan`` in float32, held to 5e-6. Both lie
beside the folder that CROSSAN_TEST_DATA names, and only inputs and outputs are kept there. Names are those of the code:
cv is the image, bert the text, mm what lies between them.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.step import loss_by_position, loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import IisanSettings
from support.beside_data import folder_beside_data
from support.small_models import build

pytestmark = pytest.mark.data

TOWERS = ("bert", "cv", "mm")
"""Ours in order: text, image, and the tower between them last."""
ORDER_OF_CODE = (1, 0, 2)
"""Where each of image, text, inter stands with us."""
KEPT = [0, 2, 4, 6, 8, 10, 12]
ADAPTER = {"down": "fc_down.weight", "down_bias": "fc_down.bias", "up": "fc_up.weight", "up_bias": "fc_up.bias"}  # fmt: skip
INNER = {"bert": "fc_bert", "cv": "fc_cv", "mm": "fc_mm"}
OUTER = {"bert": "bert_pre_fc", "cv": "cv_pre_fc", "mm": "fc_mm_down"}
BLOCK = {
    "query.weight": "multi_head_attention.w_Q.weight",
    "key.weight": "multi_head_attention.w_K.weight",
    "value.weight": "multi_head_attention.w_V.weight",
    "output.weight": "multi_head_attention.fc.weight",
    "attention_norm.weight": "multi_head_attention.layer_norm.weight",
    "attention_norm.bias": "multi_head_attention.layer_norm.bias",
    "widen.weight": "feed_forward.w_1.weight",
    "widen.bias": "feed_forward.w_1.bias",
    "narrow.weight": "feed_forward.w_2.weight",
    "narrow.bias": "feed_forward.w_2.bias",
    "feed_forward_norm.weight": "feed_forward.layer_norm.weight",
    "feed_forward_norm.bias": "feed_forward.layer_norm.bias",
}


@dataclass(frozen=True)
class Ours:
    """Turn our weights into those of the code, and their gradients alike."""

    layers: int
    width: int

    def as_published(self, weights):
        """Return ``{published name: tensor}`` from the named tensors of our model."""
        found = {}
        for name, published in self.encoder_names().items():
            found[published] = weights[f"sequence_encoder.{name}"]
        for layer in range(self.layers):
            prefix = f"item_encoder.towers.adapters.{layer}"
            for number, tower in enumerate(TOWERS):
                for part, published in ADAPTER.items():
                    of_tower = weights[f"{prefix}.{part}"][number]
                    # A Linear keeps (out, in), our batched matmuls (in, out).
                    found[f"mm_encoder.{tower}_adapter_list.{layer}.{published}"] = of_tower.t()
            gates = f"item_encoder.towers.gates.{layer}"
            text, image = weights[f"{gates}.intra_logits"]
            for tower, value in (("text", text), ("cv", image)):
                found[f"mm_encoder.side_gate_params_{tower}.{layer}"] = value.reshape(1)
            found[f"mm_encoder.side_gate_params_mm.{layer}"] = weights[f"{gates}.inter_logits"]
        for number, tower in enumerate(TOWERS):
            for ours, published in (("inner", INNER[tower]), ("outer", OUTER[tower])):
                heads = f"item_encoder.towers.heads.{ours}"
                found[f"mm_encoder.{published}.weight"] = weights[heads][number].t()
                found[f"mm_encoder.{published}.bias"] = weights[f"{heads}_bias"][number]
        merge = weights["item_encoder.fusion.merge.weight"].view(self.width, 3, self.width)
        found["com_dense.weight"] = merge[:, ORDER_OF_CODE].reshape(self.width, -1)
        found["com_dense.bias"] = weights["item_encoder.fusion.merge.bias"]
        return found

    def encoder_names(self):
        """Return the published name of each weight of the sequence encoder."""
        start = "user_encoder.transformer_encoder"
        names = {
            "positions": f"{start}.position_embedding.weight",
            "norm.weight": f"{start}.layer_norm.weight",
            "norm.bias": f"{start}.layer_norm.bias",
        }
        for number in (0, 1):
            for ours, published in BLOCK.items():
                names[f"blocks.{number}.{ours}"] = (
                    f"{start}.transformer_blocks.{number}.{published}"
                )
        return names


def load_published(model: SequenceModel, ours: Ours, published) -> None:
    """Copy the published weights into the model: what `Ours.as_published` returns are views of ours."""
    with torch.no_grad():
        places = ours.as_published(dict(model.named_parameters()))
        assert places.keys() == published.keys()
        merge = model.item_encoder.fusion.merge.weight
        for name, place in places.items():
            if name == "com_dense.weight":  # in another order, so no view of ours
                by_output = published[name].view(ours.width, 3, ours.width)
                merge.view(ours.width, 3, ours.width)[:, ORDER_OF_CODE] = by_output
            else:
                place.copy_(published[name].view(place.shape))


def make_features(text, image, dtype):
    """Return the kept layers of items as a run has them; ``text`` and ``image``: ``(items, 13, 768)``."""
    hidden = tuple(states[:, KEPT].to(dtype) for states in (text, image))
    presence = torch.ones(len(text), 2, dtype=torch.bool)
    return FeatureTable((Modality.TEXT, Modality.IMAGE), hidden, presence)


def make_model(bottleneck, width, activation):
    """Return IISAN with this activation in its adapters; the code's sequence encoder always has ReLU."""
    settings = IisanSettings(bottleneck_dim=bottleneck, width=width)
    model = build(settings, [768, 768], len(KEPT), 10).eval()
    for adapters in model.item_encoder.towers.adapters:
        adapters.activation = activation
    return model


def padded(sequences, length=11):
    return torch.tensor([[PADDING] * (length - len(one)) + one for one in sequences])


# The vectors in float64


@pytest.fixture(scope="module")
def vectors():
    return json.loads((folder_beside_data("conformance") / "iisan.json").read_text())


def made(recipe):
    """Return the tensor of a formula: base + amplitude * sin(i * 0.7548776662466927 * (1 + c) + c)."""
    shape, c = recipe["shape"], recipe["c"]
    number = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    waves = (number * 0.7548776662466927 * (1 + c) + c).sin()
    return (recipe["base"] + recipe["amplitude"] * waves).view(shape)


@pytest.fixture(params=["GELU", "RELU"])
def conforming(vectors, request):
    """Return the model with the published weights, and what the code made of them."""
    sizes = vectors["sizes"]
    assert sizes["layers_read"] == KEPT
    model = make_model(sizes["bottleneck"], sizes["width"], request.param.lower()).double()
    published = {one["name"]: made(one) for one in vectors["parameters"]}
    load_published(model, Ours(len(KEPT), sizes["width"]), published)
    return model, vectors["outputs"][request.param]


def near(found, expected, name=""):
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12, msg=name or None
    )


def test_the_towers_and_the_item_vectors(vectors, conforming):
    model, expected = conforming
    given = vectors["towers"]
    features = make_features(made(given["text_hidden"]), made(given["image_hidden"]), torch.float64)
    hidden, presence = features.gather(torch.arange(3))
    towers = model.item_encoder.towers
    for climb in (towers, towers.plain):
        outputs = climb(hidden, presence).detach()
        for number, name in enumerate(("text", "image", "inter")):
            near(outputs[:, number], expected[f"tower_{name}"])
    near(model.item_vectors(features, torch.arange(3)).detach(), expected["fused"])


def loss_inputs(vectors):
    given = vectors["loss"]
    features = make_features(
        made(given["text_hidden_items_1_to_6"]), made(given["image_hidden_items_1_to_6"]), torch.float64
    )  # fmt: skip
    sequences = padded([[item - 1 for item in one] for one in given["sequences"]])
    shares = [given["popularity_by_item"][str(item)] for item in range(1, 7)]
    return features, sequences, torch.tensor(shares, dtype=torch.float64).log()


def test_the_user_vectors(vectors, conforming):
    model, expected = conforming
    features, sequences, _ = loss_inputs(vectors)
    inputs = sequences[:, :-1]
    item_vectors = model.item_vectors(features, torch.arange(6))
    users = model.sequence_encoder(item_vectors[inputs.clamp(min=0)], inputs != PADDING).detach()
    near(users[0], expected["user_vectors_user0"])
    near(users[1, -3:], expected["user_vectors_user1_last3"])


@pytest.mark.parametrize("loss_of", [loss_of_batch, loss_by_position])
def test_the_loss_and_all_its_gradients(vectors, conforming, loss_of):
    model, expected = conforming
    loss = loss_of(model, *loss_inputs(vectors))
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-12)
    loss.backward()
    gradients = {name: one.grad for name, one in model.named_parameters()}
    published = Ours(len(KEPT), vectors["sizes"]["width"]).as_published(gradients)
    assert published.keys() == expected["gradients"].keys()
    for name, facts in expected["gradients"].items():
        flat = published[name].flatten()
        assert flat.norm().item() == pytest.approx(facts["l2"], rel=1e-9, abs=1e-14), name
        near(flat[:3], facts["first"], name)


# The golden file in float32


@pytest.fixture(scope="module")
def golden():
    folder = folder_beside_data("golden", "iisan")
    meta = json.loads((folder / "meta.json").read_text())
    random = np.random.Generator(np.random.PCG64(11))
    weights = {}
    for name, shape, total, _ in meta["weights"]["tensors"]:
        scale = 0.3 if "gate" in name else 0.05
        drawn = (random.standard_normal(shape) * scale).astype(np.float32)
        assert float(drawn.sum(dtype=np.float64)) == pytest.approx(total, abs=1e-3), name
        weights[name] = torch.from_numpy(drawn)
    random = np.random.Generator(np.random.PCG64(12))
    hidden = [random.standard_normal((10, 13, 768)).astype(np.float32) for _ in range(2)]
    for states in hidden:
        states[0] = 0
    with np.load(folder / "golden.npz") as arrays:
        return meta, weights, hidden, dict(arrays)


@pytest.fixture(scope="module")
def golden_model(golden):
    """Return the model with the drawn weights; the file's adapters have GELU."""
    meta, weights, _, _ = golden
    sizes = meta["dims"]
    model = make_model(sizes["adapter"], sizes["embedding"], "gelu")
    load_published(model, Ours(len(KEPT), sizes["embedding"]), weights)
    return model


def golden_inputs(golden):
    """Item 0 of the file is padding, and has zeros for hidden states."""
    _, _, (text, image), arrays = golden
    features = make_features(torch.from_numpy(text), torch.from_numpy(image), torch.float32)
    sequences = torch.from_numpy(arrays["batch/item_ids"])
    sequences = sequences.masked_fill(sequences == 0, PADDING)
    return features, sequences, torch.from_numpy(arrays["popularity"]).log()


def close(found, expected, name=""):
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=5e-6, atol=5e-6, msg=name or None)


def test_the_golden_towers_and_vectors(golden, golden_model):
    _, _, _, arrays = golden
    features, sequences, _ = golden_inputs(golden)
    hidden, presence = features.gather(torch.arange(10))
    outputs = golden_model.item_encoder.towers(hidden, presence).detach()
    for number, name in enumerate(("text", "image", "inter")):
        close(outputs[:, number], arrays[f"item/{name}"], name)
    vectors = golden_model.item_vectors(features, torch.arange(10)).detach()
    close(vectors, arrays["item/vector"])
    inputs = sequences[:, :-1]
    is_real = inputs != PADDING
    assert torch.equal(is_real, torch.from_numpy(arrays["batch/is_real"]).bool())
    users = golden_model.sequence_encoder(vectors[inputs.clamp(min=0)], is_real).detach()
    close(users[is_real], torch.from_numpy(arrays["user/positions"])[is_real])


def test_the_golden_loss_and_gradients(golden, golden_model):
    """Of the largest parameters the file keeps the sum of the gradient alone."""
    meta, _, _, arrays = golden
    golden_model.zero_grad()
    loss = loss_of_batch(golden_model, *golden_inputs(golden))
    close(loss.detach(), arrays["loss/total"])
    loss.backward()
    gradients = {name: one.grad for name, one in golden_model.named_parameters()}
    published = Ours(len(KEPT), meta["dims"]["embedding"]).as_published(gradients)
    in_file = {name.partition("/")[2] for name in arrays if name.startswith("grad")}
    assert in_file == published.keys()
    for name, gradient in published.items():
        if f"grad/{name}" in arrays:
            close(gradient, arrays[f"grad/{name}"], name)
        else:
            assert gradient.double().sum().item() == pytest.approx(
                float(arrays[f"grad_sum/{name}"]), rel=1e-4, abs=1e-4
            )
