"""Requests as other people's programs send them, and what they get back. A failed score is never 0."""

import pytest

from serve.calls import judged_by, post, score

WORDS, LONGER = "serve.my_judges:words", "serve.my_judges:longer"
CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Which?"}]
# As OpenRLHF sends it: the prompt with its template, and the response behind it to its last token.
ASKED = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
QUERIES = {
    "query": [f"{ASKED}one two<|im_end|>\n", f"{ASKED}broken<|im_end|>", f"{ASKED}four<|im_end|><|pad|>"],
    "prompts": [ASKED] * 3,
    "labels": [None, None, "three"],
}


def rollout(text, **row):
    """As NeMo Gym sends it: the row, what the policy was asked, and its response."""
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        },
    ]
    asked = {"input": [{"role": "user", "content": "Which?", "type": "message"}], "temperature": 1.0}
    response = {"id": "resp_1", "object": "response", "model": "policy", "output": output}
    return {"responses_create_params": asked, "response": response, **row}


def decision(*options, kind="choice", **texts):
    """As System One is asked: a state, and questions by name."""
    criteria = dict.fromkeys(options, "described")
    question = {"type": kind, "instructions": "Which is better?", "criteria": criteria}
    state = {"prompt": "Which?", "completions": texts or {"A": "one two", "B": "one", "C": "broken"}}
    return {"model": "jurist", "state": state, "questions": {"better": question}}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    with judged_by(WORDS, tmp_path_factory.mktemp("run") / "served") as server:
        yield server


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    with judged_by(LONGER, tmp_path_factory.mktemp("run") / "served") as server:
        yield server


def test_plain_json_gives_scores_and_reasons_of_a_row_or_of_several(words):
    status, got, _ = score(words, "one", "broken", [{"role": "assistant", "content": "one two"}], prompt=CHAT)
    assert (status, got) == (200, {"scores": [1, None, 2], "reasons": [None, "no_verdict", None]})

    rows = [
        {"messages": CHAT, "completions": ["one"]},
        {"prompt": "?", "completions": ["a", "b"], "reference": "b"},
    ]
    _, got, _ = post(f"{words.url}/score", {"rows": rows})
    assert got == {"scores": [[1], [0, 1]], "reasons": [[None], [None, None]]}


def test_a_judge_of_pairs_lets_the_completions_of_a_prompt_compete(longer):
    _, got, _ = score(longer, "a", "aa", "aaa", "aa", "broken")
    assert got["scores"] == [-1, 0, 1, 0, None]
    assert got["reasons"] == [None, None, None, None, "no_verdict"]
    assert score(longer, "same", "same")[1]["scores"] == [0, 0]

    status, told, _ = score(longer, "alone")
    assert (status, "compares two completions" in told["error"]["message"]) == (400, True)


def test_openrlhf_gets_its_rewards(words, longer):
    _, got, _ = post(f"{words.url}/get_reward", QUERIES)
    assert got == {"rewards": [2, None, 0], "scores": [2, None, 0], "extra_logs": {"failed": 1}}

    batch = {"query": ["?a", "?aa", "!b", "!bb"], "prompts": ["?", "?", "!", "!"]}
    assert post(f"{longer.url}/get_reward", batch)[1]["rewards"] == [-1, 1, -1, 1]
    status, told, _ = post(f"{words.url}/get_reward", {"query": ["answer"], "prompts": ["asked"]})
    assert (status, "does not hold its prompt" in told["error"]["message"]) == (400, True)


def test_nemo_gym_gets_its_request_back_with_a_reward(words):
    asked = rollout("one two", agent_ref={"name": "simple"})
    assert post(f"{words.url}/seed_session", {})[0] == 200
    assert post(f"{words.url}/verify", asked)[:2] == (200, {**asked, "reward": 2})
    assert post(f"{words.url}/verify", rollout("two", expected_answer="one"))[1]["reward"] == 0

    status, got, _ = post(f"{words.url}/verify", rollout("broken"))
    assert (status, got["reward"], got["error"]) == (502, None, "no_verdict")
    assert (got["mask_sample"], got["_ng_failure_class"]) == (True, "judge_failed")


@pytest.mark.parametrize("judge", ["words", "longer"])
def test_a_decision_between_two_completions_is_a_choice(judge, request):
    url = f"{request.getfixturevalue(judge).url}/v1/systemone"
    status, got, _ = post(url, decision("B", "A"))
    answer = got["answers"]["better"]
    assert (status, answer["type"], answer["choice"]) == (200, "choice", "A")
    assert answer["probabilities"]["A"] + answer["probabilities"]["B"] == pytest.approx(1)
    assert answer["confidence"] == pytest.approx(2 * answer["probabilities"]["A"] - 1)
    assert got["usage"] == {"input_tokens": 0, "output_tokens": 0}

    told = post(url, decision("A", "B", "C"))[1]["error"]["message"]
    assert "no more than which of two" in told
    unread = post(url, decision("A", "C"))[1]["answers"]["better"]
    assert unread == {
        "type": "choice",
        "choice": None,
        "confidence": None,
        "probabilities": None,
        "error": "no_verdict",
    }


FORMS = {
    "/score": [
        *(b"", b"{", b"[1]", b"\xff", b"[" * 100_000, {"prompt": "?"}, {"completions": ["a"]}, {"rows": [1]}),
        *({"prompt": "?", "completions": "a"}, {"prompt": "?", "completions": [1]}, {"prompt": [[]]}),
    ],
    "/get_reward": [{"query": ["a"]}, {"query": [1], "prompts": [2]}, {"query": ["ab"], "prompts": []}],
    "/verify": [{}, rollout(1), {**rollout("a"), "response": {"output": [1]}}, {"response": {"output": []}}],
    "/v1/systemone": [
        {"state": "text", "questions": {}},
        decision("A", "B", kind="noul"),
        decision("A", "B", "C"),
        decision("A", "D"),
        {**decision("A", "B"), "questions": {"better": 1}},
    ],
    "/v1/chat/completions": [{"model": "m"}, {"messages": 1}],
}


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, some in FORMS.items() for body in some])
def test_a_request_that_cannot_be_read_is_a_400_with_a_reason(words, path, body):
    status, told, _ = post(words.url + path, body)
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")
    assert told["error"]["message"]
    assert "--on_error" not in told["error"]["message"]
