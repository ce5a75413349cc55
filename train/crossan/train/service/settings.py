"""Settings of the service, from ``service.toml`` in its data folder."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from crossan.cache_schema.modality import Modality
from crossan.common.config import Settings

__all__ = ["HttpSettings", "MessageSettings", "RaySettings", "ServiceSettings", "SlotSettings"]


class SlotSettings(Settings):
    """What running runs may use together.

    A run asks for its part by `Limits`.
    """

    cpus: int | None = Field(default=None, ge=1)
    """Cores. By default all of this machine."""

    memory_gib: float | None = Field(default=None, gt=0)
    """Memory in GiB. By default four fifths of this machine's."""

    gpus: int | None = Field(default=None, ge=0)
    """GPUs. By default those that the driver lists."""


class HttpSettings(Settings):
    """How much one client may take of the server."""

    body_kib: int = Field(default=256, ge=1, le=64 * 1024)
    """Body of a request in KiB."""

    head_seconds: float = Field(default=10.0, gt=0)
    """Seconds within which a request's head must arrive."""

    body_seconds: float = Field(default=20.0, gt=0)
    """Seconds within which a request's body must arrive."""

    write_seconds: float = Field(default=20.0, gt=0)
    """Seconds for which a client may not read what it is sent."""

    idle_seconds: int = Field(default=15, ge=1)
    """Seconds for which a connection may wait for its next request."""

    connections: int = Field(default=512, ge=8)
    """Connections at once. One more takes the place of the one that has been idle for longest."""

    connections_per_address: int = Field(default=256, ge=4)
    """The same for each address that connects."""

    requests_per_second: float = Field(default=300.0, gt=0)
    """Requests of one token, on average."""

    burst: int = Field(default=1000, ge=1)
    """Requests of one token that may come at once."""

    event_streams: int = Field(default=64, ge=1)
    """Streams of events at once."""

    drain_seconds: int = Field(default=10, ge=1)
    """Seconds for which a server that ends waits for requests in progress."""


class RaySettings(Settings):
    """The Ray cluster that runs go to with ``executor = "ray"``."""

    address: str | None = None
    """Address of its dashboard, for example ``http://head:8265``."""

    token_file: str | None = None
    """File with the token of its Jobs API."""

    python: str = "python3"
    """Python of the cluster's nodes, with ``crossan[service]`` in it."""

    poll_seconds: float = Field(default=1.0, gt=0)
    """Seconds between two looks at the jobs."""


class MessageSettings(Settings):
    """Who is told when a night failed, or held a model back."""

    command: tuple[str, ...] = ()
    """Program and arguments; the message comes on its standard input as JSON."""

    webhook: str | None = None
    """Address that the message is posted to. Its host must be among ``allowed_hosts``."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names that a webhook may have."""


class ServiceSettings(Settings):
    """Everything that an operator sets.

    Specs that come over HTTP name datasets, never paths: only these settings have paths.
    """

    roots: tuple[str, ...] = Field(min_length=1)
    """Folders that hold dataset folders. A dataset is named by the name of its folder."""

    cache: str
    """Folder of stores."""

    inbox: str | None = None
    """Folder with a subfolder for each dataset, from which ``data update`` reads ``interactions.*``,
    ``items.*`` and the folders ``image``, ``audio`` and ``video``. By default nothing is read."""

    backbones: dict[Modality, str] = Field(default_factory=dict)
    """Backbone of each modality that a night extracts: a preset's name, or a folder."""

    host: str = "127.0.0.1"
    """Address to listen on. Another than the loopback needs ``names`` and ``token_file``."""

    port: int = Field(default=8642, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    names: tuple[str, ...] = ()
    """Host names by which requests may call this server, beside those of the loopback."""

    token_file: str | None = None
    """File of tokens. By default ``tokens.toml`` in the data folder, made at the first start."""

    http: HttpSettings = HttpSettings()

    slots: SlotSettings = SlotSettings()

    executor: Literal["local", "ray"] = "local"
    """Where runs go: processes of this machine, or jobs of a Ray cluster."""

    ray: RaySettings = RaySettings()

    messages: MessageSettings = MessageSettings()

    local: str | None = None
    """Folder on a disk of this machine for the database and the sockets. By default the data folder,
    which must then be on such a disk; with ``executor=ray`` the nodes of the cluster share that."""

    watch_seconds: float = Field(default=5.0, gt=0)
    """Seconds between two looks at stores and datasets."""

    debounce_seconds: float = Field(default=60.0, ge=0)
    """Seconds for which a store or a dataset must stay as it is before a trigger fires."""

    backup_minutes: float = Field(default=60.0, gt=0)
    """Minutes between two backups of the database."""

    backups_kept: int = Field(default=24, ge=1)
    """Backups that are kept, the newest ones."""

    @model_validator(mode="after")
    def _is_open_only_on_purpose(self) -> Self:
        is_loopback = self.host in {"127.0.0.1", "::1", "localhost"}
        if not is_loopback and not (self.names and self.token_file):
            raise ValueError(
                f"host={self.host}: expected names and token_file with an address that others"
                " reach, found none"
            )
        if self.executor == "ray" and not (self.ray.address and self.ray.token_file):
            raise ValueError("executor=ray: expected ray.address and ray.token_file, found none")
        return self
