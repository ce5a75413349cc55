"""Products of content vectors are cosines, reduced or whole."""

import numpy as np
import torch

from crossan.train.layers.content_vectors import ContentVectors
from crossan.train.loop.content_directions import fit_content
from support.small_models import make_features

DIMS, LAYERS = (4, 3), 3


def fitted(features, width):
    content = ContentVectors(features.dims, features.layer_count, width)
    fit_content(content, features)
    return content


def directions_one_by_one(features):
    """Return the vectors x as their definition has them, an item and a layer at a time."""
    items = len(features.presence)
    vectors = np.zeros((items, LAYERS * sum(DIMS)))
    column = 0
    for m, dim in enumerate(DIMS):
        having = [item for item in range(items) if features.presence[item, m]]
        for layer in range(LAYERS):
            states = {item: features.hidden[m][item, layer].double().numpy() for item in having}
            mean = sum(states.values()) / len(having)
            for item in having:
                centred = states[item] - mean
                vectors[item, column : column + dim] = centred / np.linalg.norm(centred)
            column += dim
    return vectors


def test_whole_content_gives_the_cosine_of_two_items():
    features = make_features(DIMS, torch.Generator().manual_seed(1), item_count=20)
    content = fitted(features, 256)
    assert content.is_whole
    vectors = content(*features.gather(torch.arange(20))).double().numpy()
    slow = directions_one_by_one(features)
    slow /= np.linalg.norm(slow, axis=1, keepdims=True)
    assert np.allclose(vectors @ vectors.T, slow @ slow.T, atol=1e-5)


def test_reduced_content_keeps_the_principal_directions():
    features = make_features(DIMS, torch.Generator().manual_seed(2), item_count=60)
    content = fitted(features, 5)
    slow = directions_one_by_one(features)
    _, values, turned = np.linalg.svd(slow, full_matrices=False)
    kept = ((slow @ content.basis.double().numpy()) ** 2).sum()
    assert kept > 0.999 * (values[:5] ** 2).sum()
    assert np.allclose(content.basis.T @ content.basis, torch.eye(5), atol=1e-5)
    # The largest direction is the first, up to its sign.
    assert abs(content.basis[:, 0].double().numpy() @ turned[0]) > 0.99
    vectors = content(*features.gather(torch.arange(60)))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(60))


def test_an_item_at_the_mean_has_no_direction():
    content = ContentVectors([2], 1, 2)
    content.means.copy_(torch.tensor([1.0, 2.0]))
    hidden = [torch.tensor([[[1.0, 2.0]], [[1.0, 5.0]]])]
    vectors = content(hidden, torch.ones(2, 1, dtype=torch.bool))
    assert vectors.tolist() == [[0.0, 0.0], [0.0, 1.0]]
