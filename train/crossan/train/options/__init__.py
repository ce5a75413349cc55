"""The options of the training commands, and the settings that they stand for.

Nothing here loads torch or pydantic's models, so that ``--help`` stays fast.
"""

from crossan.train.options.flags import SETTING_OF_FLAG, explain_setting, modalities, run_settings
from crossan.train.options.shared import (
    AllowStale,
    Config,
    DatasetFolder,
    DropItems,
    MaskHistory,
    MaxDeviceMemory,
    MaxRam,
    Modalities,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
)

__all__ = [
    "SETTING_OF_FLAG",
    "AllowStale",
    "Config",
    "DatasetFolder",
    "DropItems",
    "MaskHistory",
    "MaxDeviceMemory",
    "MaxRam",
    "Modalities",
    "Residence",
    "RunArgument",
    "RunCache",
    "RunDataset",
    "explain_setting",
    "modalities",
    "run_settings",
]
