"""`nexus serve`: the application on a socket, until it is told to stop.

The one idea: on SIGTERM the socket closes at once, answers under way are finished, and the exit code is 0.
"""

import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from nexus.inference.release import Release
from nexus.living.living import Living
from nexus.living.versions import owners_with_versions
from nexus.serving.app import make_app
from nexus.serving.audit import Audit
from nexus.serving.desk import Desk
from nexus.serving.engine import Engine
from nexus.serving.guard import check_address, read_keys
from nexus.serving.journal_thread import JournalThread
from nexus.serving.limits import Limits
from nexus.serving.weights import OwnersWeights, plain

DRAIN = 30  # seconds for the answers under way
CONNECTIONS = 512  # at once; more are answered 503
STALLED = 120  # seconds for which a client may leave an answer lying


def check_serving(host: str, port: int, key_file: str | Path | None) -> list[str]:
    """Check address and keys before anything large is loaded, and return the keys.

    Raises:
        ValueError: the port is none, the address needs a key, or the file holds no good ones.
        FileNotFoundError: there is no such file.
    """
    if not 0 <= port < 65_536:
        raise ValueError(f"--port: {port} is no port; give 1 to 65535, or 0 for any that is free")
    keys = read_keys(key_file) if key_file else []
    check_address(host, keys)
    return keys


def check_versions(folder: str | Path) -> None:
    """Check that no owner's version waits to speak from weights in eight bits.

    Raises:
        ValueError: one does. Its gates measured it on weights in full precision; on others it was never examined.
    """
    if owners := owners_with_versions(folder):
        problem = f"{owners} owner(s) speak from versions in {folder}, which passed their gates in full precision"
        raise ValueError(f"--int8: {problem}. cure: leave --int8 out, or name another folder with --weights")


@dataclass(frozen=True)
class Rules:
    """What a server grants: how much a key may ask for, where requests are written down, bytes of the prefix cache."""

    limits: Limits
    audit: Audit | None
    cache_bytes: int


def read_rules(requests: int, tokens: int, cache_mib: int, audit: str | Path | None) -> Rules:
    """The rules as options of ``nexus serve`` give them.

    Raises:
        ValueError: a number below 0, or a file that cannot be written.
    """
    if cache_mib < 0:
        raise ValueError(f"--cache-mib: {cache_mib} is below 0; give a number, or 0 for no cache")
    return Rules(Limits(requests, tokens), Audit(audit) if audit else None, cache_mib * 2**20)


def serve(
    release: Release,
    host: str,
    port: int,
    keys: list[str],
    rules: Rules,
    living: Callable[[], Living] | None = None,
    memory: str | Path | None = None,
    weights: str | Path | None = None,
) -> int:
    """Serve a release until SIGTERM (exit code 0) or Ctrl+C.

    Args:
        living: opens what decides about answers; all are sent if None.
        memory: the journal of what is taught over HTTP; nothing can be if None.
        weights: folder of the owners' versions, followed while serving; None for the release as it is.

    Raises:
        ImportError: the extra ``serving`` is not installed.
        OSError: the address cannot be listened on.
        ValueError: ``memory`` is no journal.
    """
    owners = None if weights is None else OwnersWeights(weights, release.hash, release)
    desk = None if living is None else Desk(release, living, owners or plain)
    journal = None if memory is None else JournalThread(memory)
    engine = Engine(release, cache_bytes=rules.cache_bytes, desk=desk)
    if owners is not None:
        engine.follow(owners)
    app = make_app(engine, host, keys, limits=rules.limits, audit=rules.audit, journal=journal, weights=owners)
    server, sock = bind(app, host, port)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{sock.getsockname()[1]}"
    print(f"serving on {address}/v1\ndashboard on {address}/", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, _leave)  # what the server hands the signal on to after draining
    with contextlib.closing(sock):
        server.run([sock])
    return 0


def bind(app: Any, host: str, port: int) -> tuple[Any, Any]:
    """A uvicorn server for the application, and the socket that it listens on.

    Raises:
        ImportError: the extra ``serving`` is not installed.
        OSError: the address is taken or not ours.
    """
    try:
        import uvicorn
    except ImportError:
        raise ImportError("nexus serve needs uvicorn; pip install 'nexus-ai[serving]'") from None
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio lets small pieces go out at once (TCP_NODELAY) only where it is; the body of
    # an answer would wait for the client's receipt of its head otherwise, which takes 40 ms. The option is inherited.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: who takes nothing of an answer for so long is cut off
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1_000 * STALLED)
    try:
        made.bind((host, port))
        made.listen()  # now, so that who reads the address may call at once
    except OSError as error:
        made.close()
        raise OSError(f"--host {host} --port {port}: {error.strerror}; choose another with --port") from None
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the guard logs, without addresses and queries
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
        limit_concurrency=CONNECTIONS,
    )
    return uvicorn.Server(config), made


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
