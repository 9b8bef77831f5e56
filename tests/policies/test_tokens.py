"""Answers become the very ids that sampling would have produced."""

import making
import pytest

from jurist.engines.checkpoints import render_chat
from jurist.policies.tokens import Example, cut, padded, tokenise_many
from jurist.records import Completion, Message, Prompt

PROMPT = Prompt.of((Message("system", "yes"), Message("user", "why is the sky blue")))
TRIMMED = making.TEMPLATE.replace("m['content']", "m['content'] | trim")


def completions(*texts: str, finish: str = "stop") -> list[Completion]:
    return [Completion.of(PROMPT.id, text, finish=finish) for text in texts]


def tokenise(prompt: Prompt, answers: list[Completion], tokenizer, **labels) -> Example:
    return next(tokenise_many([(prompt, answers, labels)], tokenizer))


@pytest.mark.parametrize("kind", making.KINDS)
def test_answers_are_what_follows_the_prompt_up_to_the_token_that_ends_the_turn(kind):
    tokenizer = making.tokenizer(kind)
    example = tokenise(PROMPT, completions("because light scatters", "no"), tokenizer)

    whole = tokenizer.decode([*example.prompt_ids, *example.answers[0]])
    assert whole == (
        "<|system|>yes<|end|>\n<|user|>why is the sky blue<|end|>\n<|assistant|>because light scatters<|end|>"
    )
    assert [answer[-1] for answer in example.answers] == [tokenizer.eos_token_id] * 2


def test_a_template_that_strips_answers_is_worked_around():
    tokenizer = making.tokenizer()
    tokenizer.chat_template = TRIMMED
    assert tokenizer.decode(tokenise(PROMPT, completions("  no"), tokenizer).answers[0]) == "  no<|end|>"


def test_a_template_that_never_ends_an_answer_gets_its_end_from_the_tokenizer():
    tokenizer = making.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    example = tokenise(PROMPT, completions("no"), tokenizer)
    assert example.answers[0][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("template", [making.TEMPLATE, TRIMMED])
def test_an_answer_that_was_cut_off_gets_no_end(template):
    tokenizer = making.tokenizer()
    tokenizer.chat_template = template
    cut_off, whole = (
        tokenise(PROMPT, completions(" because light", finish=how), tokenizer) for how in ("length", "stop")
    )

    assert tokenizer.decode(cut_off.answers[0]) == " because light"
    assert [*cut_off.answers[0], tokenizer.eos_token_id] == list(whole.answers[0])


@pytest.mark.parametrize(
    ("template", "text"), [(making.TEMPLATE, "  no <|end|>\n"), (TRIMMED, "no<|end|>\n")]
)
def test_an_answer_as_it_is_shown_is_all_that_the_template_makes_of_it(template, text):
    tokenizer = making.tokenizer()
    tokenizer.chat_template = template
    rows = [(PROMPT, (*completions("  no "), *completions("  no ", finish="length")), {})]
    (shown,) = tokenise_many(rows, tokenizer, shown=True)

    assert [tokenizer.decode(answer) for answer in shown.answers] == [text, "  no "]


def test_a_system_turn_that_the_template_refuses_is_trained_as_engines_ask_it():
    tokenizer = making.tokenizer()
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer.chat_template = refuses + making.TEMPLATE
    example = tokenise(PROMPT, completions("no"), tokenizer)

    assert tokenizer.decode(example.prompt_ids) == render_chat(tokenizer, PROMPT.messages)
    assert tokenizer.decode(example.prompt_ids).startswith("<|user|>yes\n\nwhy is")


def test_many_rows_at_once_are_the_rows_one_by_one(monkeypatch):
    monkeypatch.setattr("jurist.policies.tokens.BATCH", 3)
    tokenizer = making.tokenizer()
    rows = [(PROMPT, completions(*["no"] * (n % 3)), {"weight": n, "id": str(n)}) for n in range(8)]
    alone = [tokenise(prompt, some, tokenizer, **labels) for prompt, some, labels in rows]
    assert list(tokenise_many(rows, tokenizer)) == alone


def test_a_row_longer_than_a_batch_is_alone():
    assert cut([0, 1, 2], [2, 3, 50], 8) == [[0, 1], [2]]


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_where_it_was_asked_for_and_marked(left):
    ids, mask = padded([[5, 6], [7]], pad=9, left=left)
    assert ids.tolist() == [[5, 6], [9, 7] if left else [7, 9]]
    assert mask.tolist() == [[True, True], [not left, left]]
