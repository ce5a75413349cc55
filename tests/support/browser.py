"""Headless Chromium, driven by its own protocol over two pipes: no driver, no library.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe", "--no-proxy-server",
    "--disable-dev-shm-usage",
)  # fmt: skip
_NAMED_ROLES = {
    "button", "checkbox", "combobox", "heading", "image", "link", "navigation", "progressbar", "region", "spinbutton", "table", "textbox",
}  # fmt: skip
SECONDS = 60
"""Within which the browser has to answer, also on a loaded machine."""

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"
)


class Browser:
    """One window of headless Chromium.

    ``problems`` collects what its console says of errors, exceptions of scripts, requests that
    the page's policy forbids, and dialogs, which only a script that should not run opens.
    """

    def __init__(self, profile):
        to_browser, our_end = os.pipe()
        self._reads, from_browser = os.pipe()
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._writes, self._buffer, self._number = our_end, b"", 0
        self._session, self.events, self.problems = None, [], []
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self):
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
        self._process.wait()
        os.close(self._writes)
        os.close(self._reads)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.close()

    def send(self, method, **parameters):
        """Give a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def go(self, address):
        """Open an address and wait until all of it is loaded."""
        self.events.clear()
        result = self.send("Page.navigate", url=address)
        assert not result.get("errorText"), result
        self._wait_for("Page.loadEventFired")

    def press(self, selector):
        """Click on an element that leads to another page, and wait until that is loaded."""
        self.events.clear()
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self._wait_for("Page.loadEventFired")

    def type_into(self, selector, text):
        """Put text into a field as if it was typed."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=text)

    def key(self, key, code=0, **more):
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more,
            )  # fmt: skip

    def enter(self, is_followed=True):
        """Press the Enter key; wait until the page that it leads to is loaded, if it leads to one."""
        self.events.clear()
        self.key("Enter", 13, text="\r")
        if is_followed:
            self._wait_for("Page.loadEventFired")

    def tab_to(self, selector, most=120):
        """Press the Tab key until an element has the focus."""
        reached = f"document.activeElement.matches({json.dumps(selector)})"
        for _ in range(most):
            if self.run(reached):
                return
            self.key("Tab", 9)
        raise AssertionError(f"{most} times Tab do not reach {selector}")

    def write(self, text):
        """Type text into what has the focus."""
        self.send("Input.insertText", text=text)

    def unnamed(self):
        """Return the roles of all that can be used or jumped to, and has no name to be read out."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        used = [one for one in nodes if one.get("role", {}).get("value") in _NAMED_ROLES]
        return [
            one["role"]["value"]
            for one in used
            if not one["ignored"] and not one.get("name", {}).get("value", "").strip()
        ]

    def run(self, expression):
        """Return the value of an expression of JavaScript."""
        result = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression, seconds=SECONDS):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"!!({expression})")):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            time.sleep(0.05)
        return value

    def wait_for_problem(self, text):
        """Wait until the console says something that has a text in it."""
        end = time.monotonic() + SECONDS
        while not any(text in str(one) for one in self.problems):
            assert time.monotonic() < end, f"the console does not say {text}: {self.problems}"
            # What the console said comes with the next answer.
            self.run("0")
            time.sleep(0.05)

    def text(self, selector="main"):
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def size(self, width, height=900):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def theme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def shot(self, path):
        """Write a picture of the whole page."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": size["width"], "height": size["height"]}
        picture = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def overflow(self):
        """Return by how many pixels the page is wider than the window."""
        return self.run(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def _wait_for(self, method):
        end = time.monotonic() + SECONDS
        while not any(event["method"] == method for event in self.events):
            assert time.monotonic() < end, f"no {method}"
            self._note(self._next())

    def _next(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._reads, 1 << 20)
            assert piece, "the browser is gone"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        self.events.append(event)
        method, values = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(values["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and values["type"] in {"error", "assert"}:
            self.problems.append(values["args"])
        elif method == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.problems.append(values["entry"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(values)
            self._number += 1
            answer = {
                "id": self._number,
                "method": "Page.handleJavaScriptDialog",
                "params": {"accept": False},
            }
            os.write(
                self._writes, json.dumps(answer | {"sessionId": self._session}).encode() + b"\0"
            )
