"""A server that speaks vLLM's endpoints for rollouts and weights, on a loopback port.

with fake_vllm() as server:
    writer = VLLMWriter(server.url)
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from safetensors.torch import load_file


class FakeVLLM(ThreadingHTTPServer):
    """Samples ids from the seed and the weights' label; keeps what it was asked and what it was given."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.calls, self.weights = [], [], {}
        self.label, self.device, self.status, self.slow = "default", "cuda", {}, None
        self.longest = 12
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that gave up."""

    def answer(self, path, body):
        self.calls.append(path)
        if path == "/server_info?config_format=json":
            settings = {
                "model_config": {"max_model_len": self.longest},
                "device_config": {"device": self.device},
            }
            return {"vllm_config": settings}
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            self.folder = Path(body["kwargs"]["weights_path"])
            self.weights = load_file(self.folder / "model.safetensors")
        if path == "/update_weight_version":
            self.label = body["new_version"]
        if path != "/inference/v1/generate":
            return {"success": True}
        self.requests.append(body)
        how = body["sampling_params"]
        if self.slow == body["token_ids"]:
            time.sleep(0.5)
        draw = random.Random(f"{how['seed']} {self.label}")
        ids = [draw.randrange(3, 50) for _ in range(how["max_tokens"])]
        stops = draw.random() < 0.5
        if stops:
            ids = [*ids[:3], how["stop_token_ids"][0]]
        choice = {
            "token_ids": ids,
            "finish_reason": "stop" if stops else "length",
            "logprobs": {"content": [{"token_id": one, "logprob": -one / 10} for one in ids]},
            "weight_versions": [{"version": self.label, "start": 0, "end": len(ids)}],
        }
        return {"choices": [choice]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = self.server.status.get(self.path.partition("?")[0], 200)
        answer = self.server.answer(self.path, json.loads(body) if body else None)
        raw = json.dumps(answer if status == 200 else {"error": "as planted"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST

    def log_message(self, *_):
        pass


@contextmanager
def fake_vllm() -> Iterator[FakeVLLM]:
    with FakeVLLM() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()
