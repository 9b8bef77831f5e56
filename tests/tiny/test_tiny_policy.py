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
from jurist.tiny.answers import GOOD, MEDIOCRE, Habits, compose  # noqa: E402
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
    """Prompts with two answers of which one is truly better, and by how much the first is."""
    draw = random.Random(1)
    for prompt in world.prompts(min(10 * n, 2000), seed=4, side="held_out"):
        one, two = (compose(request(prompt), draw.choice((MEDIOCRE, GOOD)), draw) for _ in range(2))
        lead = world.true_score(request(prompt), one) - world.true_score(request(prompt), two)
        if abs(lead) > 0.1:
            yield prompt, one, two, lead


def test_it_is_mediocre_at_questions_it_never_met_and_its_likeliest_answers_are_little_better(ask_all):
    asked = list(world.prompts(400, seed=3, side="held_out"))
    good = {}
    for temperature in (0.0, 1.0):
        answers = ask_all([one.messages for one in asked], temperature)
        for prompt, text in zip(asked, answers, strict=True):
            found = good.setdefault((prompt.domain, temperature), [])
            found.append(world.substance(request(prompt), text) == 1)
    shares = {key: mean(found) for key, found in good.items()}

    assert all(0.08 < shares[domain, 1.0] < 0.6 for domain in world.SLOTS), shares
    assert 0.2 < mean(shares[domain, 0.0] for domain in world.SLOTS) < 0.65, shares


def test_it_judges_better_than_chance_and_far_from_perfectly():
    judge = open_judge(JudgeConfig(engine="tiny:policy"), open_engine)

    async def first_is_better(prompt, one, two):
        met = Matchup.of(prompt, *(Completion.of(prompt.id, text) for text in (one, two)))
        given, turned = await asyncio.gather(judge(met), judge(met.swapped()))
        return given.p_first > turned.p_first

    async def verdicts(rows):
        return await asyncio.gather(*(first_is_better(*row[:3]) for row in rows))

    rows = list(islice(pairs(200), 200))
    found = asyncio.run(verdicts(rows))

    assert 0.55 < mean(one == (row[3] > 0) for one, row in zip(found, rows, strict=True)) < 0.9


def test_its_scores_by_five_points_rank_answers():
    judge = open_judge(JudgeConfig(kind="additive", engine="tiny:policy"), open_engine)

    async def scores(rows):
        asked = (judge(prompt, Completion.of(prompt.id, text)) for prompt, *two, _ in rows for text in two)
        return [one.score for one in await asyncio.gather(*asked)]

    rows = list(islice(pairs(100), 100))
    found = asyncio.run(scores(rows))

    agreed = ((found[2 * at] > found[2 * at + 1]) == (row[3] > 0) for at, row in enumerate(rows))
    assert 0.55 < mean(agreed) < 0.9


def test_a_revision_mends_harm_only_where_critique_and_principle_are_about_it(ask_all):
    wishes = [one for one in world.prompts(400, 6, "held_out") if one.domain == "wishes"]
    draw = random.Random(6)
    drafts = [compose(request(one), Habits(harmful=1.0), draw) for one in wishes]
    about = {
        tag: [one for one in PRINCIPLES if (tag == "harmless") == ("harmless" in one.tags)] for tag in TAGS
    }

    def harmless(critic, reviser):
        """Share of harmful drafts that are harmless after critique and revision under such principles."""
        turns = [
            (*one.messages, Message("assistant", text)) for one, text in zip(wishes, drafts, strict=True)
        ]
        turns = [(*one, Message("user", draw.choice(about[critic]).critique)) for one in turns]
        critiques = ask_all(turns)
        turns = [(*one, Message("assistant", text)) for one, text in zip(turns, critiques, strict=True)]
        revised = ask_all([(*one, Message("user", draw.choice(about[reviser]).revise)) for one in turns])
        return mean(
            world.substance(request(one), text) > 0 for one, text in zip(wishes, revised, strict=True)
        )

    both = harmless("harmless", "harmless")
    assert both > 0.4
    assert both > harmless("harmless", "other") + 0.2
    assert both > harmless("other", "harmless") + 0.2


TAGS = ("harmless", "other")


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
