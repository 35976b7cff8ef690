"""A Hugging Face hub on this machine, which counts what is asked of it and can be down."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator

_COMMIT = "5" * 40


class Hub:
    """Has the files of a folder as the model `owner/name`. `status` is what it answers in their place: 503 is ill."""

    def __init__(self, folder: pathlib.Path):
        self.status = 200
        self.requests: list[str] = []
        """Method and path of each request."""
        hub = self
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do(self) -> None:
                path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
                hub.requests.append(f"{self.command} {path}")
                status, body, headers = hub.status, b"", {"Retry-After": "0"}
                if status == 200:
                    status, body, headers = self._answer(path)
                with contextlib.suppress(ConnectionError):
                    self.send_response_only(status)
                    for name, value in {"X-Repo-Commit": _COMMIT, **headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)

            do_GET = do_HEAD = do

            def _answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
                name = path.rpartition("/")[2]
                as_json = {"Content-Type": "application/json"}
                if path.startswith("/api/models/owner/name/revision/"):
                    siblings = [{"rfilename": name} for name in files]
                    info = {"id": "owner/name", "sha": _COMMIT, "siblings": siblings}
                    return 200, json.dumps(info).encode(), as_json
                if path.startswith("/api/models/owner/name/tree/"):
                    tree = [
                        {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                        for name, data in files.items()
                    ]
                    return 200, json.dumps(tree).encode(), as_json
                if path.startswith("/owner/name/resolve/") and name in files:
                    return 200, files[name], {"ETag": f'"{_etag(files[name])}"'}
                return 404, b"", {"X-Error-Code": "RepoNotFound"}

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def variables(self, cache: pathlib.Path) -> dict[str, str]:
        """Environment of a process that asks this hub and no other, with its own cache of what it got."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def running_hub(folder: pathlib.Path) -> Iterator[Hub]:
    """A hub while the context lasts."""
    hub = Hub(folder)
    try:
        yield hub
    finally:
        hub.close()
