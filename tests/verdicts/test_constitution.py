from __future__ import annotations

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


def principle(name: str, weight: float = 1.0) -> Principle:
    return Principle(name, name, f"Choose by {name}.", "c", "r", weight=weight)


def test_ours_has_sixteen_principles_or_more_and_covers_all_four_aims():
    tags = Counter(tag for one in OURS.principles for tag in one.tags)

    assert len(OURS.principles) >= 16
    assert set(tags) == {"helpful", "honest", "harmless", "not_preachy"}
    assert min(tags.values()) >= 4


def test_every_principle_of_ours_can_be_compared_by_criticised_by_and_revised_by():
    for one in OURS.principles:
        assert one.text.startswith(("Choose", "Think", "Read", "Check", "Where", "In questions")), one.id
        assert "?" in one.critique, one.id
        assert one.revise.startswith("Rewrite"), one.id
        assert one.weight == 1.0


def test_principles_are_drawn_evenly():
    names = Counter(draw(OURS, content_id(number)).id for number in range(4000))
    expected = 4000 / len(OURS.principles)

    assert len(names) == len(OURS.principles)
    # Chi-squared with 19 degrees of freedom stays below 43.8 in 999 of 1000 cases.
    assert sum((count - expected) ** 2 / expected for count in names.values()) < 43.8


def test_a_weight_is_how_often_a_principle_is_drawn():
    some = Constitution((principle("often", 3), principle("never", 0), principle("rarely", 1)))
    names = Counter(draw(some, content_id(number)).id for number in range(2000))

    assert names["never"] == 0
    assert names["often"] == pytest.approx(1500, abs=80)


def test_the_draw_depends_on_the_matchup_the_seed_and_the_sample_and_on_nothing_else():
    drawn = {draw(OURS, "m", seed, sample).id for seed in range(10) for sample in range(10)}

    assert len(drawn) > 10
    assert draw(OURS, "m", 3, 4) == draw(load_constitution(), "m", 3, 4)


def test_both_orders_of_a_matchup_are_asked_under_the_same_principle_and_it_is_kept():
    asks: list[Ask] = []

    def first_seat(ask: Ask) -> str:
        asks.append(ask)
        return "A"

    judge = open_judge(
        {"kind": "constitution", "engine": "x", "samples": 3}, lambda spec: Scripted(first_seat), 7
    )
    matchups = [Matchup.of(PROMPT, TEXTS[0], other) for other in TEXTS[1:]]
    verdicts = asyncio.run(ask_judges(PROMPT, TEXTS, matchups, [judge]))

    texts = {one.id: one.text for one in OURS.principles}
    by_question = {(one.matchup_id, one.sample, one.principle) for one in verdicts}
    assert len(verdicts) == 18
    assert len(by_question) == 9
    assert len({one.principle for one in verdicts}) > 2
    for one, ask in zip(verdicts, asks, strict=True):
        assert texts[one.principle] in ask.messages[0].content


def test_another_constitution_or_seed_makes_another_judge(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("principles:\n  - {id: a, title: A, text: Choose A., critique: c, revise: r}\n")

    def name(seed: int = 0, **more: str) -> str:
        cfg = {"kind": "constitution", "engine": "x", **more}
        return open_judge(cfg, lambda spec: Scripted(lambda ask: "A"), seed).name

    assert len({name(), name(1), name(constitution=str(mine))}) == 3
    assert name() == name()


ROW = "- {id: a, title: A, text: Choose A., critique: c, revise: r"
BAD = [
    ("principles: [", "not YAML"),
    ("principles: 3", "Expected `array`, got `int`"),
    (f"principles:\n  {ROW}, weigth: 2}}", "unknown field `weigth`"),
    ("principles:\n  - {id: a}", "missing required field `title`"),
    (f"principles:\n  {ROW}}}\n  {ROW}}}", "called 'a'. Rename one"),
    (f"principles:\n  {ROW}, weight: -1}}", "Expected `float` >= 0.0"),
    (f"principles:\n  {ROW}, weight: 0}}", "no principle to draw"),
    ("principles: []", "no principle to draw"),
    ("", "Expected `array`, got `null`"),
]


@pytest.mark.parametrize(("text", "complaint"), BAD)
def test_a_broken_constitution_is_refused_in_one_line(tmp_path, text, complaint):
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(DataError) as error:
        load_constitution(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_constitution_that_is_not_there_is_refused_with_one_to_copy():
    with pytest.raises(
        DataError,
        match=r"there is no constitution at nowhere.yaml. Start from a copy of: .*constitution.yaml",
    ):
        load_constitution("nowhere.yaml")
