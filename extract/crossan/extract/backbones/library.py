"""The transformers library, told to speak only of errors: what matters of its notices is an error of ours."""

from __future__ import annotations

import os
import warnings
from typing import Any

import transformers

__all__ = ["load_processor", "transformers"]

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def load_processor(class_name: str, folder: str | os.PathLike[str]) -> Any:  # noqa: ANN401 - untyped library
    """Return the tokeniser, image processor or feature extractor of this class from a checkpoint's folder."""
    if class_name == "ASTFeatureExtractor":
        from transformers.models.audio_spectrogram_transformer import (
            feature_extraction_audio_spectrogram_transformer as ast,
        )

        # Where torchaudio is installed the same class would compute its filter bank by other code.
        ast.is_speech_available = lambda: False
    with warnings.catch_warnings():
        # AST's published settings leave one of 128 mel filters empty: true, and nothing that a user can mend.
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        return getattr(transformers, class_name).from_pretrained(folder, local_files_only=True)
