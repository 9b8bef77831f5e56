"""Calls sent in batches, at half price: they wait until a batch is full or nothing else is being asked.

A batch stands in the journal, with the most that each of its calls can cost, before it is sent. However the
process ends, the next start asks none of its calls again, and collects its rows. Those that failed, expired
or are missing go live, and so do fewer calls than `FEW`, which are not worth up to a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from ..errors import CallRefused, EngineDown, SettingError
from .budget import Reservation
from .dialects import Messages, Unreadable
from .endpoint import FIRST_WAIT, JSON, LONGEST_PAUSE, LONGEST_WAIT, NO_USAGE, Endpoint, _Call
from .engine import Ask, Engine, Reply
from .failures import Failure, read_failure
from .journaled import encode_reply, hash_call, label_tokens
from .prices import Price, cost_of, most_it_costs

FEW, SIZE, MOST, MOST_BYTES = 50, 10_000, 50_000, 50_000_000
"""Calls in a batch: at least; at most, unless `concurrency` is higher; and what every vendor takes."""
QUIET, FIRST_LOOK, LONGEST_LOOK = 1.0, 5.0, 60.0
"""Seconds without a new call after which a batch goes; and between two looks at it, which grow."""
READINGS, SKEW, AT_ONCE = 3, 3600.0, 1000
"""How often missing rows are looked for; seconds that a vendor's clock may be off; rows parsed at once."""
LIVE: Final = "to send its calls one by one, leave out batch"
BOUNDARY: Final = "jurist-7c9e6679f6424e1d"
FORM: Final = f"multipart/form-data; boundary={BOUNDARY}"
Outcome = Reply | tuple[int, bytes] | Literal["live", "again"]
"""Of a call in a batch: a reply; the status and body of a row that failed; or how to ask it instead."""


class Refused(EngineDown):
    """The vendor would not have a batch, so there is none."""


class Status(Struct, frozen=True):
    """What a vendor says of a batch. `token` is ours, where batches can be marked; `files` have its rows."""

    id: str
    made: float
    token: str | None
    total: int
    done: int
    ended: bool
    files: tuple[str, ...]
    refused: str = ""


class BatchFiles:
    """OpenAI's way, and Groq's: a file of requests is uploaded and a batch is made of it."""

    path, uploads = "/batches", True

    def line(self, key: str, body: bytes) -> bytes:
        head = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}'
        return head % (key.encode(), body)

    def upload(self, lines: list[bytes]) -> bytes:
        part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
        head = f'{part}"purpose"\r\n\r\nbatch\r\n{part}"file"; filename="jurist.jsonl"\r\n\r\n'
        return head.encode() + b"\n".join(lines) + f"\r\n--{BOUNDARY}--\r\n".encode()

    def create(self, token: str, file: Any, lines: list[bytes]) -> bytes:
        made = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return msgspec.json.encode({**made, "metadata": {"jurist": token}})

    def status(self, got: dict[str, Any]) -> Status:
        counts, state = got.get("request_counts") or {}, got.get("status")
        total, done, failed = (counts.get(name) or 0 for name in ("total", "completed", "failed"))
        mark = (got.get("metadata") or {}).get("jurist") or ""
        ended = state in ("completed", "expired", "cancelled")
        files = [got[name] for name in ("output_file_id", "error_file_id") if got.get(name)]
        paths = tuple(f"/files/{file}/content" for file in files)
        errors = (got.get("errors") or {}).get("data") or [{}]
        why = str(errors[0].get("message", "no reason given")) if state == "failed" else ""
        return Status(got["id"], got.get("created_at") or 0.0, mark, total, done + failed, ended, paths, why)

    def read(self, row: dict[str, Any]) -> tuple[int, Any]:
        """Its status, and the body that came with it."""
        got = row.get("response") or {}
        return got.get("status_code") or 0, got.get("body") or row.get("error")


class MessageBatches(BatchFiles):
    """Anthropic's way: the requests are in the call that makes the batch, which cannot be marked."""

    path, uploads = "/messages/batches", False

    def line(self, key: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","params":%s}' % (key.encode(), body)

    def create(self, token: str, file: Any, lines: list[bytes]) -> bytes:
        return b'{"requests":[%s]}' % b",".join(lines)

    def status(self, got: dict[str, Any]) -> Status:
        counts, ended = got["request_counts"], got["processing_status"] == "ended"
        total, made = sum(counts.values()), datetime.fromisoformat(got["created_at"]).timestamp()
        files = (f"{self.path}/{got['id']}/results",)
        return Status(got["id"], made, None, total, total - counts["processing"], ended, files)

    def read(self, row: dict[str, Any]) -> tuple[int, Any]:
        got = row.get("result") or {}
        error = got.get("error") or {}
        refused = (error.get("error") or error).get("type") == "invalid_request_error"
        status = {"succeeded": 200, "errored": 400 if refused else 500}.get(str(got.get("type")), 0)
        return status, got.get("message") or error


class QueuedCall(Struct, eq=False):
    """One call in the queue or in a batch; with its body until it is sent."""

    reserved: Reservation
    labels: tuple[str, ...]
    outcome: asyncio.Future[Outcome]
    body: bytes = b""


class Batch(Struct, eq=False):
    """An open batch, as the journal has it: by key, the most a call can cost, and its labels."""

    rows: dict[str, tuple[float, tuple[str, ...]]]
    made: float
    id: str = ""
    not_ours: tuple[str, ...] = ()  # taken for it by their size
    done: int = 0


class BatchEngine(Endpoint):
    """An endpoint that asks in batches."""

    batched = True
    samples_together, samples = False, Engine.samples  # each is a call of its own

    def __init__(self, *opened: Any) -> None:
        super().__init__(*opened)
        dollars = asdict(self.price or Price())
        if dollars["gpu_hour"] is not None:
            raise SettingError("a batch has no price per hour. Give price.input and price.output")
        halves = {name: usd / 2 for name, usd in dollars.items() if usd and name != "long_from"}
        self.price = self.price and replace(self.price, **halves)
        self.size = min(MOST, max(SIZE, self._config.concurrency))
        self._api = MessageBatches() if isinstance(self._dialect, Messages) else BatchFiles()
        self._rows: dict[str, QueuedCall] = {}
        self._queue: list[str] = []
        self._queued_bytes = 0
        self._batches: dict[str, Batch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def doing(self) -> str:  # type: ignore[override]
        numbered = enumerate(self._batches.values(), 1)
        return "; ".join(f"batch {n}: {one.done:,} of {len(one.rows):,} done" for n, one in numbered)

    async def answer(self, ask: Ask) -> Reply:
        self._open()
        while True:
            known = self.refused
            body = self._dialect.write(ask, 1, known)
            key = hash_call(self._identity(body), ask).hex()
            row = self._rows.get(key) or await self._enqueue(key, ask, body)
            got = await asyncio.shield(row.outcome)
            if isinstance(got, Reply):
                return got
            if isinstance(got, tuple) and got[0]:
                sent, call = msgspec.json.decode(body), _Call(ask, 1, self._gate, known, known, body)
                failure = read_failure(got[0], {}, got[1], key=self._key, worked_before=True, sent=sent)
                if failure.parameter and self._request_changed(failure.parameter, call):
                    continue  # in another batch, without it
                if failure.action == "refuse":
                    raise CallRefused(f"{self.name} refused the question ({failure.message})")
            if got != "again":
                return (await super().samples(ask, 1))[0]

    async def recall(self) -> None:
        """Take up the batches of earlier starts; what has ended is collected before anything is asked."""
        self._open()
        self.budget.on_stop.append(self._stop_waiting)
        self._batches = msgspec.convert(self.journal.facts(self.batches_at), dict[str, Batch])
        for token, batch in self._batches.items():
            for key, (usd, labels) in batch.rows.items():
                if self.journal.get(bytes.fromhex(key)) is None:
                    held = Reservation(self.name, usd, usd, 1, batch=True)
                    self.budget.change(held, 1)
                    self._rows[key] = QueuedCall(held, labels, asyncio.get_running_loop().create_future())
            self._begin(token, batch)
        await asyncio.gather(*(asyncio.wait([one], timeout=FIRST_LOOK) for one in self._tasks.values()))

    async def close(self) -> None:
        """Without waiting for batches that nobody asks for any more: the next start collects them."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tell(self._rows, EngineDown(f"{self.name} is closed"))
        self.budget.warnings |= {} if self.budget.stopped else self.budget.batches
        await super().close()

    async def _enqueue(self, key: str, ask: Ask, body: bytes) -> QueuedCall:
        most = most_it_costs(self.price, len(body), ask.max_tokens)
        reserved = await self.budget.reserve(self.name, most, batch=True)
        if key in self._rows:  # the same call came while this one waited
            self.budget.release(reserved)
            return self._rows[key]
        row = self._rows[key] = QueuedCall(
            reserved, ask.labels, asyncio.get_running_loop().create_future(), body
        )
        self._queue.append(key)
        self._queued_bytes += len(body)
        if len(self._queue) >= self.size or self._queued_bytes >= MOST_BYTES:
            self._submit()
        elif len(self._queue) == 1:
            self._tasks[""] = asyncio.create_task(self._submit_when_quiet())
        return row

    async def _submit_when_quiet(self) -> None:
        """Live calls under way may lead to more that belong into this batch."""
        seen = -1
        while seen != len(self._queue) or self.budget.under_way > self.budget.in_batches:
            seen = len(self._queue)
            await asyncio.sleep(QUIET)
        self._submit()

    def _submit(self) -> None:
        queue, self._queue, self._queued_bytes = self._queue, [], 0
        if len(queue) < FEW:
            self._drop(queue, "live", self.budget.release)
        else:
            rows = {key: (self._rows[key].reserved.usd, self._rows[key].labels) for key in queue}
            self._begin(uuid4().hex, Batch(rows, time.time()))

    def _begin(self, token: str, batch: Batch) -> None:
        self._batches[token] = batch
        self._remember(token)
        self._tasks[token] = asyncio.create_task(self._see_through(token, batch))

    async def _see_through(self, token: str, batch: Batch) -> None:
        """From wherever it stands to its last row. Where that fails its calls fail, and it stays open."""
        wait, missing = FIRST_LOOK, batch.rows.keys() & self._rows.keys()
        try:
            await self.journal.committed()
            while batch.id or await self._send(token, batch):
                now = self._api.status(await self._insist(f"{self._api.path}/{batch.id}"))
                batch.done = now.done
                if now.refused:
                    self._tell(missing, EngineDown(f"{self.name} refused a batch ({now.refused}); {LIVE}"))
                    batch.id = ""
                if now.refused or (now.ended and await self._collect(batch, now, missing)):
                    break
                await asyncio.sleep(wait)
                wait = min(LONGEST_LOOK, 1.5 * wait)
        except FileNotFoundError:
            self.budget.warnings[token] = f"{self.name} does not know batch {batch.id} any more"
        except Exception as error:
            self._tell(missing, error)
            if batch.id or not isinstance(error, Refused):
                return
        # Of a batch that was made, what has no row may have been billed all the same.
        self._drop(missing, *(("live", self.budget.lose) if batch.id else ("again", self.budget.release)))
        for key in batch.rows:  # until now, whoever asked for a row again was told the same
            self._rows.pop(key, None)
        del self._batches[token]
        self._remember(token)

    async def _send(self, token: str, batch: Batch) -> bool:
        """Or find it: an earlier start, which had the bodies, may have sent it without learning its id."""
        rows = {key: row for key in batch.rows if (row := self._rows.get(key))}
        if rows and all(row.body for row in rows.values()):
            lines = [self._api.line(key, row.body) for key, row in rows.items()]
            for row in rows.values():
                row.body = b""
            file = self._api.uploads and await self._insist("/files", self._api.upload(lines), FORM)
            made = self._api.create(token, file, lines)
            got = await self._insist(self._api.path, made, again=lambda: self._find(token, batch))
        else:
            got = await self._find(token, batch)
        batch.id = got["id"] if got else ""
        self._remember(token)
        return bool(batch.id)

    async def _find(self, token: str, batch: Batch) -> dict[str, Any] | None:
        """A batch whose id was lost, among the newest: by its mark, or as one of its size."""
        known = {*batch.not_ours, *(one.id for one in self._batches.values())}
        for row in (await self._insist(f"{self._api.path}?limit=100"))["data"]:
            one = self._api.status(row)
            alike = one.total == len(batch.rows) and one.made > batch.made - SKEW and one.id not in known
            if one.token == token or (one.token is None and alike):
                return dict(row)
        return None

    async def _insist(self, path: str, body: bytes | None = None, form: str = JSON, again: Any = None) -> Any:
        """What comes back, parsed unless it is rows. Before the request is sent `again`, that may find it."""
        until, tries = time.monotonic() + self._config.give_up_after, 0
        while True:
            got = await self._fetch(self._http.at(path), body, form)
            if isinstance(got, bytes):
                if path.endswith(("/content", "/results")):
                    return got
                if found := read_object(got):
                    return found
                got = Failure("retry", f"HTTP 200 with {got[:200]!r}", 200, server_replied=True)
            if got.status in (404, 410) and body is None and "?" not in path:
                raise FileNotFoundError(path)
            if got.action != "retry" or time.monotonic() > until or got.retry_after > LONGEST_PAUSE:
                what = f"refused ({LIVE})" if got.action == "refuse" else "no batch gets through"
                self._shut_down(got, what, EngineDown if got.action == "retry" or body is None else Refused)
            self.retries[got.kind] += 1
            longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * 2**tries)
            await asyncio.sleep(max(got.retry_after, longest))
            tries += 1
            if again and (found := await again()):
                return found

    async def _collect(self, batch: Batch, now: Status, missing: set[str]) -> bool:
        """False: it was found by its size, and none of its rows is ours."""
        n = len(missing)
        for path in now.files * READINGS:
            lines = (await self._insist(path)).splitlines() if missing else ()
            for at in range(0, len(lines), AT_ONCE):
                rows = map(read_object, lines[at : at + AT_ONCE])
                await asyncio.gather(*(self._read_row(row, missing) for row in rows))
        if now.token is None and len(missing) == n > 0:
            batch.id, batch.not_ours = "", (*batch.not_ours, batch.id)
        return bool(batch.id)

    async def _read_row(self, line: dict[str, Any], missing: set[str]) -> None:
        """The first row of a call counts. A good one is paid for and kept, in one commit."""
        try:
            key, (status, got) = str(line.get("custom_id", "")), self._api.read(line)
        except (AttributeError, TypeError):  # damaged
            return
        if key not in missing:
            return
        missing.remove(key)
        row, body, reply, settle = self._rows[key], msgspec.json.encode(got), None, self.budget.release
        try:
            reply = self._dialect.read(body)[0] if status == 200 else None
        except Unreadable as why:
            status, settle = 0, self.budget.lose if why.lost else settle
        if reply is None:
            settle(row.reserved)
            self._tell([key], (status, body))
            return
        cost = row.reserved.usd if reply.usage == NO_USAGE else cost_of(reply.usage, self.price)
        reply = replace(reply, cost=cost, tokens=label_tokens(reply, row.labels))
        self.budget.pay(row.reserved, [reply])
        await self.journal.put(bytes.fromhex(key), encode_reply(reply), cost)
        self._tell([key], replace(reply, call=key))

    def _drop(self, keys: Iterable[str], outcome: Outcome, settle: Callable[[Reservation], None]) -> None:
        """These calls have left the queue, or their batch; how is told, and their money is settled."""
        self._tell(keys, outcome)
        for row in [self._rows.pop(key) for key in keys if key in self._rows]:
            settle(row.reserved)

    def _tell(self, keys: Iterable[str], outcome: Outcome | Exception) -> None:
        for row in [self._rows[key] for key in keys if key in self._rows]:
            if row.outcome.done():
                continue
            if isinstance(outcome, Exception):
                row.outcome.set_exception(outcome)
                row.outcome.exception()  # nobody may be waiting
            else:
                row.outcome.set_result(outcome)

    def _stop_waiting(self) -> None:
        """Nothing more is sent. What is in a batch goes on, and the next start collects it."""
        self._tell(self._rows, self.budget.stopped)
        queue, self._queue = self._queue, []
        self._drop(queue, "again", self.budget.release)

    def _remember(self, changed: str) -> None:
        """Which batches are open: in the journal, and for whoever is told that they go on."""
        self.journal.remember(self.batches_at, self._batches)
        self.budget.batches.pop(changed, None)
        if batch := self._batches.get(changed):
            name, vendor = batch.id or changed, self.name.partition(":")[0]
            said = f"batch {name} of {len(batch.rows):,} requests goes on at {vendor}"
            self.budget.batches[changed] = f"{said}; run the same command to collect it"


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object of the API's; an empty one where it is none."""
    try:
        found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if found.keys() & {"id", "data", "custom_id"} else {}
