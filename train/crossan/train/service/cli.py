"""``crossan serve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossan.common.console import AsJson, Panel, note, print_fields, print_json

if TYPE_CHECKING:
    from crossan.train.service.folder import ServiceFolder
    from crossan.train.service.settings import ServiceSettings

__all__ = ["serve"]


def serve(
    folder: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Data folder of the service; made where there is none.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="Folder of dataset folders; repeatable.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="FOLDER", help="Folder of stores.", rich_help_panel=Panel.WHAT
        ),
    ] = None,
    restore: Annotated[
        str | None,
        typer.Option(
            "--restore",
            metavar="BACKUP",
            help="Put a backup of the database in its place first: newest, or a file's name.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; one that others reach needs --name and --token-file.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port to listen on; 0 takes a free one.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="HOST",
            help="Host name by which others call this server; repeatable.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Tokens, in a file that only its owner may read; default: tokens.toml in --data.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file of settings, above service.toml in --data; repeatable.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting of the service; repeatable.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    r"""Train every night, hold the models, and answer with recommendations.

    Runs go on when the server ends, and the next one takes them up.

    Examples
    --------
    crossan serve --data service --root datasets --cache cache
    """
    from crossan.train.service.folder import ServiceFolder

    flags: dict[str, tuple[str, Any]] = {
        "--root": ("roots", [str(one.absolute()) for one in root] if root else None),
        "--cache": ("cache", None if cache is None else str(cache.absolute())),
        "--host": ("host", host),
        "--port": ("port", port),
        "--name": ("names", name or None),
        "--token-file": ("token_file", None if token_file is None else str(token_file)),
    }
    service_folder = ServiceFolder(folder.absolute())
    settings = _settings(service_folder, flags, config or [], assignments or [])
    _serve(settings, service_folder, restore, as_json=as_json)


def _settings(
    folder: ServiceFolder,
    flags: dict[str, tuple[str, Any]],
    config: list[Path],
    assignments: list[str],
) -> ServiceSettings:
    from crossan.common.config import FlagValue, load_settings
    from crossan.train.service.settings import ServiceSettings

    files = [folder.settings_file] if folder.settings_file.exists() else []
    return load_settings(
        ServiceSettings,
        files=[*files, *config],
        flags=[
            FlagValue(flag, setting, value)
            for flag, (setting, value) in flags.items()
            if value is not None
        ],
        assignments=assignments,
        environment={},
    )


def _serve(
    settings: ServiceSettings, folder: ServiceFolder, restore: str | None, *, as_json: bool
) -> None:
    import gc
    import signal

    # What a server imports stays until it ends: looking through it again and again, as objects
    # come, would take a tenth of the time until the first answer.
    gc.disable()
    from crossan.train.service.database.backups import explain
    from crossan.train.service.server import Service
    from crossan.train.service.server.logs import start_logging
    from crossan.train.service.web.listening import listening_socket, run_service
    from crossan.train.service.web.tokens import load_tokens, make_tokens

    start_logging()
    folder.path.mkdir(parents=True, exist_ok=True)
    token_path = folder.tokens if settings.token_file is None else Path(settings.token_file)
    if settings.token_file is None:
        make_tokens(token_path)
    tokens = load_tokens(token_path)
    listener = listening_socket(settings.host, settings.port)
    service = Service(settings, folder.path, restore_from=restore)
    for name in settings.roots:
        # It may be mounted later; a mistyped one would look like a root without datasets.
        if not Path(name).expanduser().is_dir():
            note(f"root {name}: there is no such folder now, so none of its datasets is served")
    if service.restored is not None:
        for line in explain(service.restored):
            note(line)

    def print_address(url: str) -> None:
        gc.freeze()
        gc.enable()
        _print_address(url, folder, token_path, as_json=as_json)

    if run_service(service, tokens, listener, print_address) is signal.SIGINT:
        raise KeyboardInterrupt


def _print_address(url: str, folder: ServiceFolder, tokens: Path, *, as_json: bool) -> None:
    import os

    if as_json:
        print_json(
            {"url": url, "pid": os.getpid(), "data": str(folder.path), "tokens": str(tokens)}
        )
    else:
        print_fields(
            [
                ("dashboard", url),
                ("log in", f"with a token of {tokens}"),
                ("queue a run", f"crossan runs submit --data {folder.path}"),
                ("end", "Ctrl-C; runs go on"),
            ]
        )
