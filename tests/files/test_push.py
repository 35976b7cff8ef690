"""Uploads to a hub on this machine that speaks as much of the real one's protocol as they need."""

from __future__ import annotations

import base64
import http.server
import json
import threading

import pytest

from codepmp_jax.cli.errors import StoreError, UserError
from codepmp_jax.config import ConvertConfig
from codepmp_jax.files.hub import Repository
from tests.processes import free_port


class Hub(http.server.ThreadingHTTPServer):
    """Repositories by kind and name, each a dict of files; all are refused to who has another token."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.made: list[dict] = []
        self.files: dict[str, dict[str, bytes]] = {}


class Handler(http.server.BaseHTTPRequestHandler):
    """What a repository's making, the choice of how files are sent, and a commit ask for."""

    server: Hub

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_known():
            return None
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            name = json.loads(body)
            owner = name.get("organization") or name["name"].partition("/")[0]
            return self._answer(200, {"url": f"{self.server.url}/{owner}/{name['name']}"})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        _, _, kind, owner, name, verb, *_ = path.split("/")
        repository = f"{kind}/{owner}/{name}"
        if verb == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        assert verb == "commit"
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.files.setdefault(repository, {})[entry["value"]["path"]] = content
        url = f"{self.server.url}/{owner}/{name}/commit/abc"
        return self._answer(200, {"success": True, "commitUrl": url, "commitOid": "abc"})

    def do_GET(self):
        if self._is_known():
            self._answer(200, {"id": "owner/tiny", "sha": "abc", "siblings": [], "private": True})

    def _is_known(self):
        """Whether the token is right; if not, the request is refused."""
        is_right = self.headers.get("Authorization") == "Bearer hf_right"
        if not is_right:
            self._answer(401, {"error": "Invalid credentials in Authorization header"})
        return is_right

    def _answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch):
    """The hub that HfApi asks."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        yield server
        server.shutdown()
        thread.join()


def test_a_folder_becomes_a_private_model(tmp_path, hub):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Card\n")
    (tmp_path / "model.safetensors").write_bytes(b"\x00\x01")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text("{}")
    url = Repository("owner/tiny", "model").push(tmp_path)
    assert url.endswith("/owner/tiny/commit/abc")
    (made,) = hub.made
    assert made.get("private") or made.get("visibility") == "private"
    files = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")
    }
    assert hub.files == {"models/owner/tiny": files}


def test_a_file_becomes_a_data_set(tmp_path, hub):
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    Repository("owner/pairs", "dataset").push(tmp_path / "pairs.jsonl")
    assert hub.made[0]["type"] == "dataset"
    assert hub.files == {"datasets/owner/pairs": {"data/pairs.jsonl": b"{}\n"}}


def test_a_token_that_may_not_is_a_mistake_before_the_work(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="push_to_hub = 'owner/tiny': the Hugging Face hub refuses"):
        Repository("owner/tiny", "model")
    assert hub.made == []


def test_a_hub_that_is_not_there_is_no_mistake(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(StoreError, match="cannot be reached"):
        Repository("owner/tiny", "model")


def test_names_are_checked_at_once():
    with pytest.raises(UserError, match="push_to_hub = 'tiny': must be OWNER/NAME"):
        ConvertConfig(push_to_hub="tiny")
