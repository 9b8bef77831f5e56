"""Principles, and which of them is drawn."""

import asyncio
from collections import Counter

import pytest

from jurist.engines.engine import Ask
from jurist.engines.scripted import Scripted
from jurist.errors import DataError
from jurist.records import Completion, Matchup, Prompt, content_id
from jurist.verdicts.constitution import Constitution, Principle, draw, load_constitution
from jurist.verdicts.judge import ask_judges, open_judge

OURS = load_constitution()
PROMPT = Prompt.of("Say hello.")
TEXTS = [Completion.of(PROMPT.id, text) for text in ("Hello!", "Hi.", "Hey", "Yo")]


def test_ours_has_sixteen_principles_or_more_that_cover_all_four_aims_and_can_be_used_in_all_three_ways():
    tags = Counter(tag for one in OURS.principles for tag in one.tags)
    assert len(OURS.principles) >= 16
    assert set(tags) == {"helpful", "honest", "harmless", "not_preachy"}
    assert min(tags.values()) >= 4
    for one in OURS.principles:
        assert one.text.startswith(("Choose", "Think", "Read", "Check", "Where", "In questions")), one.id
        assert ("?" in one.critique, one.revise[:7], one.weight) == (True, "Rewrite", 1.0), one.id


def test_principles_are_drawn_evenly_or_by_weight_and_the_same_for_the_same_question():
    names = Counter(draw(OURS, content_id(number)).id for number in range(2000))
    expected = 2000 / len(OURS.principles)
    assert len(names) == len(OURS.principles)
    # Chi-squared with 19 degrees of freedom stays below 43.8 in 999 of 1000 cases.
    assert sum((count - expected) ** 2 / expected for count in names.values()) < 43.8

    weights = {"often": 3, "never": 0, "rarely": 1}
    some = Constitution(tuple(Principle(one, one, one, "c", "r", weight=w) for one, w in weights.items()))
    names = Counter(draw(some, content_id(number)).id for number in range(1000))
    assert (names["never"], names["often"]) == (0, pytest.approx(750, abs=60))

    assert len({draw(OURS, "m", seed, sample).id for seed in range(10) for sample in range(10)}) > 10
    assert draw(OURS, "m", 3, 4) == draw(load_constitution(), "m", 3, 4)


def test_both_orders_of_a_matchup_are_asked_under_the_same_principle_and_it_is_kept():
    asks: list[Ask] = []
    settings = {"kind": "constitution", "engine": "x", "samples": 3}
    judge = open_judge(settings, lambda spec: Scripted(lambda ask: asks.append(ask) or "A"), 7)
    matchups = [Matchup.of(PROMPT, TEXTS[0], other) for other in TEXTS[1:]]
    verdicts = asyncio.run(ask_judges(PROMPT, TEXTS, matchups, [judge]))
    texts = {one.id: one.text for one in OURS.principles}
    assert len(verdicts) == 18
    assert len({(one.matchup_id, one.sample, one.principle) for one in verdicts}) == 9
    assert len({one.principle for one in verdicts}) > 2
    for one, ask in zip(verdicts, asks, strict=True):
        assert texts[one.principle] in ask.messages[0].content


ROW = "- {id: a, title: A, text: Choose A., critique: c, revise: r"
BAD = {
    "principles: [": "not YAML",
    "principles: 3": "Expected `array`, got `int`",
    f"principles:\n  {ROW}, weigth: 2}}": "unknown field `weigth`",
    "principles:\n  - {id: a}": "missing required field `title`",
    f"principles:\n  {ROW}}}\n  {ROW}}}": "called 'a'. Rename one",
    f"principles:\n  {ROW}, weight: -1}}": "Expected `float` >= 0.0",
    f"principles:\n  {ROW}, weight: 0}}": "no principle to draw",
    "principles: []": "no principle to draw",
    "": "Expected `array`, got `null`",
}


def test_another_constitution_is_another_judge_and_a_broken_one_is_refused_in_one_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"principles:\n  {ROW}}}\n")

    def name(seed: int = 0, **more: str) -> str:
        settings = {"kind": "constitution", "engine": "x", **more}
        return open_judge(settings, lambda spec: Scripted(str), seed).name

    assert len({name(), name(), name(1), name(constitution=str(path))}) == 3
    for text, complaint in BAD.items():
        path.write_text(text)
        with pytest.raises(DataError) as error:
            load_constitution(path)
        said = str(error.value)
        assert (complaint in said, str(path) in said, "\n" in said) == (True, True, False), text
    with pytest.raises(DataError, match=r"no constitution at nowhere.yaml. Start from a copy of: "):
        load_constitution("nowhere.yaml")
