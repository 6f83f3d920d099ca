"""A page on this machine alone: it is served to the loopback interface, below an address that nobody can guess.

Documents may hold anything. So the page takes scripts and styles from here only, and texts reach it as JSON and are set as
text (`page.js`, which shows what cannot be seen). A request that names another host, as a page elsewhere would whose name
was pointed here, gets nothing.
"""

from __future__ import annotations

import inspect
import json
import secrets
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import parse_qsl, urlsplit

from curate.browse.view import View
from curate.corpora.built import Annotated
from curate.errors import CurateError
from curate.progress import say

HOST = "127.0.0.1"
PAGES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
QUESTIONS = ("overview", "documents", "signal", "around", "document")  # methods of View
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def browse(a: Annotated, port: int, opens: bool) -> str:
    """Serve the page until Ctrl-C; its address. Raises CurateError where the port is taken."""
    try:
        server, address = serve(View(a), port)
    except OSError as error:
        raise CurateError(f"--port {port}: {error.strerror}; name another, or none") from None
    say(f"{address}  (Ctrl-C ends it)")
    if opens:
        webbrowser.open(address)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return address


def serve(view: View, port: int = 0) -> tuple[ThreadingHTTPServer, str]:
    """A server that listens, and the address of its page; `serve_forever()` answers. Port 0: any that is free.

    Raises OSError where the port is taken.
    """
    key = secrets.token_urlsafe(16)
    server = ThreadingHTTPServer((HOST, port), partial(_Handler, view, key))
    server.daemon_threads = True
    return server, f"http://{HOST}:{server.server_port}/{key}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, view: View, key: str, *arguments):
        self.view, self.key = view, key
        super().__init__(*arguments)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        key, _, name = address.path.lstrip("/").partition("/")
        port = self.server.server_port  # type: ignore[attr-defined]
        here = {f"{HOST}:{port}", f"localhost:{port}"}
        if self.headers.get("Host") not in here or not secrets.compare_digest(key, self.key):
            self._send(404, "text/plain", b"not here")
        elif name in PAGES:
            file, kind = PAGES[name]
            self._send(200, kind, (files("curate.browse") / "page" / file).read_bytes())
        elif name in QUESTIONS:
            self._answer(getattr(self.view, name), dict(parse_qsl(address.query)))
        else:
            self._send(404, "text/plain", b"not here")

    def _answer(self, question: Callable, given: dict[str, str]) -> None:
        try:
            with self.view.one_at_a_time:
                answer, code = question(**_typed(question, given)), 200
        except (CurateError, TypeError, ValueError) as error:
            answer, code = {"error": str(error)}, 400
        self._send(code, "application/json", json.dumps(answer, ensure_ascii=False).encode())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is for what the user has to know."""


def _typed(question: Callable, given: dict[str, str]) -> dict[str, object]:
    """What an address says, as what the question takes."""
    kinds = {"int": int, "float": float, "str": str}
    takes = inspect.signature(question).parameters
    unknown = given.keys() - takes.keys()
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: the question takes {', '.join(takes)}")
    return {name: kinds[str(takes[name].annotation)](value) for name, value in given.items()}
