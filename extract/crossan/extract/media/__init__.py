"""Read one media file into one array, or into one typed fault.

Belongs here: what depends on a file and a clip recipe. Does not belong here:
what depends on a backbone (its processor lives in `crossan.extract.backbones`).
"""

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
