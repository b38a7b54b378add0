"""A hub on loopback that speaks as much of the Hugging Face protocol as an upload needs, and keeps what it receives."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LARGE = (".safetensors", ".parquet")
"""Endings of files that the hub wants by LFS, as the real one does."""


@dataclass
class Hub:
    """What a hub received: repositories with their facts, and their files."""

    address: str = ""
    token: str = ""
    repositories: dict[str, dict[str, bool]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@contextmanager
def local_hub(token: str) -> Iterator[Hub]:
    """Serve a hub that accepts `token` alone."""
    hub = Hub(token=token)

    class Answers(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_PUT(self) -> None:
            hub.blobs[self.path.rpartition("/")[2]] = self._body()
            self._say({})

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._say({"error": "Invalid username or password."}, 401)
            elif self.path == "/api/repos/create":
                self._create(json.loads(body))
            elif self.path == "/api/validate-yaml":
                self._say({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = [
                    {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular"}
                    for one in json.loads(body)["files"]
                ]
                self._say({"files": [{**one, "shouldIgnore": False} for one in files]})
            elif self.path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**one, "actions": {"upload": {"href": f"{hub.address}/blobs/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]
                self._say({"transfer": "basic", "objects": objects})
            elif "/commit/" in self.path:
                self._commit(body)
            else:
                self._say({"error": "no such address"}, 404)

        def _create(self, asked: dict[str, Any]) -> None:
            owner, _, name = (f"{asked.get('organization') or 'me'}/{asked['name']}").partition("/")
            kind = asked.get("type") or "model"
            private = asked.get("private") or asked.get("visibility") == "private"
            hub.repositories[f"{kind}s/{owner}/{name}"] = {"private": bool(private)}
            prefix = "" if kind == "model" else f"{kind}s/"
            self._say({"url": f"{hub.address}/{prefix}{owner}/{name}", "name": f"{owner}/{name}"})

        def _commit(self, body: bytes) -> None:
            where = self.path.removeprefix("/api/").partition("/commit/")[0]
            kept = hub.files.setdefault(where, {})
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    hub.messages.append(value["summary"])
                elif entry["key"] == "file":
                    kept[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    kept[value["path"]] = hub.blobs[value["oid"]]
            self._say({"success": True, "commitOid": "0" * 40, "commitUrl": f"{hub.address}/{where}/commit/{'0' * 40}"})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _say(self, answer: dict[str, Any], status: int = 200) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
