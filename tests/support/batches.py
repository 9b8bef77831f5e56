"""A vendor's batches beside its live calls: OpenAI's files and batches, and Anthropic's message batches.

    with batching(judge, price=(1, 2), row_faults=lambda request: "expired") as vendor:
        label(at(vendor, "openai"), "--judge.engine.batch", "true")
    print(vendor.batches, vendor.dollars)

A row in a batch costs half, and comes back out of order.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from support import server as live
from support.replies import Json, chat_body, message_body, text_of

ROW_FAULTS = (
    "500",
    "400",
    "expired",
    "missing",
    "no usage",
    "unreadable",
    "twice",
    "half",
    "stranger",
    "odd",
)
STEPS = ("upload", "create", "look", "read")
HTTP_FAULTS = ("500", "429", "drop", "lost", "truncate", "html")  # `lost`: after it was done


@dataclass
class Batch:
    """One batch in the vendor's books."""

    id: str
    rows: dict[str, Json]
    made: float
    metadata: Json
    results: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    expired: bool = False


@dataclass
class Vendor(live.Server):
    """A server with batches."""

    took: float = 0.3  # seconds until a batch has ended
    row_faults: Callable[[Json], str | None] = lambda request: None
    http_faults: Callable[[str, int], str | None] = lambda step, attempt: None
    """By the step and how often it was asked for."""
    refuses_batch: str = ""
    fails_batch: str = ""  # refused when it is made, or afterwards; why
    batches: list[Batch] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)  # requests by step

    def __post_init__(self) -> None:
        super().__post_init__()
        self._files: dict[str, bytes] = {}

    def add_routes(self, app: web.Application) -> None:
        for method, path, step, handle in (
            ("POST", "/v1/files", "upload", self._upload),
            ("GET", "/v1/files/{file}/content", "read", self._content),
            ("POST", "/v1/batches", "create", self._create),
            ("GET", "/v1/batches", "list", self._list),
            ("GET", "/v1/batches/{id}", "look", self._look),
            ("POST", "/v1/messages/batches", "create", self._create),
            ("GET", "/v1/messages/batches", "list", self._list),
            ("GET", "/v1/messages/batches/{id}", "look", self._look),
            ("GET", "/v1/messages/batches/{id}/results", "read", self._results),
        ):
            app.router.add_route(method, path, partial(self._with_faults, step, handle))

    async def _with_faults(self, step: str, handle: Any, request: web.Request) -> web.StreamResponse:
        fault = self.http_faults(step, self.asked[step])
        self.asked[step] += 1
        if fault in ("500", "429"):
            error, headers = {"error": {"message": "a planted fault"}}, {"Retry-After": str(self.retry_after)}
            return web.json_response(error, status=int(fault), headers=headers)
        if fault == "html":
            return web.Response(body=b"<!DOCTYPE html>")
        got = b"" if fault == "drop" else await handle(request)
        if fault in ("drop", "lost", "truncate"):
            response = web.StreamResponse(headers={"Content-Length": str(len(got) + 1)})
            if fault == "truncate":
                await response.prepare(request)
                await response.write(got[: len(got) // 2])
            request.transport.close()
            return response
        return web.Response(body=got) if isinstance(got, bytes) else got

    async def _upload(self, request: web.Request) -> bytes:
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self._files)}"
        self._files[name] = form["file"].file.read()
        return json.dumps({"id": name, "object": "file"}).encode()

    async def _create(self, request: web.Request) -> bytes | web.Response:
        asked = await request.json()
        if self.refuses_batch:
            return web.json_response({"error": {"message": self.refuses_batch}}, status=400)
        file = self._files.get(asked.get("input_file_id", ""), b"").splitlines()
        lines = asked.get("requests") or [json.loads(line) for line in file]
        rows = {row["custom_id"]: row.get("params") or row["body"] for row in lines}
        assert len(rows) == len(lines), "a custom_id came twice"
        made = Batch(f"batch_{len(self.batches)}", rows, time.time(), asked.get("metadata") or {})
        self.batches.append(made)
        for name, row in rows.items():
            await self._work(made, name, row, "requests" in asked)
        random.Random(made.id).shuffle(made.results)
        self._files |= {f"{made.id}-out": b"\n".join(made.results), f"{made.id}-bad": b"\n".join(made.errors)}
        return self._described(made, request)

    async def _work(self, batch: Batch, name: str, asked: Json, messages: bool) -> None:
        """Answer one row, with its fault."""
        fault = self.row_faults(asked)
        refused = [param for param in self.refuses if param in asked]
        if fault in ("400", "500", "expired") or refused:
            error = {"message": f"Unsupported parameter: '{refused[0]}'" if refused else "a planted fault"}
            error |= {"type": "invalid_request_error" if fault == "400" or refused else "api_error"}
            status = 500 if fault == "500" else 400
            row: Json = {"response": {"status_code": status, "body": {"error": error}}}
            result: Json = {"type": "errored", "error": {"type": "error", "error": error}}
            if fault == "expired":
                batch.expired = True
                row, result = {"error": {"code": "batch_expired", "message": "late"}}, {"type": "expired"}
            written = json.dumps({"custom_id": name, **({"result": result} if messages else row)}).encode()
            (batch.results if messages else batch.errors).append(written)
            return
        replies = await self._replies(asked)
        usage = {"prompt_tokens": live._tokens(text_of(asked))}
        usage["completion_tokens"] = live._tokens(replies[0].get("text"), replies[0].get("reasoning"))
        dollars = (usage["prompt_tokens"] * self.price[0] + usage["completion_tokens"] * self.price[1]) / 2e6
        record = live.Record(time.perf_counter(), asked, "batch", 0, fault, 200, fault is None)
        record.dollars = dollars
        self.log.append(record)
        body = (message_body if messages else chat_body)(asked, replies, usage)
        if fault == "no usage":
            del body["usage"]
        if fault == "unreadable":
            body = {"usage": body["usage"]}
        result = {"type": "succeeded", "message": body}
        row = {"result": result} if messages else {"response": {"status_code": 200, "body": body}}
        written = json.dumps({"custom_id": name, **row}).encode()
        if fault == "stranger":
            batch.results.append(json.dumps({"custom_id": "nobody's", **row}).encode())
        written = written[: len(written) // 2] if fault == "half" else written
        if fault == "odd":
            written = json.dumps({"custom_id": name, **dict.fromkeys(row, "?")}).encode()
        batch.results += [] if fault == "missing" else [written] * (2 if fault == "twice" else 1)

    def _described(self, one: Batch, request: web.Request) -> bytes:
        n, share = len(one.rows), min(1.0, (time.time() - one.made) / self.took)
        ended, done = share == 1.0, int(n * share)
        if "messages" in request.path:
            counts = {"processing": n - done, "succeeded": done, "errored": 0, "canceled": 0, "expired": 0}
            made = datetime.fromtimestamp(one.made, UTC).isoformat()
            state = {"processing_status": "ended" if ended else "in_progress", "created_at": made}
            return json.dumps({"id": one.id, "request_counts": counts, **state}).encode()
        state = {"status": ("expired" if one.expired else "completed") if ended else "in_progress"}
        if ended:
            state |= {"output_file_id": f"{one.id}-out"} if one.results else {}
            state |= {"error_file_id": f"{one.id}-bad"} if one.errors else {}
        if self.fails_batch:
            state = {"status": "failed", "errors": {"data": [{"message": self.fails_batch}]}}
        counts = {"total": n, "completed": done, "failed": 0}
        state |= {"metadata": one.metadata, "created_at": int(one.made)}
        return json.dumps({"id": one.id, "request_counts": counts, **state}).encode()

    async def _look(self, request: web.Request) -> bytes | web.Response:
        for one in self.batches:
            if one.id == request.match_info["id"]:
                return self._described(one, request)
        return web.json_response({"error": {"message": "no such batch"}}, status=404)

    async def _list(self, request: web.Request) -> bytes:
        data = [json.loads(self._described(one, request)) for one in reversed(self.batches)]
        return json.dumps({"data": data, "has_more": False}).encode()

    async def _content(self, request: web.Request) -> bytes:
        return self._files[request.match_info["file"]]

    async def _results(self, request: web.Request) -> bytes:
        return self._files[f"{request.match_info['id']}-out"]


@contextmanager
def batching(answer: Any = "A", **options: Any) -> Any:
    with live.running(Vendor(answer, **options)) as vendor:
        yield vendor


def quick(monkeypatch: Any = None) -> None:
    """Batches that are looked at often."""
    from jurist.engines import batch, endpoint

    change = setattr if monkeypatch is None else monkeypatch.setattr
    for name, seconds in {"QUIET": 0.05, "FIRST_LOOK": 0.05, "LONGEST_LOOK": 0.1, "FIRST_WAIT": 0.02}.items():
        change(batch, name, seconds)
    change(endpoint, "FIRST_WAIT", 0.02)
