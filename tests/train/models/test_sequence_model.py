"""Parameter counts of Table 4, presence masks, invariances of the whole model."""

import pytest
import torch
from torch.nn.functional import gelu

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.layers.heads import TowerHeads
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.runs.facts import trainable_parameter_count
from crossan.train.settings import CrossanSettings
from support.small_models import build

SMALL = CrossanSettings(bottleneck_dim=3, width=4, top_k=2, heads=2, dropout=0.0)


def make_hidden(items: int, dims: list[int], layers: int = 3, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(items, layers, dim, generator=generator) for dim in dims]


def make_model(dims: list[int], settings: CrossanSettings = SMALL) -> SequenceModel:
    torch.manual_seed(1)
    model = build(settings, dims, 3, 5).eval()
    for parameter in model.parameters():  # leave the symmetric start, where a wrong mask could hide
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def adapt(towers, layer: int, m: int, state: torch.Tensor) -> torch.Tensor:
    """One modality's adapter, written out."""
    own = towers.adapters[layer]
    return state + gelu(state @ own.down[m] + own.down_bias[m]) @ own.up[m] + own.up_bias[m]


def head(towers, m: int, state: torch.Tensor) -> torch.Tensor:
    """One modality's two linear maps, one after the other."""
    heads = towers.heads
    return (state @ heads.inner[m] + heads.inner_bias[m]) @ heads.outer[m] + heads.outer_bias[m]


@pytest.mark.parametrize(("combine", "expected"), [("sum", 24_733_200), ("concat", 24_741_456)])
def test_parameter_counts_of_table_4(combine, expected):
    settings = CrossanSettings(combine=combine, top_k=2, width=64, bottleneck_dim=512)
    with torch.device("meta"):
        model = build(settings, [768] * 4, 7, 10)
    assert trainable_parameter_count(model) == expected


def test_sequence_encoder_has_the_papers_count():
    with torch.device("meta"):
        model = build(CrossanSettings(width=64), [768] * 4, 7, 10)
    assert sum(p.numel() for p in model.sequence_encoder.parameters()) == 100_224


@pytest.mark.parametrize("combine", ["sum", "concat"])
def test_whatever_lies_in_an_absent_row_changes_nothing(combine):
    model = make_model([6, 6, 6], SMALL.model_copy(update={"combine": combine}))
    presence = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])
    clean = make_hidden(3, [6, 6, 6])
    dirty = [hidden.clone() for hidden in clean]
    dirty[1][1:] = float("nan")
    dirty[0][2] = float("inf")
    expected, found = model.item_encoder(clean, presence), model.item_encoder(dirty, presence)
    assert torch.equal(expected, found)
    found.sum().backward()
    assert all(
        torch.isfinite(p.grad).all() for p in model.item_encoder.parameters() if p.grad is not None
    )


def test_a_present_modality_does_matter():
    model = make_model([6, 6])
    presence = torch.ones(2, 2, dtype=torch.bool)
    hidden = make_hidden(2, [6, 6])
    before = model.item_encoder(hidden, presence)
    hidden[1][0] += 1.0
    after = model.item_encoder(hidden, presence)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_an_absent_modality_is_as_good_as_a_model_without_it():
    """With one of two modalities absent, a twin with its gates renormalised by hand agrees."""
    model = make_model([6, 6], SMALL.model_copy(update={"top_k": 1}))
    presence = torch.tensor([[True, False]])
    hidden = make_hidden(1, [6, 6])
    state = torch.zeros(1, 6)
    towers = model.item_encoder.towers
    for layer in range(3):
        logits = towers.gates[layer].logits[0]
        weights = torch.stack([logits[0], logits[2]]).softmax(0)
        state = adapt(towers, layer, 0, weights[0] * state + weights[1] * hidden[0][:, layer])
    expected = model.item_encoder.fusion.experts[0](head(towers, 0, state))
    assert torch.allclose(model.item_encoder(hidden, presence), expected, atol=1e-6)


def test_two_modalities_agree_with_eq_5_written_out():
    """Item by item, every h is a plain sum of three terms; layer 0's previous outputs are zeros."""
    model = make_model([6, 6])
    hidden, towers = make_hidden(2, [6, 6]), model.item_encoder.towers
    outputs = towers(hidden, torch.ones(2, 2, dtype=torch.bool))
    for item in range(2):
        text, image = torch.zeros(6), torch.zeros(6)
        for layer in range(3):
            a, b = towers.gates[layer].logits.softmax(dim=1)
            text, image = (
                adapt(towers, layer, 0, a[0] * text + a[1] * image + a[2] * hidden[0][item, layer]),
                adapt(towers, layer, 1, b[0] * text + b[1] * image + b[2] * hidden[1][item, layer]),
            )
        for m, state in enumerate((text, image)):
            expected = head(towers, m, state)
            assert torch.allclose(outputs[item, m], expected, atol=1e-5)


def test_new_gates_start_equal_and_sum_to_one():
    weights = build(SMALL, [6, 6], 3, 5).item_encoder.towers.gate_weights()
    assert weights.shape == (2, 3, 3)
    assert torch.allclose(weights, torch.full((2, 3, 3), 1 / 3))


def test_stores_of_different_width_are_brought_to_the_widest():
    model = make_model([6, 4])
    assert model.item_encoder(make_hidden(2, [6, 4]), torch.ones(2, 2, dtype=torch.bool)).shape == (
        2,
        4,
    )


def test_folded_heads_equal_the_two_maps_with_the_same_gradients():
    heads = TowerHeads(2, 5, 3).double()
    states = torch.randn(4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for apply in (heads, heads.unfolded):
        heads.zero_grad()
        outputs = apply(states)
        outputs.square().sum().backward()
        found.append(
            [outputs.detach(), *(parameter.grad.clone() for parameter in heads.parameters())]
        )
    for folded, plain in zip(*found, strict=True):
        assert torch.allclose(folded, plain, rtol=1e-12, atol=1e-12)


def test_new_heads_start_as_a_linear_does():
    torch.manual_seed(0)
    heads, bound = TowerHeads(2, 64, 16), 1 / 8  # 1 / sqrt(64), torch's bound at fan-in 64
    for parameter in heads.parameters():
        assert parameter.abs().max() <= bound
    assert heads.inner.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_bfloat16_reaches_the_towers():
    exact, rounded = (
        make_model([6, 6], SMALL.model_copy(update={"compute": c})) for c in ("float32", "bfloat16")
    )
    batch = make_hidden(4, [6, 6]), torch.ones(4, 2, dtype=torch.bool)
    expected, found = exact.item_encoder(*batch), rounded.item_encoder(*batch)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_an_unsettled_compute_type_builds_nothing():
    with pytest.raises(ValueError, match="model.compute to be settled before building, got 'auto'"):
        build(SMALL.model_copy(update={"compute": "auto"}), [6, 6], 3, 5)


def test_permuting_items_permutes_item_vectors():
    model = make_model([6, 6])
    hidden, presence = (
        make_hidden(5, [6, 6]),
        torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [1, 1]], dtype=torch.bool),
    )
    order = torch.tensor([3, 0, 4, 2, 1])
    expected = model.item_encoder(hidden, presence)[order]
    assert torch.allclose(
        model.item_encoder([h[order] for h in hidden], presence[order]), expected, atol=1e-6
    )


def test_a_user_vector_ignores_padding_and_the_future():
    encoder = build(SMALL.model_copy(update={"top_k": 1}), [6], 3, 5).eval().sequence_encoder
    vectors = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(3))
    is_real = torch.tensor([[False, False, True, True, True]])
    expected = encoder(vectors, is_real)
    changed = vectors.clone()
    changed[0, :2] = float("nan")
    assert torch.equal(encoder(changed, is_real)[0, 2:], expected[0, 2:])
    changed = vectors.clone()
    changed[0, 4, 1] += 1.0
    assert torch.equal(encoder(changed, is_real)[0, 2:4], expected[0, 2:4])
    assert not torch.allclose(encoder(changed, is_real)[0, 4], expected[0, 4])


def test_a_short_sequence_equals_its_padded_twin():
    encoder = build(SMALL.model_copy(update={"top_k": 1}), [6], 3, 5).eval().sequence_encoder
    vectors = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(3))
    is_real = torch.tensor([[False, False, True, True, True]])
    short = encoder(vectors[:, 2:], torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(encoder(vectors, is_real)[:, 2:], short, atol=1e-6)


def test_too_many_positions_are_refused():
    encoder = build(SMALL.model_copy(update={"top_k": 1}), [6], 3, 5).sequence_encoder
    with pytest.raises(ValueError, match="expected at most 5 positions, got 6"):
        encoder(torch.zeros(1, 6, 4), torch.ones(1, 6, dtype=torch.bool))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="divisible by the 3 heads, got 4"):
        build(SMALL.model_copy(update={"heads": 3}), [6], 3, 5)


@pytest.mark.parametrize("has_ids", [False, True])
def test_by_every_way_an_item_vector_of_a_cosine_model_has_the_length_one(has_ids):
    """Of content and id together, whichever way it is made."""
    settings = SMALL.model_copy(update={"scores": "cosine", "id_embedding": has_ids})
    torch.manual_seed(1)
    model = build(settings, [6, 6], 3, 5, torch.ones(4, dtype=torch.bool)).eval()
    hidden, presence, rows = make_hidden(4, [6, 6]), torch.ones(4, 2, dtype=torch.bool), range(4)
    features = FeatureTable((Modality.IMAGE, Modality.TEXT), tuple(hidden), presence)
    vectors = model.item_vectors(features, torch.tensor(rows))
    content = model.item_encoder(hidden, presence)
    joined = content + model.id_embedding.weight if has_ids else content
    expected = torch.stack([vector / vector.norm() for vector in joined])
    for made in (
        vectors,
        model.plain_item_vectors(features, torch.tensor(rows)),
        model.catalogue_vectors(lambda encoder: encoder(hidden, presence)),
    ):
        assert torch.allclose(made, expected, atol=1e-6)
