"""The hidden states of the catalogue, on the device, in RAM or in their stores.

What belongs here: the way from the rows of a store to the tensors that a step
reads, and the memory that it takes. What does not: anything that is computed
from them.
"""

from crossan.train.features.budget import Demand, Placement, Residence
from crossan.train.features.interface import Fetched, HiddenStates, ItemInputs
from crossan.train.features.placing import place_features
from crossan.train.features.stored import StoredStates
from crossan.train.features.table import FeatureTable

__all__ = [
    "Demand",
    "FeatureTable",
    "Fetched",
    "HiddenStates",
    "ItemInputs",
    "Placement",
    "Residence",
    "StoredStates",
    "place_features",
]
