"""An MCP server over stdin and stdout, so that assistants can ask for evidence and diagnosis of a run.

The one idea: the protocol (modelcontextprotocol.io, revision 2025-06-18) is JSON-RPC, one message a line, and three
methods are all that a server of tools needs. Nothing here writes to a run or runs anything; paths stay below a folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import nexus
from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.page import write_page
from nexus.training.audit.record import read_record, storable
from nexus.training.audit.syncs import find_device_syncs
from nexus.training.audit.tree import TREE

PROTOCOLS = ("2025-06-18", "2025-03-26", "2024-11-05")
_PATH = {"path": {"type": "string", "description": "folder of a run, or a log file"}}
Tool = Callable[[Path, Mapping[str, Any]], Any]


def _diagnose(path: Path, arguments: Mapping[str, Any]) -> Any:
    return [finding.to_dict() for finding in diagnose(path)]


def _evidence(path: Path, arguments: Mapping[str, Any]) -> Any:
    record = read_record(path)
    last = int(arguments.get("last", 20))
    return {
        "facts": record.facts,
        "errors": record.errors[-5:],
        "steps": record.steps[-last:],
        "readings": record.readings[-3:],
        "held_out": record.held_out[-last:],
        "steps_known": len(record.steps),
    }


def _syncs(path: Path, arguments: Mapping[str, Any]) -> Any:
    return [sync._asdict() for sync in find_device_syncs(path)]


def _curves(path: Path, arguments: Mapping[str, Any]) -> Any:
    folder = path if path.is_dir() else path.parent
    return str(write_page(read_record(path), folder / "audit.html"))


def _tree(path: Path, arguments: Mapping[str, Any]) -> Any:
    return [{"question": b.question, "rules": [str(rule.__doc__).strip() for rule in b.rules]} for b in TREE]


_LAST = {"last": {"type": "integer", "description": "how many of the latest steps"}}
TOOLS: dict[str, tuple[Tool, str, dict[str, Any]]] = {
    "diagnose_run": (_diagnose, "What is wrong with a training run: findings with evidence, causes and cure.", _PATH),
    "run_evidence": (_evidence, "Losses, readings, facts and errors of a training run.", {**_PATH, **_LAST}),
    "find_device_syncs": (_syncs, "Lines of a Python file that wait for the device in a training loop.", _PATH),
    "draw_curves": (_curves, "Write audit.html with the run's curves beside it; returns the file.", _PATH),
    "decision_tree": (_tree, "The questions that the diagnosis asks, in order.", {}),
}


class Server:
    """Answers messages about files below ``root``."""

    def __init__(self, root: Path | str = ".") -> None:
        self.root = Path(root).resolve()

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """The reply to one message; None for a notification."""
        if "id" not in message:
            return None
        methods: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "initialize": self._initialize,
            "ping": lambda _: {},
            "tools/list": self._list,
            "tools/call": self._call,
        }
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        method = methods.get(str(message.get("method")))
        if method is None:
            return reply | {"error": {"code": -32601, "message": f"method {message.get('method')!r} is unknown"}}
        try:
            return reply | {"result": method(message.get("params") or {})}
        except (KeyError, TypeError) as error:
            return reply | {"error": {"code": -32602, "message": f"parameters: {error}"}}

    def _initialize(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        asked = parameters.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "nexus-doctor", "version": nexus.__version__},
        }

    def _list(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        tools = []
        for name, (_, text, properties) in TOOLS.items():
            schema = {"type": "object", "properties": properties, "required": [k for k in properties if k == "path"]}
            tools.append({"name": name, "description": text, "inputSchema": schema})
        return {"tools": tools}

    def _call(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        arguments = parameters.get("arguments") or {}
        try:
            tool, _, properties = TOOLS[str(parameters["name"])]
            result = tool(self._inside(arguments["path"]) if "path" in properties else self.root, arguments)
        except (ValueError, OSError, KeyError) as error:  # told to the assistant, which may try another path
            return {"content": [{"type": "text", "text": f"{type(error).__name__}: {error}"}], "isError": True}
        return {"content": [{"type": "text", "text": json.dumps(storable(result), default=str)}], "isError": False}

    def _inside(self, path: str) -> Path:
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root):
            raise ValueError(f"path={path!r}: is outside of {self.root}; give one below it")
        return found


def serve(root: Path | str = ".", reader: IO[str] | None = None, writer: IO[str] | None = None) -> None:
    """Answer until the input ends."""
    server, reader, writer = Server(root), reader or sys.stdin, writer or sys.stdout
    for line in reader:
        if not line.strip():
            continue
        try:
            reply = server.answer(json.loads(line))
        except ValueError as error:
            reply = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": f"no JSON: {error}"}}
        if reply is not None:
            writer.write(json.dumps(reply) + "\n")
            writer.flush()
