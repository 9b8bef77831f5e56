"""Calls sent in batches, at half price: they wait until a batch is full or nothing else is being asked.

An open batch stands in the journal, with the most that each of its calls can cost, before it is sent. However
this process ends, the next start finds it, asks none of its calls again, and collects every row, also those
that nobody asks for any more. Rows that failed, expired or are missing go live, and so do fewer calls than
`FEW`: they are not worth up to a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NoReturn
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..errors import CallRefused, EngineDown, Interrupted, SettingError
from ..records import content_id
from .budget import Reservation
from .dialects import ChatCompletions, Messages, Unreadable
from .endpoint import FIRST_WAIT, JSON, LONGEST_WAIT, NO_USAGE, Endpoint, _Call
from .engine import Ask, Engine, EngineConfig, Reply
from .failures import Failure, read_failure
from .journaled import encode_reply, key_of, label_tokens
from .prices import cost_of, half, most_it_costs

SIZE, MOST, MOST_BYTES = 10_000, 50_000, 50_000_000
"""Calls in a batch, unless `concurrency` is higher; and what is below every vendor's limits."""
FEW: Final = 50
QUIET = 1.0
"""Seconds without a new call after which a batch goes, if nothing else is under way."""
FIRST_LOOK, LONGEST_LOOK = 5.0, 60.0
"""Seconds between two looks at a batch, which grow."""
READINGS: Final = 3
"""How often the files of a batch are read where rows are missing."""
SKEW: Final = 3600.0
"""Seconds by which a vendor's clock may differ from ours."""
BOUNDARY: Final = "jurist-7c9e6679f6424e1d"

Failed = tuple[int, bytes]
"""The status of a row, or 0, and what was said."""
Outcome = Reply | Failed | Literal["live", "again"]
"""Of a call in a batch; or how it is to be asked instead."""


class Row(Struct, eq=False):
    """One call in the queue or in a batch."""

    reserved: Reservation
    labels: tuple[str, ...]
    body: bytes = b""
    """Until it is sent."""
    outcome: asyncio.Future[Outcome] | None = None
    """Where somebody waits for it."""


class Batch(Struct, eq=False):
    """An open batch, as the journal has it."""

    rows: dict[str, tuple[float, tuple[str, ...]]]
    """By key: the most it can cost, and the labels."""
    made: float
    id: str = ""
    """Empty until the vendor has answered."""
    not_ours: tuple[str, ...] = ()
    """Batches of its size that turned out to be somebody else's."""
    done: int = 0


class Status(Struct, frozen=True):
    """What a vendor says of a batch."""

    id: str
    made: float
    token: str | None
    """Ours, where batches can be marked."""
    total: int
    done: int
    ended: bool = False
    refused: str = ""
    files: tuple[str, ...] = ()
    """Where its rows are."""


class BatchFiles:
    """OpenAI's way, and Groq's: a file of requests is uploaded and a batch is made of it."""

    path, after = "/batches", "after"

    def line(self, key: str, body: bytes) -> bytes:
        head = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}'
        return head % (key.encode(), body)

    def upload(self, lines: list[bytes]) -> bytes:
        """A form; empty where there is no file."""
        part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
        head = f'{part}"purpose"\r\n\r\nbatch\r\n{part}"file"; filename="jurist.jsonl"\r\n\r\n'
        return head.encode() + b"\n".join(lines) + f"\r\n--{BOUNDARY}--\r\n".encode()

    def create(self, token: str, file: str, lines: list[bytes]) -> bytes:
        made = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return msgspec.json.encode({**made, "metadata": {"jurist": token}})

    def status(self, got: dict[str, Any]) -> Status:
        counts, state = got.get("request_counts") or {}, got.get("status")
        errors = (got.get("errors") or {}).get("data") or [{"message": "no reason given"}]
        files = [got[name] for name in ("output_file_id", "error_file_id") if got.get(name)]
        return Status(
            got["id"],
            got.get("created_at") or 0.0,
            (got.get("metadata") or {}).get("jurist") or "",
            counts.get("total") or 0,
            (counts.get("completed") or 0) + (counts.get("failed") or 0),
            state in ("completed", "expired", "cancelled"),
            str(errors[0].get("message")) if state == "failed" else "",
            tuple(f"/files/{file}/content" for file in files),
        )

    def read(self, row: dict[str, Any]) -> tuple[int, Any]:
        """The status of a row and the body that came with it."""
        got = row.get("response") or {}
        return got.get("status_code") or 0, got.get("body") or row.get("error")


class MessageBatches(BatchFiles):
    """Anthropic's way: the requests are in the call that makes the batch, and carry no mark."""

    path, after = "/messages/batches", "after_id"

    def line(self, key: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","params":%s}' % (key.encode(), body)

    def upload(self, lines: list[bytes]) -> bytes:
        return b""

    def create(self, token: str, file: str, lines: list[bytes]) -> bytes:
        return b'{"requests":[%s]}' % b",".join(lines)

    def status(self, got: dict[str, Any]) -> Status:
        counts, name = got["request_counts"], got["id"]
        total, made = sum(counts.values()), datetime.fromisoformat(got["created_at"]).timestamp()
        done, ended = total - counts.get("processing", 0), got["processing_status"] == "ended"
        return Status(name, made, None, total, done, ended, files=(f"{self.path}/{name}/results",))

    def read(self, row: dict[str, Any]) -> tuple[int, Any]:
        got = row["result"]
        error = got.get("error") or {}
        refused = (error.get("error") or error).get("type") == "invalid_request_error"
        status = {"succeeded": 200, "errored": 400 if refused else 500}.get(got["type"], 0)
        return status, got.get("message") or error


class BatchEngine(Endpoint):
    """An endpoint that asks in batches."""

    batched = True
    samples_together = False  # each sample is a call of its own

    def __init__(
        self, name: str, url: str, dialect: ChatCompletions, config: EngineConfig, hosted: bool
    ) -> None:
        if config.price is not None and config.price.gpu_hour is not None:
            raise SettingError("a batch has no price per hour. Give price.input and price.output")
        super().__init__(name, url, dialect, config, hosted)
        self.price = half(self.live_price)
        self.size = min(MOST, max(SIZE, config.concurrency))
        self._api = MessageBatches() if isinstance(dialect, Messages) else BatchFiles()
        self._place = content_id("batches", name, url)
        self._rows: dict[str, Row] = {}
        self._queue: list[str] = []
        self._queued_bytes = self._asked = self._begun = 0
        self._batches: dict[str, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet: asyncio.Task[None] | None = None

    @property
    def doing(self) -> str:  # type: ignore[override]
        numbered = enumerate(self._batches.values(), self._begun - len(self._batches) + 1)
        return "; ".join(f"batch {n}: {one.done:,} of {len(one.rows):,} done" for n, one in numbered)

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        return await Engine.samples(self, ask, n)

    async def answer(self, ask: Ask) -> Reply:
        self._open()
        while True:
            if self.budget.stopped is not None:
                raise self.budget.stopped
            known = self.refused
            body = self._dialect.write(ask, 1, known)
            key = key_of(self._identity(body), ask).hex()
            row = self._rows.get(key) or await self._enqueue(key, ask, body)
            row.outcome = row.outcome or asyncio.get_running_loop().create_future()
            got = await asyncio.shield(row.outcome)
            if isinstance(got, Reply):
                return got
            if isinstance(got, tuple) and got[0]:
                sent, call = msgspec.json.decode(body).keys(), _Call(ask, 1, self._gate, known, known, body)
                failure = read_failure(got[0], {}, got[1], key=self._key, worked_before=True, sent=sent)
                if failure.parameter and self._request_changed(failure.parameter, call):
                    continue  # in another batch, without it
                if failure.action == "refuse":
                    raise CallRefused(f"{self.name} refused the question ({failure.message})")
            if got != "again":
                return (await super().samples(ask, 1))[0]

    async def recall(self) -> None:
        """Take up the batches of earlier starts. What has ended is collected before anything is asked."""
        self._open()
        self.budget.on_stop.append(self._stop_waiting)
        open_ones = msgspec.convert(self.journal.facts(self._place), dict[str, Batch])
        for batch in open_ones.values():
            for key, (usd, labels) in batch.rows.items():
                if self.journal.get(bytes.fromhex(key)) is None:
                    held = Reservation(self.name, usd, usd, 1, in_batch=True)
                    self._rows[key] = Row(self.budget.hold(held), labels)
        going_on = [one for one in open_ones.items() if self._rows.keys() & one[1].rows.keys()]
        await asyncio.gather(*(self._begin(*one) for one in going_on))

    async def close(self) -> None:
        """Without waiting for batches that nobody asks for any more: the next start collects them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(self._rows.values(), Interrupted(f"{self.name} is closed"))
        for token in self._batches if self.budget.stopped is None else ():
            going_on = f"{self.budget.batches[token]}. Run the same command again to collect it"
            self.budget.warnings[token] = going_on
        await super().close()

    async def _enqueue(self, key: str, ask: Ask, body: bytes) -> Row:
        most = most_it_costs(self.price, len(body), ask.max_tokens)
        reserved = await self.budget.reserve(self.name, most, in_batch=True)
        if key in self._rows:  # the same call came while this one waited
            self.budget.release(reserved)
            return self._rows[key]
        self._rows[key] = Row(reserved, ask.labels, body)
        self._queue.append(key)
        self._queued_bytes += len(body)
        self._asked += 1
        if len(self._queue) >= self.size or self._queued_bytes >= MOST_BYTES:
            self._submit()
        elif self._quiet is None or self._quiet.done():
            self._quiet = self._start(self._submit_when_quiet())
        return self._rows[key]

    async def _submit_when_quiet(self) -> None:
        """Live calls under way may lead to more that belong into this batch."""
        seen = -1
        while seen != self._asked or self.budget.under_way > self.budget.in_batches:
            seen = self._asked
            await asyncio.sleep(QUIET)
        self._submit()

    def _submit(self) -> None:
        queue, self._queue, self._queued_bytes = self._queue, [], 0
        if len(queue) < FEW:
            return self._resolve(queue, "live")
        rows = {key: (self._rows[key].reserved.usd, self._rows[key].labels) for key in queue}
        self._begin(uuid4().hex, Batch(rows, time.time()))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, token: str, batch: Batch) -> asyncio.Future[bool]:
        """Done after the first look."""
        self._begun += 1
        self._batches[token] = batch
        self._remember(token)
        looked = asyncio.get_running_loop().create_future()
        self._start(self._see_through(token, batch, looked))
        return looked

    async def _see_through(self, token: str, batch: Batch, looked: asyncio.Future[bool]) -> None:
        """From wherever it stands to its last row. Where that fails its calls fail, and it stays open."""
        try:
            await self.journal.committed()
            wait = FIRST_LOOK
            while token in self._batches and not await self._look(token, batch):
                if not looked.done():
                    looked.set_result(True)
                await asyncio.sleep(wait)
                wait = min(LONGEST_LOOK, 1.5 * wait)
        except Exception as error:
            self._fail((self._rows[key] for key in batch.rows if key in self._rows), error)
        finally:
            if not looked.done():
                looked.set_result(False)

    async def _look(self, token: str, batch: Batch) -> bool:
        """Send it if it was not, and collect it if it has ended."""
        if not batch.id and not await self._send(token, batch):
            return True
        got = await self._insist(f"{self._api.path}/{batch.id}", self._status)
        if isinstance(got, Failure) and got.status != 404:
            self._shut_down(got, f"cannot look at batch {batch.id}")
        if isinstance(got, Failure) or got.ended:
            return await self._collect(token, batch, () if isinstance(got, Failure) else got.files)
        if got.refused:
            await self._refuse(token, batch, got.refused)
        batch.done = got.done
        return False

    async def _send(self, token: str, batch: Batch) -> bool:
        """One of an earlier start, whose bodies are gone, may have been made without our knowing its id."""
        rows = {key: self._rows[key] for key in batch.rows if key in self._rows}
        got: Status | Failure | None
        if all(row.body for row in rows.values()):
            lines = [self._api.line(key, row.body) for key, row in rows.items()]
            for row in rows.values():
                row.body = b""
            file: Any = ""
            if form := self._api.upload(lines):
                kind = f"multipart/form-data; boundary={BOUNDARY}"
                file = await self._insist("/files", lambda got: msgspec.json.decode(got)["id"], form, kind)
            got = file
            if not isinstance(file, Failure):
                body = self._api.create(token, file, lines)
                got = await self._insist(self._api.path, self._status, body, again=(token, batch))
        else:
            got = await self._find(token, batch)
        if got is None:
            await self._end(token, batch, "again")
            return False
        if isinstance(got, Failure):
            await self._refuse(token, batch, got.message)
        batch.id = got.id
        self._remember(token)
        return True

    async def _find(self, token: str, batch: Batch) -> Status | None:
        """A batch whose id was lost, by its mark, or as one of its size."""
        known, after = {*batch.not_ours, *(one.id for one in self._batches.values())}, ""
        while True:
            page = await self._insist(f"{self._api.path}?limit=100{after}", msgspec.json.decode)
            if isinstance(page, Failure):
                self._shut_down(page, "cannot list batches")
            for one in map(self._api.status, page["data"]):
                after, old = f"&{self._api.after}={one.id}", one.made < batch.made - SKEW
                alike = one.total == len(batch.rows) and one.id not in known and not old
                if one.token == token or (one.token is None and alike):
                    return one
            if not page["data"] or not page.get("has_more") or old:
                return None

    async def _insist(
        self,
        path: str,
        read: Callable[[bytes], Any],
        body: bytes | None = None,
        form: str = JSON,
        again: tuple[str, Batch] | None = None,
    ) -> Any:
        """What was read, or a failure that will stay. What is made `again` is looked for before: the answer
        may have been lost.
        """
        started, tries = time.monotonic(), 0
        while True:
            got = await self._fetch(self._http.at(path), body, form)
            if not isinstance(got, Failure):
                try:
                    return read(got)
                except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
                    got = Failure("retry", f"HTTP 200 with {got[:200]!r}", 200, server_replied=True)
            if got.action != "retry":
                return got
            self.retries[got.kind] += 1
            if time.monotonic() - started > self._config.give_up_after:
                self._shut_down(got, "no answer about a batch")
            longest = min(LONGEST_WAIT, self._config.give_up_after / 4, FIRST_WAIT * 2**tries)
            await asyncio.sleep(max(got.retry_after, longest))
            tries += 1
            if again and (found := await self._find(*again)):
                return found

    def _status(self, got: bytes) -> Status:
        return self._api.status(msgspec.json.decode(got))

    async def _collect(self, token: str, batch: Batch, files: tuple[str, ...] | None) -> bool:
        """Every row once; where the files are gone, nobody knows what was billed."""
        failed: dict[str, Failed] = {}
        ours = missing = [key for key in batch.rows if key in self._rows]
        for path in (files or ()) * READINGS:
            raw = await self._insist(path, bytes)
            if isinstance(raw, Failure):
                files = None
                break
            for line in raw.splitlines():
                self._read_row(line, batch, failed)
            missing = [key for key in ours if key in self._rows and key not in failed]
            if not missing:
                break
        if files and missing == ours and self._api.after == "after_id":  # found by its size, and another's
            batch.id, batch.not_ours = "", (*batch.not_ours, batch.id)
            return False
        await self._end(token, batch, "live", failed, lost=files is None)
        return True

    def _read_row(self, line: bytes, batch: Batch, failed: dict[str, Failed]) -> None:
        """The first good row of a call counts: it is paid for and kept, in one commit."""
        try:
            found = msgspec.json.decode(line)
            key, (status, body) = found["custom_id"], self._api.read(found)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            return
        row = self._rows.get(key) if key in batch.rows else None
        if row is None or status != 200:
            failed |= {key: (status, msgspec.json.encode(body))} if row else {}
            return
        failed.pop(key, None)
        try:
            reply = self._dialect.read(msgspec.json.encode(body))[0]
        except Unreadable as why:
            return self._resolve([key], "live", lost=why.lost)
        cost = row.reserved.usd if reply.usage == NO_USAGE else cost_of(reply.usage, self.price)
        reply = replace(reply, cost=cost, tokens=label_tokens(reply, row.labels))
        self.budget.pay(row.reserved, [reply])
        self.journal.put(bytes.fromhex(key), encode_reply(reply), cost)
        del self._rows[key]
        if row.outcome is not None and not row.outcome.done():
            row.outcome.set_result(replace(reply, call=key))

    async def _end(
        self, token: str, batch: Batch, rest: Outcome, failed: Mapping[str, Failed] = {}, lost: bool = False
    ) -> None:
        """What it brought is on disk before it is forgotten; what has no outcome gets one."""
        await self.journal.committed()
        for key in batch.rows:
            self._resolve([key], failed.get(key, rest), lost)
        del self._batches[token]
        self._remember(token)

    def _resolve(self, keys: Iterable[str], outcome: Outcome, lost: bool = False) -> None:
        """Calls that a batch did not answer. `lost`: they may be billed all the same."""
        for row in filter(None, [self._rows.pop(key, None) for key in keys]):
            (self.budget.lose if lost else self.budget.release)(row.reserved)
            if row.outcome is not None and not row.outcome.done():
                row.outcome.set_result(outcome)

    async def _refuse(self, token: str, batch: Batch, why: str) -> NoReturn:
        n = f"{len(batch.rows):,} requests"
        error = EngineDown(f"{self.name} refused a batch of {n} ({why}). To send them live, leave out batch")
        self._fail((self._rows[key] for key in batch.rows if key in self._rows), error)
        await self._end(token, batch, "live")
        raise error

    def _fail(self, rows: Iterable[Row], error: Exception) -> None:
        """Whoever waits for them, or asks for them later, gets this error."""
        for row in rows:
            row.outcome = row.outcome or asyncio.get_running_loop().create_future()
            if not row.outcome.done():
                row.outcome.set_exception(error)
                row.outcome.exception()  # nobody may be waiting

    def _stop_waiting(self) -> None:
        """Nothing more is sent. What is in a batch goes on, and the next start collects it."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._fail(self._rows.values(), self.budget.stopped)
        for key in self._queue:
            self.budget.release(self._rows[key].reserved)
        self._queue = []

    def _remember(self, changed: str) -> None:
        """Which batches are open: in the journal, and for whoever is told that they go on."""
        self.journal.remember(self._place, self._batches)
        self.budget.batches.pop(changed, None)
        if batch := self._batches.get(changed):
            name, vendor = batch.id or changed, self.name.partition(":")[0]
            self.budget.batches[changed] = f"batch {name} of {len(batch.rows):,} requests goes on at {vendor}"
