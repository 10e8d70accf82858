"""A hub on loopback that speaks as much of Hugging Face's HTTP as downloads and uploads need."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hollow(bytes):
    """A file of `size` bytes of which only the first are here; more of it is never sent."""

    size: int

    def __new__(cls, start: bytes, size: int) -> Hollow:
        made = super().__new__(cls, start)
        made.size = size
        return made


COMMIT = "c0ffee" + "0" * 34


class FakeHub(ThreadingHTTPServer):
    """Repositories as `{"owner/name": {"file": bytes}}`; `paths` are the requests it got."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repositories = repositories
        self.paths: list[str] = []
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def cache_in(home: Path) -> dict[str, str]:
    """Variables that keep the library's cache in `home`.

    Importing GPTQModel sets them all, to one folder for every run of this machine.
    """
    cache = str(home / "hub")
    return {"HF_HOME": str(home), "HF_HUB_CACHE": cache, "TRANSFORMERS_CACHE": cache}


@contextmanager
def running(repositories: dict[str, dict[str, bytes]]) -> Iterator[FakeHub]:
    """The hub, answering until the block is left."""
    hub = FakeHub(repositories)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join(timeout=5)


class _Answer(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._note()
        if self.path.startswith("/api/models/"):
            self._repository()
        elif "/resolve/" in self.path:
            self._file(body=True)
        else:
            self._json({}, status=404)

    def do_HEAD(self) -> None:
        self._note()
        self._file(body=False)

    def do_POST(self) -> None:
        self._note()
        told = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            name = json.loads(told)
            full = "/".join(filter(None, (name.get("organization"), name["name"])))
            self.server.repositories.setdefault(full, {})
            self._json({"url": f"{self.server.url}/{full}"})
        elif "/preupload/" in self.path:
            files = json.loads(told)["files"]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": file["path"], **plain} for file in files]})
        elif "/commit/" in self.path:
            self._commit(told)
        else:
            self._json({}, status=404)

    def _note(self) -> None:
        self.server.paths.append(self.path)
        self.server.tokens.add(self.headers.get("Authorization", ""))

    def _repository(self) -> None:
        name = "/".join(self.path.split("?")[0].split("/")[3:5])
        files = self.server.repositories.get(name)
        if files is None:
            self._json({"error": "Repository not found"}, status=404)
            return
        if "/tree/" in self.path:
            self._json([_entry(path, content) for path, content in files.items()])
            return
        siblings = [
            {"rfilename": file, "size": getattr(content, "size", len(content))}
            for file, content in files.items()
        ]
        self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []})

    def _file(self, *, body: bool) -> None:
        owner, name, _, _, *rest = self.path.lstrip("/").split("?")[0].split("/")
        content = self.server.repositories.get(f"{owner}/{name}", {}).get("/".join(rest))
        if content is None:
            self._json({}, status=404)
            return
        asked = self.headers.get("Range", "").removeprefix("bytes=0-")
        if isinstance(content, Hollow) and body and not asked:
            self._json({"error": "the weights were asked for"}, status=500)
            return
        if asked:
            content = content[: int(asked) + 1]
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{_entry("", content)["oid"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _commit(self, told: bytes) -> None:
        name = "/".join(self.path.split("/")[3:5])
        for line in told.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.repositories[name][entry["value"]["path"]] = content
        url = f"{self.server.url}/{name}/commit/{COMMIT}"
        self._json({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def _json(self, value: Any, *, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = sha1(content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}
