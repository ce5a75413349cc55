"""The form by which a browser logs in: the body of each 401 that a page gets."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import parse_qsl

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.web.answers import Answer

__all__ = ["form_fields", "login_answer", "safe_target"]

_STYLE = """
:root { color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif; }
body { max-width: 26rem; margin: 15vh auto 0; padding: 0 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { padding: .5rem; margin: .25rem 0 1rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in - crossan</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>crossan</h1>
{message}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autofocus autocomplete="current-password">
<input name="next" type="hidden" value="{target}">
<button>Log in</button>
</form>
<p>Tokens are in the file <code>tokens.toml</code> of the service's data folder.</p>
</main>
</body>
</html>
"""
_MOST_FIELDS = 100


def login_answer(target: str, message: str = "") -> Answer:
    """Return the form with status 401.

    Parameters
    ----------
    target
        Where the browser goes after it, a path of this server.
    message
        What was wrong with the attempt before.
    """
    shown = f'<p role="alert">{escape(message)}</p>' if message else ""
    page = _PAGE.format(style=_STYLE, message=shown, target=escape(safe_target(target)))
    return Answer(
        401,
        page.encode(),
        "text/html; charset=utf-8",
        {"www-authenticate": 'Bearer realm="crossan"'},
        styles=f"'sha256-{_STYLE_HASH}'",
    )


def safe_target(target: str) -> str:
    """Return a path of this server, ``/`` where the target leads anywhere else."""
    is_path = target.startswith("/") and target[1:2] not in {"/", "\\"}
    return target if is_path and target.isascii() and target.isprintable() else "/"


def form_fields(body: bytes) -> dict[str, str]:
    """Return the fields of a form as a browser sends it, the last of each name.

    Raises
    ------
    ConfigError
        It is not such a form.
    """
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            max_num_fields=_MOST_FIELDS,
            encoding="utf-8",
            errors="strict",
        )
    except ValueError:
        raise ConfigError(
            f"body: expected a form of at most {_MOST_FIELDS} fields in UTF-8"
        ) from None
    return dict(pairs)
