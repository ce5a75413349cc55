"""Every setting of a run, checked at the door.

What belongs here: settings classes with their ranges and meanings. No torch,
no numpy, nothing that reads a file.
"""

from crossan.train.settings.content import (
    ContentSettings,
    CrossanSettings,
    FrozenSettings,
    kept_layers,
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
)

__all__ = [
    "CheckpointSettings",
    "ContentSettings",
    "CrossanSettings",
    "DataSettings",
    "FeatureSettings",
    "FrozenSettings",
    "HistoryMask",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimiserSettings",
    "PopularitySettings",
    "RunSettings",
    "SasrecSettings",
    "SequenceSettings",
    "kept_layers",
]
