"""What a failed try means."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.engines.transport import Answered
from jurist.engines.trouble import Breaker, Trouble, read_trouble, retry_after, scrubbed

LATE = Trouble("again", "no reply")
UNREACHED = Trouble("again", "connection refused", unreached=True)


def trouble(status, body=b"{}", began=True, **headers):
    return read_trouble(Answered(status, body, 0.0, headers), "secret", began)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status):
    got = trouble(status)

    assert got.then == "again"
    assert got.loaded == (status in (429, 503, 529))


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 422])
def test_what_is_wrong_with_the_question_is_refused(status):
    assert trouble(status).then == "refused"


@pytest.mark.parametrize(
    ("status", "body", "began"),
    [
        (401, b"{}", True),
        (402, b"{}", True),
        (403, b"{}", False),
        (404, b"{}", False),
        (307, b"", True),
        (429, b'{"error": {"code": "insufficient_quota", "message": "pay"}}', True),
    ],
)
def test_what_no_question_can_get_past_stops_the_run(status, body, began):
    assert trouble(status, body, began).then == "down"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long", "type": "invalid"}},
        {"error": "too long"},
        {"message": "too long", "object": "error"},
        {"detail": [{"msg": "too long"}]},
    ],
)
def test_the_servers_own_words_are_found_wherever_they_stand(body):
    assert "too long" in trouble(400, msgspec.json.encode(body)).message


def test_a_page_instead_of_json_is_quoted_and_cut():
    got = trouble(502, b"<html>\n<h1>Bad Gateway</h1>" + b"x" * 5000)

    assert "Bad Gateway" in got.message
    assert len(got.message) < 320
    assert "\n" not in got.message


@pytest.mark.parametrize(
    "leak",
    [
        "secret",
        "sk-proj-abc_DEF123",
        "Bearer abc.def",
        "key-123456789",
        "http://me:pw@proxy:80/",
        "sk-ab***cd",
    ],
)
def test_nothing_that_looks_like_a_key_is_repeated(leak):
    told = scrubbed(f"Incorrect key provided: {leak} was wrong", "secret")

    assert "***" in told
    for part in ("secret", "abc", "1234", "pw", "cd"):
        assert part not in told


@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_failure_can_be_read(body, status):
    assert trouble(status, body).message.startswith(str(status))


@pytest.mark.parametrize(
    ("headers", "want"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2020 07:28:30 GMT"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers, want):
    assert retry_after(headers, datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == want


def test_an_engine_is_down_when_nothing_came_for_long_enough():
    breaker = Breaker(45.0)
    breaker.answered(100.0)
    for call in range(5):
        breaker.failed(call, LATE, started=101.0)

    assert not breaker.down(140.0)
    assert breaker.down(147.0)


def test_one_answer_is_a_sign_of_life():
    breaker = Breaker(45.0)
    breaker.answered(100.0)
    for call in range(5):
        breaker.failed(call, LATE, started=101.0)
    breaker.answered(140.0)
    breaker.failed(1, LATE, started=110.0)

    assert not breaker.down(150.0)


def test_where_nobody_ever_listened_a_third_of_the_time_will_do():
    breaker = Breaker(45.0)
    breaker.failed(1, UNREACHED, started=1.0)

    assert breaker.down(16.1)


def test_one_bad_call_at_the_end_of_a_good_run_is_its_own_trouble():
    breaker = Breaker(45.0)
    breaker.answered(100.0)
    breaker.failed(1, LATE, started=101.0)

    assert not breaker.down(500.0)
    assert breaker.alone(first_sent=101.0)


def test_while_nobody_gets_through_no_call_gives_up_by_itself():
    breaker = Breaker(45.0)
    breaker.answered(100.0)
    for call in range(5):
        breaker.failed(call, LATE, started=101.0)

    assert not breaker.alone(first_sent=101.0)


def test_a_server_that_asked_for_patience_gets_it():
    breaker = Breaker(45.0)
    breaker.failed(1, Trouble("again", "slow down", after=60.0), started=0.0)

    assert not breaker.down(100.0)
    assert breaker.down(166.0)


def test_when_all_questions_are_refused_from_the_start_it_is_not_the_rows():
    breaker = Breaker(45.0)
    assert [breaker.refused() for _ in range(Breaker.ALL_REFUSED)][-1]

    breaker = Breaker(45.0)
    breaker.answered(1.0)
    assert not any(breaker.refused() for _ in range(500))
