"""A hub of models on loopback: the part of its interface that the hub's own client uses to push and to fetch."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretOfTheTests"  # noqa: S105 - of a server that lives as long as a test
_LARGE = (".safetensors", ".onnx", ".bin", ".pt2")


class Hub(ThreadingHTTPServer):
    """Repositories with their files; writing, and reading private ones, needs the token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.refuses = 0
        """A status with which every writing request is refused."""
        self.lies: dict[str, bytes] = {}
        """Name of a file -> what is sent in its place."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET", b"")

    def do_HEAD(self) -> None:
        self._answer("HEAD", b"")

    def do_POST(self) -> None:
        self._answer("POST", self.rfile.read(int(self.headers.get("content-length", 0))))

    do_PUT = do_POST  # noqa: N815 - the name that the standard library calls

    def _answer(self, method: str, body: bytes) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{method} {path}")
        given = self.headers.get("authorization", "").removeprefix("Bearer ")
        hub.tokens |= {given} if given else set()
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        stored = re.fullmatch(r"/lfs/(\w+)", path)
        if self.command == "PUT" and stored:
            hub.objects[stored[1]] = body
            self._send(b"", 200)
        elif info or file:
            repo = (info or file)[1]  # type: ignore[index]
            if repo not in hub.repos or (repo in hub.private and given != TOKEN):
                self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            elif info:
                self._json(self._info(repo))
            else:
                assert file is not None
                self._file(hub.repos[repo], file[2])
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif given != TOKEN or hub.refuses:
            self._json({"error": f"You may not write; you came as {given}"}, hub.refuses or 401)
        else:
            self._write(path, body)

    def _write(self, path: str, body: bytes) -> None:
        hub = self.server
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if asked.get("private") or asked.get("visibility") == "private":
                hub.private.add(repo)
            status = 409 if repo in hub.repos else 200
            hub.repos.setdefault(repo, {})
            self._json({"url": f"{hub.url}/{repo}"}, status)
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = {each["path"]: "lfs" if each["path"].endswith(_LARGE) else "regular" for each in files}
            told = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            self._json({"files": told})
        elif path.endswith("/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            told = [{**each, "actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}} for each in asked]
            self._json({"transfer": "basic", "objects": told})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    hub.repos[found[1]][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    hub.repos[found[1]][value["path"]] = hub.objects[value["oid"]]
            self._json({"success": True, "commitOid": "1" * 40, "commitUrl": f"{hub.url}/{found[1]}/commit/{'1' * 40}"})
        else:
            self._json({"error": "no such route"}, 404)

    def _info(self, repo: str) -> dict[str, Any]:
        files = []
        for name, data in self.server.repos[repo].items():
            sha = hashlib.sha256(data).hexdigest()
            lfs = {"lfs": {"sha256": sha, "size": len(data), "pointerSize": 130}} if name.endswith(_LARGE) else {}
            files.append({"rfilename": name, "size": len(data), "blobId": "2" * 40, **lfs})
        return {
            "id": repo, "modelId": repo, "sha": "1" * 40, "private": repo in self.server.private, "tags": [],
            "siblings": files,
        }  # fmt: skip

    def _file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = self.server.lies.get(name, files[name])
        etag = hashlib.sha256(files[name]).hexdigest()
        self._send(data, 200, {"X-Repo-Commit": "1" * 40, "ETag": f'"{etag}"', "Accept-Ranges": "none"})

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, body: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving_models() -> Iterator[Hub]:
    """A hub on loopback, running."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
