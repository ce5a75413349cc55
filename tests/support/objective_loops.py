"""Small models, and the objectives over more than a batch as loops over users, positions and items."""

from __future__ import annotations

import torch

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import CrossanSettings, SasrecSettings
from support.small_models import build

ITEM_COUNT, LENGTH, WIDTH = 8, 4, 4
SHAPES = {
    "content": CrossanSettings(bottleneck_dim=3, width=WIDTH, dropout=0.0),
    "both": CrossanSettings(bottleneck_dim=3, width=WIDTH, dropout=0.0, id_embedding=True),
    "ids alone": SasrecSettings(width=WIDTH, dropout=0.0),
}


def make_model(parts):
    torch.manual_seed(0)
    shape = SHAPES[parts]
    dims = [3, 5] if shape.reads_hidden_states else []
    return build(shape, dims, 2, LENGTH, torch.ones(ITEM_COUNT, dtype=torch.bool)).double()


def make_features():
    generator = torch.Generator().manual_seed(1)
    hidden = tuple(torch.randn(ITEM_COUNT, 2, dim, generator=generator) for dim in (3, 5))
    return FeatureTable(
        (Modality.IMAGE, Modality.TEXT), hidden, torch.ones(ITEM_COUNT, 2, dtype=torch.bool)
    )


def move(model, step):
    """Put the weights somewhere else, as an optimiser would: what was remembered is old from then on."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(
            parameter.shape, dtype=torch.float64, generator=generator
        )


def predictions(model, sequences, vector_of, temperature):
    """Yield user vector, wanted item and the user's own items for everything to predict."""
    for sequence in sequences:
        own = [item for item in sequence if item != PADDING]
        inputs = torch.stack([vector_of(item) for item in own[:-1]]).unsqueeze(0)
        users = model.sequence_encoder(inputs, torch.ones(inputs.shape[:2], dtype=torch.bool))[0]
        for position, wanted in enumerate(own[1:]):
            yield users[position] / temperature, wanted, own


def catalogue_loop(model, features, sequences, trained, contents, sample, temperature=1.0):
    """``contents``: the content vector of each item that is not encoded; those of batch and sample are put into it."""
    present = {item for sequence in sequences for item in sequence if item != PADDING}
    fresh = {}
    if model.item_encoder is not None:
        for item in [*present, *sample]:
            fresh[item] = model.item_encoder.plain(*features.gather(torch.tensor([item])))[0]
        contents.update({item: vector.detach() for item, vector in fresh.items()})
        for item in sample:
            weight = len(trained - present) / len(sample)
            fresh[item] = weight * fresh[item] - (weight - 1) * fresh[item].detach()

    def vector_of(item):
        content = fresh.get(item, contents.get(item, 0.0))
        return content if model.id_embedding is None else content + model.id_embedding.weight[item]

    terms = []
    for user, wanted, own in predictions(model, sequences, vector_of, temperature):
        rivals = [wanted, *(item for item in trained if item not in own)]
        scores = torch.stack([user @ vector_of(item) for item in rivals])
        terms.append(scores.logsumexp(0) - scores[0])
    return torch.stack(terms).mean()


def cross_batch_loop(model, features, sequences, log_p, memory, sample, temperature=1.0):
    """``memory``: (item, vector, occurrences), oldest first; the batch's are put into it. ``sample``: places in it."""
    remembered = list(memory)
    for place in sample:
        item, _, count = memory[place]
        fresh, weight = (
            model.plain_item_vectors(features, torch.tensor([item]))[0],
            len(memory) / len(sample),
        )
        remembered[place] = item, weight * fresh - (weight - 1) * fresh.detach(), count
    occurrences = [item for sequence in sequences for item in sequence if item != PADDING]
    vectors = {
        item: model.plain_item_vectors(features, torch.tensor([item]))[0]
        for item in set(occurrences)
    }
    terms = []
    for user, wanted, own in predictions(model, sequences, vectors.__getitem__, temperature):
        positive = user @ vectors[wanted] - log_p[wanted]
        shares = [positive.exp()]
        shares += [
            (user @ vectors[item] - log_p[item]).exp() for item in occurrences if item not in own
        ]
        shares += [
            count * (user @ old - log_p[item]).exp()
            for item, old, count in remembered
            if item not in own
        ]
        terms.append(torch.stack(shares).sum().log() - positive)
    memory.extend(
        (item, vectors[item].detach(), occurrences.count(item)) for item in sorted(vectors)
    )
    return torch.stack(terms).mean()


def with_gradients(model, loss):
    gradients = torch.autograd.grad(
        loss, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return [loss.detach(), *gradients]
