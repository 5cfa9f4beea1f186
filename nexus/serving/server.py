"""`nexus serve`: the application on a socket, until it is told to stop.

The one idea: on SIGTERM the socket closes at once, answers under way are finished, and the exit code is 0.
"""

import contextlib
import logging
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from nexus.core.files import artefact_hash
from nexus.inference.release import Release
from nexus.serving.app import make_app
from nexus.serving.engine import Engine
from nexus.serving.guard import check_address, read_keys
from nexus.serving.weights import OwnersWeights

DRAIN = 30  # seconds for the answers under way
CONNECTIONS = 512  # at once; more are answered 503


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


def serve(release: Release, host: str, port: int, keys: list[str], weights: str | Path | None = None) -> int:
    """Serve a release until SIGTERM (exit code 0) or Ctrl+C.

    Args:
        weights: folder of the owners' versions, followed while serving; None for the release as it is.

    Raises:
        ImportError: the extra ``serving`` is not installed.
        OSError: the address cannot be listened on.
    """
    engine = Engine(release)
    if weights is not None:
        engine.follow(OwnersWeights(weights, artefact_hash(release.folder), release.model))
    server, sock = bind(make_app(engine, host, keys), host, port)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    shown = f"[{host}]" if ":" in host else host
    print(f"serving on http://{shown}:{sock.getsockname()[1]}/v1", file=sys.stderr, flush=True)
    signal.signal(signal.SIGTERM, _leave)  # what the server hands the signal on to after draining
    with contextlib.closing(sock):
        server.run([sock])
    return 0


def bind(app: Any, host: str, port: int) -> tuple[Any, Any]:
    """A uvicorn server for the application, and the socket that it will listen on.

    Raises:
        ImportError: the extra ``serving`` is not installed.
        OSError: the address is taken or not ours.
    """
    try:
        import uvicorn
    except ImportError:
        raise ImportError("nexus serve needs uvicorn; pip install 'nexus-ai[serving]'") from None
    import socket

    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
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
