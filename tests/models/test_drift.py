"""How far a policy has moved, along what it wrote, as it wrote it."""

import making
import pytest

from jurist.models.batch import tokenise
from jurist.models.drift import drift
from jurist.models.policy import load_policy
from jurist.records import Completion, Prompt, Sampling

torch = pytest.importorskip("torch")
ASKED = [Prompt.of("why"), Prompt.of("tell me a long answer")]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drift")
    return [making.checkpoint(folder / f"{seed}", seed=seed, initializer_range=0.3) for seed in (0, 1)]


def written(temperature=1.0, finish="stop"):
    drawn = Sampling(temperature=temperature)
    texts = ("because light", "no")
    return [
        (prompt, Completion.of(prompt.id, text, sampling=drawn, finish=finish))
        for prompt, text in zip(ASKED, texts, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize(("temperature", "finish"), [(1.0, "stop"), (0.5, "stop"), (1.0, "length")])
def test_the_kl_is_that_of_the_whole_vocabulary_before_each_token_that_was_written(both, temperature, finish):
    ours, theirs = (load_policy(one) for one in both)
    want = 0.0
    for prompt, one in written(temperature, finish):
        row = tokenise(prompt, (one,), ours.tokenizer)
        (answer,) = row.answers
        assert (answer[-1] == ours.tokenizer.eos_token_id) == (finish == "stop")
        ids = torch.tensor([row.prompt_ids + answer])
        said = [
            (policy.model(ids).logits[0, len(row.prompt_ids) - 1 : -1] / temperature).log_softmax(-1)
            for policy in (ours, theirs)
        ]
        want += float((said[0].exp() * (said[0] - said[1])).sum()) / len(ASKED)

    assert drift(*both, written(temperature, finish)) == pytest.approx(want, rel=1e-4)
    assert want > 0.1


def test_an_answer_that_was_cut_off_before_its_first_word_adds_nothing(both):
    empty = Completion.of(ASKED[0].id, "", sampling=Sampling(), finish="length")

    assert drift(*both, [*written(), (ASKED[0], empty)]) == pytest.approx(drift(*both, written()) * 2 / 3)
    assert drift(*both, [(ASKED[0], empty)]) == 0.0


def test_a_policy_is_nowhere_but_at_itself_and_what_was_not_drawn_says_nothing(both):
    assert drift(both[0], both[0], written()) == 0.0
    assert drift(*both, []) is None
    assert drift(*both, written(temperature=0.0)) is None
