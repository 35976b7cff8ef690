"""A server of a tiny reward model, and what asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from tests import processes
from tests.e2e.launching import environment


class Server:
    """A running `codepmp serve`."""

    def __init__(self, process: processes.Process):
        self.process = process
        process.until(lambda: "serving " in process.stdout)
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", process.stdout)
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}"

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> tuple[int, bytes, Any]:
        """(status, body, headers) of an answer."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        ) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """(status, JSON) of the answer to a JSON body."""
        given = {"Content-Type": "application/json", **headers}
        status, answer, _ = self.send("POST", path, json.dumps(body).encode(), given)
        return status, json.loads(answer)

    def metric(self, name: str) -> float:
        """The value of a metric, its labels written as Prometheus does."""
        text = self.send("GET", "/metrics")[1].decode()
        (value,) = re.findall(rf"^{re.escape(name)} (.+)$", text, re.M)
        return float(value)


@contextlib.contextmanager
def serving(model: Any, *options: str, **variables: str) -> Iterator[Server]:
    """`codepmp serve` of a model on a free port."""
    command = [sys.executable, "-m", "codepmp_jax", "serve", "--model", model, "--port", "0"]
    with processes.Process([*command, *options], environment() | variables) as process:
        yield Server(process)
