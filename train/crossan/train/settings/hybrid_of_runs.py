"""The settings of the kind that adds two terms to the scores of finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from crossan.common.config import Kinds, Settings
from crossan.train.settings.counting import ChainSettings
from crossan.train.settings.models import LayersRead, ModelSettings, SequenceSettings

__all__ = ["BaseRunSettings", "HybridOfRunsSettings", "vector_width"]


def _model_classes() -> Mapping[str, type[Settings]]:
    # Here, as the table of kinds holds the class below.
    from crossan.train.settings.kinds import model_settings_classes

    return model_settings_classes()


class BaseRunSettings(Settings):
    """A finished run whose scores a hybrid begins from."""

    run: str
    """Its folder. It is read where the hybrid is made or refitted, and never again."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of its best weights, a copy of which is among the hybrid's."""

    model: Annotated[ModelSettings, Kinds(_model_classes)]
    """The settings of its model."""

    temperature: float = Field(default=1.0, gt=0)
    """What its scores were divided by in training (``objective.temperature``), and so are here."""

    @property
    def width(self) -> int:
        """Width of its item vectors, 0 where it has none."""
        return vector_width(self.model)


class HybridOfRunsSettings(ChainSettings):
    """The scores of finished runs with a Markov chain and their stores' content added to them.

    A history counts for the content as it does for the chain.
    """

    kind: Literal["hybrid-of-runs"] = "hybrid-of-runs"

    is_of_runs: ClassVar[bool] = True

    of: tuple[BaseRunSettings, ...] = ()
    """The runs, of whose scores the mean is taken. ``crossan-train --model hybrid --of RUN,RUN``
    writes them."""

    content_width: int = Field(default=256, ge=1)
    """Numbers that the content of an item is reduced to, by its principal directions. Content that
    is no wider is taken whole."""

    cold_loss: float = Field(default=0.001, ge=0, lt=1)
    """How much of the validation figure may be lost by what items that nobody had in training are
    given, 0.001 for a tenth of a percent. What is best for such items and loses no more is taken.
    """

    # Of a class it is known of all other kinds; here it depends on the runs.
    @property
    def reads_hidden_states(self) -> bool:  # type: ignore[override]
        """Whether any of the runs reads stores of hidden states."""
        return any(base.model.reads_hidden_states for base in self.of)

    def kept_layers(self) -> LayersRead:
        """Return which of a store's kept layers are read, the same by all runs."""
        reading = (base.model for base in self.of if base.model.reads_hidden_states)
        first = next(reading, None)
        return None if first is None else first.kept_layers()

    def anywhere(self) -> Self:
        """Return a copy with absolute paths of the runs."""
        absolute = tuple(
            base.model_copy(
                update={"run": str(Path(base.run).absolute()), "model": base.model.anywhere()}
            )
            for base in self.of
        )
        return self.model_copy(update={"of": absolute})


def vector_width(model: ModelSettings) -> int:
    """Return the width of a model's item vectors, 0 where none are made of what items are."""
    if isinstance(model, HybridOfRunsSettings):
        return sum(base.width for base in model.of) + model.content_width + 1
    return model.width if isinstance(model, SequenceSettings) else 0
