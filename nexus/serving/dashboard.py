"""The dashboard: one page and its files, sent as they lie in the package.

The one idea: the page is made of files and never of data, and its Content-Security-Policy lets it load nothing but
these files and speak to nobody but this server; `require-trusted-types-for` turns text into markup nowhere. The files
need no key, because they hold nothing; what the page then asks the server for does.
Reference: Content Security Policy Level 3, Trusted Types (W3C).
"""

from importlib.resources import files
from typing import Any

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = (
    "index.html", "style.css", "icon.svg", "main.js", "dom.js", "api.js", "views.js", "chat.js", "answer.js",
    "memory.js", "history.js", "live.js", "chart.js",
)  # fmt: skip
PATHS = ("/", *(f"/page/{name}" for name in FILES[1:]))  # open to those without a key
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def add_dashboard(app: Any) -> None:
    """Add a route for the page and for each of its files."""
    folder = files("nexus.serving") / "page"
    for path, name in zip(PATHS, FILES, strict=True):
        _add(app, path, (folder / name).read_bytes(), KINDS[name[name.rindex(".") :]])


def _add(app: Any, path: str, content: bytes, kind: str) -> None:
    from fastapi.responses import Response

    @app.get(path, response_model=None, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)
