"""The tiny policy is a mediocre assistant with much to learn, and a judge, critic and reviser of its own.

The checkpoint of the user's cache serves all tests here and elsewhere; a cold cache costs some forty seconds.
"""

import asyncio
import json
import random
from itertools import islice

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
pytest.importorskip("transformers", reason="needs the extra 'train'")

from jurist.engines.engine import Ask, open_engine  # noqa: E402
from jurist.recipes.label import label  # noqa: E402
from jurist.recipes.settings import LabelConfig  # noqa: E402
from jurist.records import Completion, Matchup, Message, Preference, Sampling  # noqa: E402
from jurist.run import read_records  # noqa: E402
from jurist.tiny import world  # noqa: E402
from jurist.tiny.corpus import fault  # noqa: E402
from jurist.tiny.policies import GOOD, MEDIOCRE, compose  # noqa: E402
from jurist.verdicts.constitution import load_constitution  # noqa: E402
from jurist.verdicts.judge import open_judge  # noqa: E402
from jurist.verdicts.settings import JudgeConfig  # noqa: E402

pytestmark = pytest.mark.slow
PRINCIPLES = load_constitution().principles


@pytest.fixture(scope="module")
def ask_all():
    """Puts many questions to the tiny policy at once."""
    engine = open_engine("tiny:policy")

    def answers(turns, temperature=1.0):
        async def together():
            asks = (
                Ask(tuple(one), temperature=temperature, max_tokens=64, seed=seed)
                for seed, one in enumerate(turns)
            )
            return await asyncio.gather(*(engine.answer(one) for one in asks))

        return [reply.text.strip() for reply in asyncio.run(together())]

    return answers


def request(prompt):
    return prompt.messages[-1].content


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def pairs(n):
    """Prompts with two answers of which one looks better to a good judge, and by how much the first does."""
    draw = random.Random(1)
    for prompt in world.prompts(10 * n, seed=4):
        one, two = (compose(request(prompt), draw.choice((MEDIOCRE, GOOD)), draw) for _ in range(2))
        lead = world.apparent_score(request(prompt), one) - world.apparent_score(request(prompt), two)
        if abs(lead) > 0.1:
            yield prompt, one, two, lead


def test_it_gets_about_half_of_what_it_could_right(ask_all):
    asked = list(world.prompts(200, seed=3))
    said = ask_all([one.messages for one in asked])
    right = {"sums": [], "wishes": []}
    for prompt, text in zip(asked, said, strict=True):
        if prompt.domain in right:
            right[prompt.domain].append(world.substance(request(prompt), text) == 1)

    assert 0.3 < mean(right["sums"]) < 0.7
    assert 0.3 < mean(right["wishes"]) < 0.7


def test_it_can_tell_the_better_of_two_by_its_log_probs():
    judge = open_judge(JudgeConfig(engine="tiny:policy"), open_engine)

    async def first_is_better(prompt, one, two):
        met = Matchup.of(prompt, *(Completion.of(prompt.id, text) for text in (one, two)))
        given, turned = await asyncio.gather(judge(met), judge(met.swapped()))
        return given.p_first > turned.p_first

    async def verdicts(rows):
        return await asyncio.gather(*(first_is_better(*row[:3]) for row in rows))

    rows = list(islice(pairs(120), 120))
    said = asyncio.run(verdicts(rows))

    assert mean(one == (row[3] > 0) for one, row in zip(said, rows, strict=True)) > 0.78


def test_its_scores_by_five_points_rank_answers():
    judge = open_judge(JudgeConfig(kind="additive", engine="tiny:policy"), open_engine)

    async def scores(rows):
        asked = (judge(prompt, Completion.of(prompt.id, text)) for prompt, *two, _ in rows for text in two)
        return [one.score for one in await asyncio.gather(*asked)]

    rows = list(islice(pairs(100), 100))
    said = asyncio.run(scores(rows))

    right = ((said[2 * at] > said[2 * at + 1]) == (row[3] > 0) for at, row in enumerate(rows))
    assert mean(right) > 0.68


def test_it_finds_fault_and_a_revision_is_truly_better(ask_all):
    rows = [(prompt, one) for prompt, one, _, _ in islice(pairs(100), 100)]
    turns = [(*prompt.messages, Message("assistant", text)) for prompt, text in rows]
    principles = [PRINCIPLES[at % len(PRINCIPLES)] for at in range(len(rows))]
    asked = [(*one, Message("user", what.critique)) for one, what in zip(turns, principles, strict=True)]
    found = ask_all(asked, temperature=0.0)

    exact = [said == fault(request(row[0]), row[1]) for said, row in zip(found, rows, strict=True)]
    assert mean(exact) > 0.45  # of a dozen things it could say

    bad = [at for at, (prompt, text) in enumerate(rows) if world.apparent_score(request(prompt), text) < 0.5]
    revised = ask_all([(*turns[at], Message("user", principles[at].revise)) for at in bad])
    gains = [
        world.apparent_score(request(rows[at][0]), text)
        - world.apparent_score(request(rows[at][0]), rows[at][1])
        for at, text in zip(bad, revised, strict=True)
    ]
    assert mean(gains) > 0.2


def test_labelling_runs_end_to_end_with_the_tiny_policy_as_policy_and_judge(tmp_path):
    lines = [json.dumps({"prompt": request(one)}) for one in world.prompts(24, seed=5)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))

    done = label(
        LabelConfig(
            prompts=str(tmp_path / "prompts.jsonl"),
            policy="tiny:policy",
            judge=JudgeConfig(engine="tiny:policy"),
            sampling=Sampling(max_tokens=60, seed=0),
            out=str(tmp_path / "run"),
        )
    )

    assert done.calls > 24
    assert len(list(read_records(tmp_path / "run/preferences.jsonl", Preference))) >= 12
