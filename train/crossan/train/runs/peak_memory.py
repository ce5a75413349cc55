"""The most memory that a training takes, as it is predicted and printed."""

from __future__ import annotations

from dataclasses import dataclass

from crossan.common.memory import show_size

__all__ = ["PeakMemory"]


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The most memory that a training will take where it computes, in bytes."""

    features: int
    """Hidden states that are kept there."""
    others: int
    """All else that is there before the first step. On an accelerator that is the weights and
    what a model keeps beside them, on the CPU the whole process."""
    optimiser: int
    """The moments of AdamW."""
    step: int
    """What the largest step allocates, its gradients and its gathered batch included."""
    validation: int
    """What a validation allocates, beside the gradients of the last step; 0 where there is none."""
    batch: str
    """What a step takes, for example "1,024 users"."""
    is_on_cpu: bool
    averaged: int = 0
    """Weights of the last epochs, which are kept to be averaged; in the memory of the host."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        kept = self.features + self.others + self.optimiser + self.averaged
        return kept + max(self.step, self.validation)

    def in_words(self) -> str:
        """Return the total and what it consists of, in one line."""
        others = "the process and its weights" if self.is_on_cpu else "weights"
        parts = [
            (self.features, "features"),
            (self.others, others),
            (self.optimiser, "optimiser"),
            (self.averaged, "weights of the last epochs"),
            max((self.step, f"a step of {self.batch}"), (self.validation, "validation")),
        ]
        listed = ", ".join(f"{show_size(size)} {name}" for size, name in parts if size)
        return f"{show_size(self.total)} at the peak: {listed}"
