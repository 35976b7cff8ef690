"""A server of OpenAI's protocol in a thread, which fails as it is told to."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.writers.sampler import Request

SOURCE = SourceFile("s", "x = 1", "d", "x", "file", "python", "r", "p", "mit", 1)
# status, or the seconds to wait before a good answer
Behaviour = Callable[[str, int], "int | float"]


def good(prompt: str, times: int) -> int:
    return 200


class Server:
    """Answers a prompt with the prompt in capitals; `behave(prompt, times asked before)` may spoil it."""

    def __init__(self, behave: Behaviour = good):
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self.retry_after = "0.05"
        self.says: dict[str, Any] | None = None
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, answer = server.answer(self.path, headers, body)
                payload = json.dumps(answer).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(payload)))
                    if status == 429 and server.retry_after:
                        self.send_header("Retry-After", server.retry_after)
                    self.end_headers()
                    self.wfile.write(payload)

            def log_message(self, format, *args):
                """Silent."""

        class Http(http.server.ThreadingHTTPServer):
            # As many clients as a test has may connect at once.
            request_queue_size = 128

        self.http = Http(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def prompts(self) -> list[str]:
        return [prompt_of(body) for body in self.bodies]

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        prompt = prompt_of(body)
        with self.lock:
            times = self.prompts().count(prompt)
            self.bodies.append(body)
            self.headers.append(headers)
            self.paths.add(path)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        status = self.behave(prompt, times)
        if isinstance(status, float):
            time.sleep(status)
            status = 200
        with self.lock:
            self.busy -= 1
        if status == 0:
            raise ConnectionError("broken off")
        if status != 200 and self.says:
            return status, self.says
        if status != 200:
            message = f"status {status} for {prompt}"
            if "long" in prompt:
                message = "This model's maximum context length is 8 tokens, yours has 9."
            return status, {"error": {"message": message, "type": "x", "code": status}}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "text": prompt.upper()}
        if path.endswith("/chat/completions"):
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        if "cut" in prompt:
            choice["finish_reason"] = "length"
        if "ends by" in prompt:
            choice["finish_reason"] = prompt.rpartition(" ")[2]
        if "filtered" in prompt:
            choice["finish_reason"] = "content_filter"
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        answer = {"id": "1", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return 200, {} if "malformed" in prompt else answer


def prompt_of(body: dict[str, Any]) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][0]["content"]


def requests(*prompts: str) -> list[Request]:
    return [Request(f"key {prompt}", prompt, "d", SOURCE) for prompt in prompts]


def many(number: int) -> list[Request]:
    return requests(*(f"p{i}" for i in range(number)))
