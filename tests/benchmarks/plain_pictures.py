"""The script that one writes first: hidden states of pictures by transformers alone, one picture after the other.

``plain_pictures.py CHECKPOINT LISTING OUT``: the listing has a path a line. No picture is
checked, no digest taken, and nothing is kept until the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from transformers import ViTImageProcessorPil, ViTModel


def main() -> None:
    """Write every second hidden state at the first position, float16 ``(picture, layer, dim)``."""
    checkpoint, listing, out = sys.argv[1:]
    model = ViTModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    processor = ViTImageProcessorPil.from_pretrained(checkpoint)
    kept = []
    with torch.no_grad():
        for path in Path(listing).read_text().splitlines():
            inputs = processor(Image.open(path).convert("RGB"), return_tensors="pt")
            states = model(**inputs, output_hidden_states=True).hidden_states
            kept.append(torch.stack([state[0, 0] for state in states[::2]]).half())
    torch.save(torch.stack(kept), out)


if __name__ == "__main__":
    main()
