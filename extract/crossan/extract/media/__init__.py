"""Read one media file into one array, or into one typed fault.

Belongs here: what depends on a file and a clip recipe. Does not belong here:
what depends on a backbone (its processor lives in `crossan.extract.backbones`).
The names load on first use, so that a process that reads pictures loads no FFmpeg.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossan.extract.media.audio import decode_audio
    from crossan.extract.media.clip import Clip, ClipReader
    from crossan.extract.media.faults import AbsentMedium, MediaError, MediaFault
    from crossan.extract.media.image import decode_image
    from crossan.extract.media.notes import MediaNote
    from crossan.extract.media.recipe import media_recipe
    from crossan.extract.media.video import decode_video

__all__ = [
    "AbsentMedium",
    "Clip",
    "ClipReader",
    "MediaError",
    "MediaFault",
    "MediaNote",
    "decode_audio",
    "decode_image",
    "decode_video",
    "media_recipe",
]

_MODULE_OF = {
    "AbsentMedium": "faults",
    "Clip": "clip",
    "ClipReader": "clip",
    "MediaError": "faults",
    "MediaFault": "faults",
    "MediaNote": "notes",
    "decode_audio": "audio",
    "decode_image": "image",
    "decode_video": "video",
    "media_recipe": "recipe",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
