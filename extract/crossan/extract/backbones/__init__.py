"""Load frozen backbones and pool their hidden states.

Belongs here: what depends on a checkpoint. Does not belong here: reading media
(`crossan.extract.media`) and deciding which items to compute (`crossan.extract.job`).
The names load on first use, so that ``crossan backbones --help`` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossan.extract.backbones.backbone import Backbone
    from crossan.extract.backbones.choice import Choice
    from crossan.extract.backbones.conformance import check_backbone
    from crossan.extract.backbones.families import Family
    from crossan.extract.backbones.finishing import PictureFinish
    from crossan.extract.backbones.inputs import Processing
    from crossan.extract.backbones.opening import load_backbone
    from crossan.extract.backbones.preparing import PicturePreparer
    from crossan.extract.backbones.remembered import open_backbone
    from crossan.extract.backbones.tiny import write_tiny

__all__ = [
    "Backbone",
    "Choice",
    "Family",
    "PictureFinish",
    "PicturePreparer",
    "Processing",
    "check_backbone",
    "load_backbone",
    "open_backbone",
    "write_tiny",
]

_MODULE_OF = {
    "Backbone": "backbone",
    "Choice": "choice",
    "Family": "families",
    "PictureFinish": "finishing",
    "PicturePreparer": "preparing",
    "Processing": "inputs",
    "check_backbone": "conformance",
    "load_backbone": "opening",
    "open_backbone": "remembered",
    "write_tiny": "tiny",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
