"""What a failed try means."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.failures import Failure, Health, read_failure, redact, retry_after

LATE = Failure("retry", "no reply")
NOBODY = Failure("retry", "connection refused", connect_failed=True)
NO_CREDIT = b'{"error": {"code": "insufficient_quota", "message": "pay"}}'


@pytest.mark.parametrize(
    ("statuses", "worked", "action"),
    [
        ((408, 409, 425, 429, 500, 502, 503, 504, 529), False, "retry"),
        ((400, 403, 404, 405, 413, 422), True, "refuse"),
        ((401, 402, 307), True, "stop"),
        ((403, 404), False, "stop"),
    ],
)
def test_what_a_status_means(statuses, worked, action):
    for status in statuses:
        failure = read_failure(status, {}, b"{}", worked_before=worked)
        assert (failure.action, failure.lost) == (action, False)
        assert failure.overloaded == (status in (429, 503, 529))
    assert read_failure(429, {}, NO_CREDIT).action == "stop"


SENT = ("model", "messages", "temperature", "top_logprobs", "logprobs", "n", "stop", "max_tokens")
SENT += ("thinking", "response_format", "chat_template_kwargs")
REFUSALS = {
    "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'.": "max_tokens",
    "Unsupported value: 'temperature' does not support 0 with this model.": "temperature",
    "`temperature` is deprecated for this model.": "temperature",
    'Invalid JSON payload received. Unknown name "logprobs": Cannot find field.': "logprobs",
    "logprobs is not supported with this model": "logprobs",
    "top_logprobs must be <= 5, 20 exceeds it": "top_logprobs",
    "thinking: Extra inputs are not permitted": "thinking",
    "'n' : number must be at most 1": "n",
    "Extra inputs are not permitted, field: 'chat_template_kwargs.enable_thinking'": "chat_template_kwargs",
    "'max_tokens' or 'max_completion_tokens' is too large: 9. The context length is 8": "",
    "max_tokens: 9 > 8, which exceeds the limit": "",
    "Please stop sending text while thinking; line 3:\\n is no message": "",
    "'seed' is not supported": "",
}


@pytest.mark.parametrize("message", REFUSALS)
def test_which_parameter_a_server_refuses(message):
    for error, want in (
        ({"message": message}, REFUSALS[message]),
        ({"message": "This value is not allowed", "param": "response_format"}, "response_format"),
    ):
        assert read_failure(400, {}, json.dumps({"error": error}).encode(), sent=SENT).parameter == want


@pytest.mark.parametrize(
    "error", [{"error": {"message": "too long"}}, {"error": "too long"}, {"message": "too long"}]
)
def test_the_servers_own_words_are_found_wherever_they_stand(error):
    assert read_failure(400, {}, json.dumps(error).encode()).message == "HTTP 400: too long"


@settings(max_examples=40)
@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_failure_can_be_read_and_quoted_in_one_short_line(body, status):
    message = read_failure(status, {}, body * 20, sent=SENT).message

    assert message.startswith(f"HTTP {status}: ")
    assert (len(message) < 320, len(message.splitlines())) == (True, 1)


def test_nothing_that_looks_like_a_key_is_repeated():
    for leak in ("secret", "sk-proj-abc_DEF123", "Bearer abc.def", "key-123456789", "http://me:pw@proxy:80/"):
        told = redact(f"Incorrect key provided: {leak} was wrong", "secret")
        assert "***" in told
        assert not [part for part in ("secret", "abc", "1234", "pw") if part in told]
    assert redact("a task-specific monkey-business", "") == "a task-specific monkey-business"


DATES = {"Wed, 21 Oct 2026 07:28:30 GMT": 30.0, "Wed, 21 Oct 2020 07:28:30 GMT": 0.0}


@pytest.mark.parametrize(("said", "want"), {"7": 7.0, "0.5": 0.5, "soon": 0.0, "-5": 0.0, **DATES}.items())
def test_retry_after_is_read_in_each_of_its_forms(said, want):
    assert retry_after({"retry-after": said}, datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == want


@pytest.mark.parametrize(
    ("answers", "failing", "failure", "down_at"),
    [
        ((100.0,), 5, LATE, 161.0),  # since the last answer, not since the tries began
        ((), 1, NOBODY, 16.0),  # nothing ever listened there
        ((), 1, Failure("retry", "slow down", retry_after=30.0), 121.0),
        ((100.0,), 1, LATE, None),  # one bad call at the end of a good run is its own trouble
        ((100.0, 140.0), 5, LATE, 200.0),
    ],
)
def test_an_engine_is_down_when_nothing_came_for_long_enough(answers, failing, failure, down_at):
    health = Health(60.0)
    for at in answers:
        health.answered(at)
    for call in range(failing):
        health.failed(call, failure, started=101.0 if answers else 1.0)

    assert not health.down((down_at or 1e9) - 1.5)
    assert health.down((down_at or 1e9) + 0.1) == (down_at is not None)
    # While nothing gets through, no call gives up by itself.
    assert health.others_get_through(since=141.0) == (down_at is None)


def test_when_all_questions_are_refused_from_the_start_it_is_not_the_rows():
    health = Health(60.0)
    assert [health.useless() for _ in range(Health.SAME_FAULT)] == [False] * 29 + [True]

    health.answered(1.0)
    assert not any(health.useless() for _ in range(500))
