import making
import pytest

from jurist.engines.checkpoints import render_chat
from jurist.models.batch import Example, cut, padded, steps, tokenise
from jurist.models.plan import lr_share, shared_out
from jurist.records import Completion, Message, Prompt

PROMPT = Prompt.of((Message("system", "yes"), Message("user", "why is the sky blue")))


def said(*texts: str, finish: str = "stop") -> list[Completion]:
    return [Completion.of(PROMPT.id, text, finish=finish) for text in texts]


@pytest.mark.parametrize("kind", making.KINDS)
def test_answers_are_what_follows_the_prompt_up_to_the_token_that_ends_the_turn(kind):
    tokenizer = making.tokenizer(kind)
    example = tokenise(PROMPT, said("because light scatters", "no"), tokenizer)

    whole = tokenizer.decode(example.prompt_ids + example.answers[0])
    assert whole == (
        "<|system|>yes<|end|>\n<|user|>why is the sky blue<|end|>\n<|assistant|>because light scatters<|end|>"
    )
    assert example.exact
    assert [answer[-1] for answer in example.answers] == [tokenizer.eos_token_id] * 2


def test_a_template_that_strips_answers_is_worked_around_and_flagged():
    tokenizer = making.tokenizer()
    tokenizer.chat_template = making.TEMPLATE.replace("m['content']", "m['content'] | trim")
    example = tokenise(PROMPT, said("  no"), tokenizer)

    assert not example.exact
    assert tokenizer.decode(example.answers[0]) == "  no<|end|>"


def test_a_template_that_never_ends_an_answer_gets_its_end_from_the_tokenizer():
    tokenizer = making.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    example = tokenise(PROMPT, said("no"), tokenizer)

    assert example.answers[0][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "template", [making.TEMPLATE, making.TEMPLATE.replace("m['content']", "m['content'] | trim")]
)
def test_an_answer_that_was_cut_off_gets_no_end_but_where_a_reward_model_reads_it(template):
    tokenizer = making.tokenizer()
    tokenizer.chat_template = template
    cut, whole = (
        tokenise(PROMPT, said(" because light", finish=how), tokenizer) for how in ("length", "stop")
    )
    read = tokenise(PROMPT, said(" because light", finish="length"), tokenizer, closed=True)

    assert tokenizer.decode(cut.answers[0]) == " because light"
    assert [*cut.answers[0], tokenizer.eos_token_id] == whole.answers[0] == read.answers[0]


def test_a_system_turn_that_the_template_refuses_is_learnt_as_engines_ask_it():
    tokenizer = making.tokenizer()
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    tokenizer.chat_template = refuses + making.TEMPLATE
    example = tokenise(PROMPT, said("no"), tokenizer)

    assert tokenizer.decode(example.prompt_ids) == render_chat(tokenizer, PROMPT.messages)
    assert tokenizer.decode(example.prompt_ids).startswith("<|user|>yes\n\nwhy is")
    assert example.exact


def rows(*lengths: int) -> list[Example]:
    return [Example([1] * (length - 1), [[2]]) for length in lengths]


def test_steps_come_in_another_order_with_another_seed_and_in_the_same_with_the_same():
    examples = rows(*range(2, 102))

    assert steps(examples, 8, seed=1) == steps(examples, 8, seed=1)
    assert steps(examples, 8, seed=1) != steps(examples, 8, seed=2)
    assert sorted(row for step in steps(examples, 8, seed=1) for row in step) == list(range(100))


def test_a_row_longer_than_a_batch_stands_alone():
    assert cut([0, 1, 2], [2, 3, 50], 8) == [[0, 1], [2]]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_a_step_out_without_loss_and_with_equal_numbers_of_parts(processes):
    lengths = [5, 9, 2, 30, 7, 7, 1, 12, 3]
    shares = shared_out(list(range(9)), lengths, 24, processes)

    assert sorted(row for parts in shares for part in parts for row in part) == list(range(9))
    assert len({len(parts) for parts in shares}) == 1


def test_padding_is_on_the_right_and_marked():
    ids, mask = padded([[5, 6], [7]], pad=9)

    assert ids.tolist() == [[5, 6], [7, 9]]
    assert mask.tolist() == [[True, True], [True, False]]


def test_the_learning_rate_rises_and_comes_down_as_its_schedule_says():
    assert [round(lr_share(n, 11, 0.2, "linear"), 4) for n in (1, 3, 4, 11)] == [0.3333, 1.0, 0.8889, 0.1111]
    assert [round(lr_share(n, 10, 0.2, "cosine"), 4) for n in (1, 2, 6, 10)] == [0.5, 1.0, 0.55, 0.1]
    assert lr_share(10, 10, 0.2, "constant") == 1.0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_step_learns_and_one_of_them_at_the_full_rate(steps, warmup, schedule):
    shares = [lr_share(step, steps, warmup, schedule) for step in range(1, steps + 1)]

    assert max(shares) == 1.0
    assert min(shares) > 0.0
