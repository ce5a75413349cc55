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
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1c2127; --muted: #5f6872; --edge:
  #868f99; --accent: #2c66bd; --bad: #b3261e; --on: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --ink: #e4e7eb; --muted:
  #a2abb6; --edge: #6d7783; --accent: #7fb0f5; --bad: #ff9c93; --on: #10151c; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; align-content: center;
  padding: 1rem; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui,
  -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { width: min(100%, 24rem); }
h1 { margin: 0; font-size: 1.7rem; font-weight: 650; letter-spacing: -.015em; }
p { margin: .4rem 0 1rem; color: var(--muted); }
.problem { border-left: 3px solid var(--bad); padding: .2rem .7rem; color: var(--ink); }
label { display: block; font-weight: 600; margin-bottom: .3rem; }
input { width: 100%; padding: .55rem .7rem; font: inherit; color: inherit; background:
  var(--ground); border: 1px solid var(--edge); border-radius: 6px; }
#hint { font-size: .85rem; margin: .4rem 0 1.2rem; overflow-wrap: anywhere; }
button { width: 100%; padding: .6rem; font: inherit; font-weight: 600; color: var(--on);
  background: var(--accent); border: 0; border-radius: 6px; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""
"""As the pages have it, which may not load theirs before the log-in."""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - crossan</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>crossan</h1>
<p>Log in to the training service.</p>
{message}
<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autofocus autocomplete="current-password"
 aria-describedby="hint">
<p id="hint">The server's admin gave it to you. On the server's machine it stands in the file
<code>tokens.toml</code> of the data folder.</p>
<input name="next" type="hidden" value="{target}">
<button>Log in</button>
</form>
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
    shown = f'<p class="problem" role="alert">{escape(message)}</p>' if message else ""
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
