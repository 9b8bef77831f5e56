"""The test server does what its options say: the same faults each time, and honest books."""

import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException

import pytest

from support.server import serving

ASK = {"model": "m", "messages": [{"role": "user", "content": "Which?"}], "max_tokens": 2}


def post(server, body, path="/chat/completions"):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=5) as got:
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_n_choices_log_probs_and_the_cut_at_max_tokens():
    def answer(request):
        return [{"text": "A", "logprobs": [{"A": 0.75, "B": 0.25, "C": 0}]}, "a text that is too long"]

    with serving(answer, price=(1_000_000, 2_000_000)) as server:
        _, got = post(server, {**ASK, "n": 2, "logprobs": True, "top_logprobs": 2})
    one, other = got["choices"]
    (token,) = one["logprobs"]["content"]
    assert [top["token"] for top in token["top_logprobs"]] == ["A", "B"]
    assert (other["message"]["content"], other["finish_reason"]) == ("a text t", "length")
    assert got["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert (server.dollars, server.answered) == (8.0, 1)


def test_the_messages_api_the_list_of_models_and_a_server_that_is_strict():
    with serving(lambda request: {"text": request["system"], "reasoning": "hm"}, strict=True) as server:
        _, got = post(server, {**ASK, "system": "Be brief.", "max_tokens": 9}, "/messages")
        status, error = post(server, {**ASK, "grammar": "x"})
        with urllib.request.urlopen(server.url + "/models") as models:
            assert json.loads(models.read())["data"][0]["id"] == got["model"] == "judge"
    assert [block["type"] for block in got["content"]] == ["thinking", "text"]
    assert (got["stop_reason"], got["content"][1]["text"]) == ("end_turn", "Be brief.")
    assert (status, server.answered) == (400, 1)
    assert "grammar" in error["error"]["message"]


def test_faults_follow_from_seed_request_and_attempt():
    def fates(seed):
        with serving("A", faults={"500": 0.3, "429": 0.3}, seed=seed) as server:
            return [post(server, {**ASK, "user": str(n)})[0] for n in range(12) for _ in range(3)]

    first = fates(1)
    assert first == fates(1) != fates(2)
    assert {200, 429, 500} == set(first)
    assert any(one[0] != one[1] for one in zip(first[::3], first[1::3], strict=True))


@pytest.mark.parametrize("fault", ["drop", "stall", "truncate"])
def test_what_the_model_worked_on_is_billed_though_nobody_got_it(fault):
    with serving("A", faults={fault: 1}, price=(1e6, 0)) as server:
        with pytest.raises((OSError, HTTPException)):
            urllib.request.urlopen(server.url + "/chat/completions", json.dumps(ASK).encode(), 0.3).read()
        deadline = time.time() + 5
        while server.in_flight and time.time() < deadline:
            time.sleep(0.01)
    assert (server.dollars, server.answered, server.log[0].fault) == (2.0, 0, fault)
