"""The data folder of a service: where everything lies that outlasts the server process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServiceFolder"]


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """Paths below the data folder, all made of numbers of ours, never of a client's text."""

    path: Path

    local: Path | None = None
    """Folder on a disk of this machine for the database and the sockets, where the data folder is
    one that other machines share. None for the data folder itself."""

    @property
    def settings_file(self) -> Path:
        """The operator's settings."""
        return self.path / "service.toml"

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return (self.local or self.path) / "service.sqlite3"

    @property
    def identity_file(self) -> Path:
        """A random name of this folder, by which the processes of its runs are told apart."""
        return self.path / "folder-id"

    @property
    def backups(self) -> Path:
        """Copies of the database."""
        return self.path / "backups"

    @property
    def tokens(self) -> Path:
        """The tokens of the first start, readable by their owner alone."""
        return self.path / "tokens.toml"

    @property
    def address_file(self) -> Path:
        """Where the running server listens, for the commands on this machine."""
        return self.path / "address.json"

    @property
    def sockets(self) -> Path:
        """Sockets of the recommender processes."""
        return (self.local or self.path) / "sockets"

    @property
    def models(self) -> Path:
        """Versions of models, a folder each."""
        return self.path / "models"

    def model(self, version: int) -> Path:
        """Return the folder of a model version."""
        return self.models / str(version)

    def run(self, run_id: int) -> Path:
        """Return the folder of a run in the queue."""
        return self.path / "runs" / str(run_id)

    def output(self, run_id: int) -> Path:
        """Return the run folder that ``crossan-train`` writes, which all attempts share."""
        return self.run(run_id) / "run"

    def attempt(self, run_id: int, number: int) -> Path:
        """Return the folder of one attempt: its job, its log and its outcome."""
        return self.run(run_id) / f"attempt-{number}"
