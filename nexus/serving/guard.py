"""Who may speak to the server: the check that stands before every route.

The one idea: a web page in the user's own browser can reach loopback, so the name in ``Host`` and the page in
``Origin`` are checked as well as the key. Only digests of keys are kept, and nothing of a request but method, path,
status and time is logged. Source: DNS rebinding, Jackson et al. 2007 (CCS); Fetch standard, Origin header.
"""

import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nexus.serving.audit import Audit
from nexus.serving.dashboard import PATHS
from nexus.serving.errors import ApiError
from nexus.serving.limits import Limits, Spent
from nexus.serving.metrics import Metrics

LOG = logging.getLogger("nexus.serving")
KEY_LENGTH = 16  # characters at least
OPEN = frozenset(("/livez", "/readyz", *PATHS))  # need no key: they say yes or no, or hold nothing of anybody's
LOCAL = ("localhost", "127.0.0.1", "::1")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def read_keys(path: str | Path) -> list[str]:
    """API keys from a file, one a line; empty lines and those that begin with # are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no key, or one that is too short.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--api-key-file: {path} does not exist; write a key into it, one a line")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or min(map(len, keys)) < KEY_LENGTH:  # the key itself is not shown
        raise ValueError(
            f"--api-key-file: {path} must hold keys of {KEY_LENGTH} characters or more, one a line; "
            "make one with: openssl rand -hex 32"
        )
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, keys: Sequence[str]) -> None:
    """Raise ValueError for an address that others can reach, unless there is a key."""
    if not keys and not is_loopback(host):
        raise ValueError(f"--host: {host!r} can be reached by others; give --api-key-file FILE, or stay on 127.0.0.1")


class Guard:
    """ASGI middleware: checks Host, Origin and key, notes the owner of a request, logs and counts.

    Args:
        app: what comes behind.
        host: the address that is listened on.
        keys: API keys that are let in; none lets everyone in that reaches the server.
        limits: how much each key may ask for; as much as it likes if None.
        audit: where each request is written down, if anywhere.
    """

    def __init__(
        self,
        app: App,
        host: str,
        keys: Sequence[str],
        metrics: Metrics,
        limits: Limits | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._app, self._metrics, self._limits, self._audit = app, metrics, limits or Limits(), audit
        self._digests = [_digest(key) for key in keys]
        self._hosts = {*LOCAL, host} if is_loopback(host) or host not in ("0.0.0.0", "::") else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, owner, spent = time.monotonic(), 500, None, Spent()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            owner = self._owner(scope)
            if scope["path"] not in OPEN:
                self._limits.admit(owner)
            scope["state"] = {**scope.get("state", {}), "owner": owner, "spent": spent}
        except ApiError as error:
            await _refuse(error, scope, receive, noted)
        else:
            await self._app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # not as sent: each unknown one would be kept for ever
            self._metrics.requests.labels(path, status).inc()
            seconds = time.monotonic() - began
            LOG.info("%s %s %d %.3f s", scope["method"], path, status, seconds)
            self._limits.charge(owner or "", spent)
            if self._audit is not None:
                self._audit.note(owner, scope["method"], path, status, seconds, spent)

    def _owner(self, scope: Scope) -> str:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise ApiError(403, f"Host: {host[:60]!r} is not this server; use http://127.0.0.1", "Host", "wrong_host")
        if origin is not None and urlsplit(origin).netloc != host:
            message = f"Origin: pages of {origin[:60]!r} may not use this server; call it from your own program"
            raise ApiError(403, message, "Origin", "wrong_origin")
        if not self._digests or scope["path"] in OPEN:
            return ""
        given = _digest(headers.get(b"authorization", "").removeprefix("Bearer ").strip())
        if not sum(hmac.compare_digest(given, known) for known in self._digests):  # all, so that time tells nothing
            message = "Authorization: no valid key; send Authorization: Bearer KEY"
            raise ApiError(401, message, "Authorization", "invalid_api_key", {"WWW-Authenticate": "Bearer"})
        return given


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    from fastapi.responses import JSONResponse

    await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)
