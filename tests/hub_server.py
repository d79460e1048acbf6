"""A Hugging Face Hub of the size of a test: the endpoints that pushing and pulling a model need, over real HTTP.

Written from what `huggingface_hub` sends and the Git LFS batch API (git-lfs/docs/api/batch.md): files ending in
.safetensors go through LFS where `lfs` is set, others into the commit.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_thisIsTheTokenOfTheTest"
OWNER = "someone"


@dataclass
class Repository:
    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])

    def names(self) -> list[str]:
        return [hashlib.sha1(str(number).encode()).hexdigest() for number in range(len(self.commits))]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        names = self.names()
        revision = names[-1] if revision == "main" else revision
        return (revision, self.commits[names.index(revision)]) if revision in names else None


@dataclass
class Hub:
    """What the server holds: repositories by "owner/name", LFS objects by sha256, and every request that came."""

    address: str = ""
    lfs: bool = True
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fail_on: str = ""  # requests whose line contains this are answered 507, which the client does not try again


class Refused(Exception):  # noqa: N818
    def __init__(self, status: int, code: str = "", message: str = "", content: dict | None = None) -> None:
        self.status, self.code, self.message, self.content = status, code, message, content or {}


@contextmanager
def running_hub(**settings):
    """A Hub on a free port of this machine."""
    hub = Hub(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._handle()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 (the names are http.server's)

    def log_message(self, *arguments):
        pass

    def _handle(self):
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            if self.hub.fail_on and self.hub.fail_on in self.hub.requests[-1]:
                raise Refused(507)
            content, headers = self._answer(path.strip("/").split("/"), body)
            self._send(200, content, headers)
        except Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(
                refused.status,
                json.dumps(refused.content).encode(),
                {name: value for name, value in headers.items() if value},
            )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answer(self, parts: list[str], body: bytes) -> tuple[bytes, dict[str, str]]:
        match parts:
            case ["lfs", oid]:  # a signed address: no token goes there
                assert hashlib.sha256(body).hexdigest() == oid
                self.hub.objects[oid] = body
                return b"", {}
            case ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                return self._create(json.loads(body))
            case ["api", "models", owner, name]:
                return self._info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                return self._info(f"{owner}/{name}", revision)
            case ["api", "models", owner, name, "tree", revision]:
                _, files = self._readable(f"{owner}/{name}", revision)
                return _json([_described(path, content) for path, content in files.items()])
            case ["api", "models", owner, name, "preupload", "main"]:
                self._writable(f"{owner}/{name}")
                paths = [one["path"] for one in json.loads(body)["files"]]
                modes = {path: "lfs" if self.hub.lfs and path.endswith(".safetensors") else "regular" for path in paths}
                return _json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
            case [owner, git, "info", "lfs", "objects", "batch"]:
                self._writable(f"{owner}/{git.removesuffix('.git')}")
                asked = json.loads(body)["objects"]
                actions = [{"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}} for one in asked]
                return _json({"objects": [{**o, "actions": a} for o, a in zip(asked, actions, strict=True)]})
            case ["api", "models", owner, name, "commit", "main"]:
                return self._commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])
            case [owner, name, "resolve", revision, *path]:
                commit, files = self._readable(f"{owner}/{name}", revision)
                content = files.get("/".join(path))
                if content is None:
                    raise Refused(404, "EntryNotFound")
                return content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        raise Refused(404)

    def _token_is_known(self) -> bool:
        given = self.headers.get("Authorization")
        if given is not None and given != f"Bearer {TOKEN}":
            raise Refused(401, message="Invalid credentials in Authorization header")
        return given is not None

    def _readable(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        known, found = self._token_is_known(), self.hub.repositories.get(repo)
        if found is None or (found.private and not known):  # the Hub does not tell which
            raise Refused(404 if known else 401, "RepoNotFound")
        at = found.at(revision)
        if at is None:
            raise Refused(404, "RevisionNotFound")
        return at

    def _writable(self, repo: str) -> Repository:
        self._readable(repo, "main")
        if not self._token_is_known() or not repo.startswith(f"{OWNER}/"):
            raise Refused(403)
        return self.hub.repositories[repo]

    def _create(self, asked: dict) -> tuple[bytes, dict[str, str]]:
        repo = f"{asked['organization']}/{asked['name']}"
        if not self._token_is_known():
            raise Refused(401)
        if asked["organization"] != OWNER:
            raise Refused(403, message="You don't have the rights to create a model under this namespace")
        if repo in self.hub.repositories:
            raise Refused(409, content={"url": f"{self.hub.address}/{repo}"})
        self.hub.repositories[repo] = Repository(
            private=asked.get("visibility") == "private" or asked.get("private", False)
        )
        return _json({"url": f"{self.hub.address}/{repo}"})

    def _info(self, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        commit, files = self._readable(repo, revision)
        siblings = [{"rfilename": path} for path in files]
        return _json({"id": repo, "sha": commit, "private": self.hub.repositories[repo].private, "siblings": siblings})

    def _commit(self, repo: str, lines: list[dict]) -> tuple[bytes, dict[str, str]]:
        repository = self._writable(repo)
        files = dict(repository.commits[-1])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repository.commits.append(files)
        commit = repository.names()[-1]
        return _json({"commitUrl": f"{self.hub.address}/{repo}/commit/{commit}", "commitOid": commit})


def _json(value) -> tuple[bytes, dict[str, str]]:
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


def _described(path: str, content: bytes) -> dict:
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
