"""What the extraction is compared with: the loop one writes first, and its parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import av
import torch
import transformers
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.extract.media import decode_video
from crossan.extract.media.recipe import CLIP_LENGTH_S, frame_times

__all__ = ["decoding_cpu", "naive_loop"]

_FRAMES = 16


def naive_loop(modality: Modality, checkpoint: Path, paths: Sequence[Path], folder: Path) -> float:
    """Return the items per second of a loop: decode, processor, model with all hidden states, torch.save."""
    if modality is Modality.IMAGE:
        model = transformers.ViTModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
        processor = transformers.ViTImageProcessorPil.from_pretrained(checkpoint)
    else:
        model = transformers.VideoMAEModel.from_pretrained(checkpoint).eval()
        processor = transformers.VideoMAEImageProcessorPil.from_pretrained(checkpoint)
    out = folder / "naive"
    out.mkdir(exist_ok=True)
    begun = time.perf_counter()
    with torch.no_grad():
        for path in paths:
            medium = (
                Image.open(path).convert("RGB")
                if modality is Modality.IMAGE
                else list(_every_frame(path))
            )
            inputs = processor(medium, return_tensors="pt")
            states = model(**inputs, output_hidden_states=True).hidden_states
            kept = [
                state[:, 0] if modality is Modality.IMAGE else state.mean(dim=1) for state in states
            ]
            torch.save([state.half() for state in kept], out / f"{path.stem}.pt")
    return len(paths) / (time.perf_counter() - begun)


def _every_frame(path: Path) -> list:  # type: ignore[type-arg]
    """Decode and convert all frames of the first three seconds; return sixteen of them, evenly spread."""
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= CLIP_LENGTH_S:
                break
            frames.append(frame.to_ndarray(format="rgb24"))
    return [
        frames[min(int(moment / CLIP_LENGTH_S * len(frames)), len(frames) - 1)]
        for moment in frame_times(_FRAMES)
    ]


def decoding_cpu(paths: Sequence[Path]) -> tuple[float, float]:
    """Return the seconds of computing per video of our decoder, and of a loop that converts every frame, one thread each."""
    spent = []
    for decode in (
        lambda path: decode_video(path, frame_count=_FRAMES),
        _every_frame_in_one_thread,
    ):
        begun = time.process_time()
        for path in paths:
            decode(path)
        spent.append((time.process_time() - begun) / len(paths))
    return spent[0], spent[1]


def _every_frame_in_one_thread(path: Path) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        container.streams.video[0].codec_context.thread_type = "NONE"
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= CLIP_LENGTH_S:
                break
            frame.to_ndarray(format="rgb24")
