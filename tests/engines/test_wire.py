"""Both transports against servers that do what servers do."""

import asyncio
import ssl
import subprocess
import time

import pytest

from jurist.engines import wire
from jurist.engines.connect import _proxy, connect
from jurist.engines.tls import Tls
from jurist.engines.transport import Broken, Late, Unreached
from jurist.engines.wire import Wire
from jurist.errors import SettingError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def against(handle, work, kind=Wire, tls=None):
    """Run `work(transport, server)` against a server whose connections are handled by `handle`."""

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        client = kind(f"http{'s' if tls else ''}://localhost:{port}/v1/x", {"X-Key": "k"})
        try:
            return await work(client, server)
        finally:
            await client.close()
            server.close()

    return asyncio.run(main())


def replying(*chunks, then_close=False):
    async def handle(reader, writer):
        try:
            while True:
                await read_request(reader)
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                if then_close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return handle


async def post(client, server):
    return await client.post(b"body", 5.0)


both = pytest.mark.parametrize("kind", [Wire, Tls])


@both
def test_the_request_is_what_was_meant(kind):
    seen = []

    async def handle(reader, writer):
        seen.append(await read_request(reader))
        writer.write(OK)

    got = against(handle, post, kind)

    (head, body) = seen[0]
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"X-Key: k\r\n" in head
    assert b"application/json" in head
    assert body == b"body"
    assert (got.status, got.body) == (200, b"ok")


@both
@pytest.mark.parametrize(
    ("chunks", "then_close", "want"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 6\r\n\r\nabc", b"def"], False, b"abcdef"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"],
            False,
            b"abcdef",
        ),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", b"def"], True, b"abcdef"),
        ([b"HTTP/1.0 200 OK\r\n\r\nabc", b"def"], True, b"abcdef"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], False, b"ok"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], False, b""),
    ],
)
def test_a_reply_is_whole_however_it_is_cut_up(kind, chunks, then_close, want):
    got = against(replying(*chunks, then_close=then_close), post, kind)

    assert (got.status, got.body) == (200, want)


@both
def test_status_and_headers_of_a_failure_come_through(kind):
    reply = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"
    got = against(replying(reply), post, kind)

    assert (got.status, got.body, got.headers["retry-after"]) == (429, b"no", "7")


@both
@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
        [b"HTTP/1.1 200 O"],
        [b"SSH-2.0-OpenSSH\r\n"],
    ],
)
def test_a_reply_that_ends_early_is_broken_and_never_shortened(kind, chunks):
    with pytest.raises(Broken):
        against(replying(*chunks, then_close=True), post, kind)


@both
def test_a_reply_that_does_not_come_is_late(kind):
    async def work(client, server):
        with pytest.raises(Late, match=r"0\.1 s"):
            await client.post(b"body", 0.1)

    started = time.perf_counter()
    against(replying(b"HTTP/1.1 200 OK\r\n"), work, kind)
    assert time.perf_counter() - started < 0.1 + wire.SWEEP + 0.3


@both
def test_where_nobody_listens_nothing_is_reached(kind):
    async def work(client, server):
        server.close()
        await server.wait_closed()
        with pytest.raises(Unreached):
            await client.post(b"body", 5.0)

    against(replying(OK), work, kind)


def test_connections_are_kept_and_used_again():
    async def work(client, server):
        for _ in range(3):
            await asyncio.gather(*(client.post(b"body", 5.0) for _ in range(4)))
        return client.opened

    assert against(replying(OK), work) == 4


def test_an_idle_connection_the_server_closed_is_no_error():
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()

    async def work(client, server):
        first = await client.post(b"body", 5.0)
        await asyncio.sleep(0.06)
        return first, await client.post(b"body", 5.0), client.opened

    first, second, opened = against(handle, work)
    assert first.body == second.body == b"ok"
    assert opened == 2


def test_a_connection_that_closes_just_as_we_write_is_tried_once_more(monkeypatch):
    monkeypatch.setattr(wire, "MAY_BE_STALE", 0.0)

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.close()

    async def work(client, server):
        await client.post(b"body", 5.0)
        await asyncio.sleep(0.002)
        return await client.post(b"body", 5.0)

    assert against(handle, work).body == b"ok"


def test_a_call_given_up_does_not_leave_its_reply_to_the_next():
    replies = iter([b"old", b"new"])

    async def handle(reader, writer):
        try:
            while True:
                await read_request(reader)
                await asyncio.sleep(0.03)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + next(replies))
        except asyncio.IncompleteReadError:
            pass

    async def work(client, server):
        first = asyncio.create_task(client.post(b"body", 5.0))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert not client._busy  # the server is told, and may stop writing
        await asyncio.sleep(0.05)
        return await client.post(b"body", 5.0)

    assert against(handle, work).body == b"new"


def test_a_call_given_up_as_its_reply_arrives_does_no_harm_to_the_connection():
    async def work(client, server):
        first = asyncio.create_task(client.post(b"body", 5.0))
        while not client._idle:  # noqa: ASYNC110  the very moment is what is tested
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        await client.post(b"body", 5.0)
        return client.opened

    assert against(replying(OK), work) == 1


def test_every_late_call_ends_even_when_its_connection_served_another_just_before(monkeypatch):
    monkeypatch.setattr(wire, "SWEEP", 0.03)
    count = 0

    async def handle(reader, writer):
        nonlocal count
        try:
            while True:
                await read_request(reader)
                count += 1
                if count % 5:
                    writer.write(OK)
        except asyncio.IncompleteReadError:
            writer.close()

    async def work(client, server):
        async def worker():
            late = 0
            for _ in range(20):
                try:
                    await client.post(b"body", 0.2)
                except (Late, Unreached):  # a busy machine may be late with the connection itself
                    late += 1
            return late

        async with asyncio.timeout(20):
            return sum(await asyncio.gather(*(worker() for _ in range(10))))

    assert against(handle, work) >= 40


def test_nothing_but_a_web_address_is_an_address(monkeypatch):
    with pytest.raises(SettingError, match="not a web address"):
        connect("localhost:8000", {})
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert _proxy("http", "judge.example") == "http://proxy:3128"
    assert _proxy("http", "127.0.0.1") is None


def test_tls_certificates_are_checked(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command.split(), *files, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    with pytest.raises(Unreached, match="certificate"):
        against(replying(OK), post, Tls, context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert against(replying(OK), post, Tls, context).body == b"ok"
