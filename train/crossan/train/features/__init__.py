"""The hidden states of the catalogue, wherever they live: on the device, in RAM, or in their stores.

Belongs here: from a store's rows to the tensors that a step reads, and the
memory that takes. Does not belong here: what is computed from them.
"""

from crossan.train.features.interface import Features, Fetched
from crossan.train.features.placing import Demand, Placement, Residence, place_features
from crossan.train.features.stored import StoredStates
from crossan.train.features.table import FeatureTable

__all__ = [
    "Demand",
    "FeatureTable",
    "Features",
    "Fetched",
    "Placement",
    "Residence",
    "StoredStates",
    "place_features",
]
