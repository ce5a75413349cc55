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
)
from crossan.train.settings.counting import (
    BigramSettings,
    ChainSettings,
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    TitleKnnSettings,
)
from crossan.train.settings.graphs import (
    Bm3Settings,
    FreedomSettings,
    GraphSettings,
    GrcnSettings,
    MgcnSettings,
    MhcrSettings,
    MmgcnSettings,
)
from crossan.train.settings.hybrid_of_runs import (
    BaseRunSettings,
    HybridOfRunsSettings,
    vector_width,
)
from crossan.train.settings.models import (
    ModelSettings,
    PopularitySettings,
    SasrecSettings,
    SequenceSettings,
)
from crossan.train.settings.objective import ObjectiveSettings
from crossan.train.settings.optimiser import OptimiserSettings
from crossan.train.settings.run import (
    CheckpointSettings,
    DataSettings,
    FeatureSettings,
    HistoryMask,
    RunSettings,
)
from crossan.train.settings.run_defaults import run_defaults_of
from crossan.train.settings.triples import TripleSettings, VbprSettings
from crossan.train.settings.tuned import FineTunedSettings

__all__ = [
    "AdapterSettings",
    "BaseRunSettings",
    "BigramSettings",
    "Bm3Settings",
    "ChainSettings",
    "CheckpointSettings",
    "ContentSettings",
    "CrossanSettings",
    "DataSettings",
    "FeatureSettings",
    "FineTunedSettings",
    "FreedomSettings",
    "FrozenSettings",
    "GraphSettings",
    "GrcnSettings",
    "HiddenStateSettings",
    "HistoryMask",
    "HybridOfRunsSettings",
    "HybridSettings",
    "IisanESettings",
    "IisanSettings",
    "IndsanSettings",
    "InterModalSettings",
    "ItemKnnSettings",
    "MarkovSettings",
    "MgcnSettings",
    "MhcrSettings",
    "MmgcnSettings",
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
    "run_defaults_of",
    "vector_width",
]
