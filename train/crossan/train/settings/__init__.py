"""Every setting of a run, checked at the door.

What belongs here: settings classes with their ranges and meanings. No torch,
no numpy, nothing that reads a file.
"""

from crossan.train.settings.content import (
    AdapterSettings,
    ContentSettings,
    CrossanSettings,
    FrozenSettings,
    HiddenStateSettings,
    IisanESettings,
    IisanSettings,
    IndsanSettings,
    InterModalSettings,
    gate_temperature,
    kept_layers,
)
from crossan.train.settings.counting import (
    BigramSettings,
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    TitleKnnSettings,
)
from crossan.train.settings.models import (
    ModelSettings,
    PopularitySettings,
    SasrecSettings,
    SequenceSettings,
)
from crossan.train.settings.run import (
    CheckpointSettings,
    DataSettings,
    FeatureSettings,
    HistoryMask,
    ObjectiveSettings,
    OptimiserSettings,
    RunSettings,
    learns_from_triples,
)
from crossan.train.settings.triples import TripleSettings, VbprSettings

__all__ = [
    "AdapterSettings",
    "BigramSettings",
    "CheckpointSettings",
    "ContentSettings",
    "CrossanSettings",
    "DataSettings",
    "FeatureSettings",
    "FrozenSettings",
    "HiddenStateSettings",
    "HistoryMask",
    "HybridSettings",
    "IisanESettings",
    "IisanSettings",
    "IndsanSettings",
    "InterModalSettings",
    "ItemKnnSettings",
    "MarkovSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimiserSettings",
    "PopularitySettings",
    "RunSettings",
    "SasrecSettings",
    "SequenceSettings",
    "TitleKnnSettings",
    "TripleSettings",
    "VbprSettings",
    "gate_temperature",
    "kept_layers",
    "learns_from_triples",
]
