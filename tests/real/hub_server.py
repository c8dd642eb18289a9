"""A server with as much of the Hub's HTTP API as its real clients use for datasets: repositories in memory, LFS, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class HubServer:
    """Repositories by name, each a mapping of paths to bytes.

    `break_after` breaks off the upload of LFS objects after as many; `uploads` are the objects that came.
    """

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str | None] = set()
        self.objects: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.break_after: int | None = None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_port}"

    def sha(self, name):
        """A commit's id, another one for each content."""
        files = self.repositories[name]
        return hashlib.sha1(
            repr(sorted((p, hashlib.sha1(b).hexdigest()) for p, b in files.items())).encode()
        ).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        """Say nothing."""

    def _send(self, body, status=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _lost(self, what):
        self._send(
            {"error": f"{what} not found"},
            404,
            X_Error_Code="RepoNotFound" if what == "Repository" else "EntryNotFound",
        )

    def _read(self):
        length = self.headers.get("Content-Length")
        if length is not None:
            return self.rfile.read(int(length))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.tokens.add(self.headers.get("Authorization"))
        if path == "/api/whoami-v2":
            if not self.headers.get("Authorization"):
                return self._send({"error": "Invalid username or password."}, 401)
            return self._send({"name": "owner", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        if found := re.match(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|refs)(?:/[^/]+)?(?:/(.*))?)?$", path):
            return self._about(found[1], found[2], found[3] or "")
        if found := re.match(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)$", path):
            return self._file(found[1], found[2])
        return self._lost("Entry")

    def _about(self, name, kind, below):
        files = self.hub.repositories.get(name)
        if files is None:
            return self._lost("Repository")
        if kind == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.hub.sha(name)}
            return self._send({"branches": [main], "tags": [], "converts": []})
        if kind == "tree":
            deep = "recursive=true" in self.path.lower()
            return (
                self._send(self._tree(files, below, deep=deep))
                if not below or any(p.startswith(f"{below}/") for p in files)
                else self._lost("Entry")
            )
        siblings = [{"rfilename": path} for path in files]
        about = {
            "id": name,
            "sha": self.hub.sha(name),
            "private": self.hub.private[name],
            "gated": False,
            "tags": [],
            "siblings": siblings,
        }
        return self._send(about)

    def _tree(self, files, below, *, deep):
        listed = {}
        for path, data in files.items():
            if below and not path.startswith(f"{below}/"):
                continue
            rest = path[len(below) + 1 :] if below else path
            if "/" in rest:
                folder = f"{below}/{rest.split('/')[0]}".lstrip("/")
                listed.setdefault(folder, {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40})
                if not deep:
                    continue
            listed[path] = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        return list(listed.values())

    def _file(self, name, path):
        files = self.hub.repositories.get(name)
        if files is None:
            return self._lost("Repository")
        if path not in files:
            return self._lost("Entry")
        data = files[path]
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X_Repo_Commit": self.hub.sha(name),
            "Accept_Ranges": "bytes",
        }
        if found := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            begin, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            return self._send(data[begin : end + 1], 206, Content_Range=f"bytes {begin}-{end}/{len(data)}", **headers)
        return self._send(data, **headers)

    def do_PUT(self):
        oid, data = self.path.rsplit("/", 1)[1], self._read()
        hub = self.hub
        if hub.break_after is not None and len(hub.uploads) >= hub.break_after:
            return self._send({"error": "out of order"}, 403)
        hub.objects[oid] = data
        hub.uploads.append(oid)
        return self._send({})

    def do_POST(self):
        hub, path, data = self.hub, unquote(urlsplit(self.path).path), self._read()
        hub.tokens.add(self.headers.get("Authorization"))
        if path == "/api/repos/create":
            asked = json.loads(data)
            name = f"{asked.get('organization') or 'owner'}/{asked['name'].split('/')[-1]}"
            made = name not in hub.repositories
            hub.repositories.setdefault(name, {})
            hub.private.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
            return self._send({"url": f"{hub.url}/datasets/{name}", "name": name, "id": name}, 200 if made else 409)
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if found := re.match(r"/(?:datasets/)?([^/]+/[^/]+?)(?:\.git)?/info/lfs/objects/batch$", path):
            return self._send({"transfer": "basic", "objects": [self._object(o) for o in json.loads(data)["objects"]]})
        if found := re.match(r"/api/datasets/([^/]+/[^/]+)/(preupload|commit|paths-info)/", path):
            return getattr(self, f"_{found[2].replace('-', '_')}")(hub.repositories[found[1]], data, found[1])
        return self._lost("Entry")

    def _object(self, asked):
        """What is there already has nothing to be done for it."""
        result = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] in self.hub.objects:
            return result
        return result | {
            "authenticated": True,
            "actions": {"upload": {"href": f"{self.hub.url}/objects/{asked['oid']}", "header": {}}},
        }

    def _preupload(self, files, data, name):
        asked = json.loads(data)["files"]
        kind = {True: "lfs", False: "regular"}
        result = [
            {"path": f["path"], "uploadMode": kind[f["path"].endswith(".parquet")], "shouldIgnore": False, "oid": None}
            for f in asked
        ]
        self._send({"files": result})

    def _paths_info(self, files, data, name):
        asked = parse_qs(data.decode()).get("paths") or json.loads(data)["paths"]
        self._send(
            [
                {"type": "file", "path": p, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                for p, b in files.items()
                if p in asked
            ]
        )

    def _commit(self, files, data, name):
        for line in data.splitlines():
            result = json.loads(line)
            value = result["value"]
            if result["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif result["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif result["key"] == "deletedFile":
                del files[value["path"]]
        sha = self.hub.sha(name)
        self._send(
            {
                "success": True,
                "commitOid": sha,
                "commitUrl": f"{self.hub.url}/datasets/{name}/commit/{sha}",
                "hookOutput": "",
            }
        )
