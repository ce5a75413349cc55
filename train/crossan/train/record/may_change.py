"""Which settings may differ when a run goes on."""

from __future__ import annotations

from crossan.train.settings import RunSettings

__all__ = ["may_change"]

_STOP_OR_SAVE = {"max_epochs", "patience", "checkpoint"}
"""Settings that say when to stop or to save."""
_PATH_OF_A_REFIT = {
    "optimiser.drop_after",
    "optimiser.drop_epochs",
    "optimiser.plateau_drops",
}
"""Where a refit lowers its rates. Its run says so, and says more once it has gone on: of the epochs
that the refit has taken nothing changes, as they led to the best weights before."""


def may_change(settings: RunSettings) -> set[str]:
    """Return the names of settings that may differ, single ones or of groups.

    Parameters
    ----------
    settings
        Those that the run is to go on with.
    """
    if settings.refit != "none":
        return _STOP_OR_SAVE | _PATH_OF_A_REFIT
    # By its patience a run with plateaus decides what it trains, not only for how long.
    fixed = {"patience"} if settings.optimiser.plateau_drops else set()
    return _STOP_OR_SAVE - fixed
