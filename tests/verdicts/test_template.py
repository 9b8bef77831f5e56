"""Templates of questions: what a user may change, and what a broken one says."""

from __future__ import annotations

import pytest

from jurist.engines.scripted import Scripted
from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.ask import Question
from jurist.verdicts.constitution import load_constitution
from jurist.verdicts.fence import unfence
from jurist.verdicts.settings import JudgeConfig
from jurist.verdicts.template import OURS, Form, QuestionTemplate


def question(**settings: object) -> Question:
    return Question(JudgeConfig(**settings), "pairwise", Scripted(lambda ask: "A"))  # type: ignore[arg-type]


def matchup(first: str, second: str, prompt: Prompt) -> Matchup:
    return Matchup.of(prompt, Completion.of(prompt.id, first), Completion.of(prompt.id, second))


MATCHUP = matchup("Hello!", "Go away.", Prompt.of("Say hello."))


def test_a_users_template_may_change_one_block_and_keep_the_rest(tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text(
        '{% extends "pairwise.jinja" %}{% block system %}Judge by {{ rubric }}.{% endblock %}'
    )
    system, user = question(template=str(template), rubric="warmth").pair(MATCHUP).messages

    assert system.content == "Judge by warmth."
    assert user == question().pair(MATCHUP).messages[1]


def test_a_template_that_looks_at_the_texts_is_rendered_for_each_question(tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text(
        "{% block system %}Judge about {{ prompt.domain }}.{% endblock %}{% block user %}"
        "{{ conversation | upper }}{% if first | length > 60 %}long{% endif %}{{ first }}{{ second }}"
        "{% endblock %}"
    )
    q = question(template=str(template))
    prompt = Prompt.of("Say hello.", domain="manners")
    system, user = q.pair(matchup("Hello!" * 9, "x", prompt)).messages

    assert system.content == "Judge about manners."
    assert "SAY HELLO." in user.content
    assert "long" in user.content
    assert "long" not in q.pair(matchup("x", "y", prompt)).messages[1].content
    assert unfence(user.content, "response-B") == "x"


@pytest.mark.parametrize("principle", [None, load_constitution().principles[0]])
@pytest.mark.parametrize("ours", sorted(path.name for path in OURS.glob("*.jinja")))
def test_our_templates_cut_beforehand_say_what_they_say_rendered(ours, principle):
    fixed = {"stage": "verdict", "against_length": True, "rubric": "", "ties": True, "low": 1, "high": 9}
    fixed |= {"has_reference": True, "principle": principle.text if principle else ""}
    texts = {slot: f"<{slot}>" for slot in ("conversation", "reference", "first", "second", "response")}
    template = QuestionTemplate("", ours, ())
    blocks = template.render({**fixed, **texts})

    assert Form(template, fixed, texts).fill(texts) == (blocks["system"], blocks["user"])


SYSTEM_ONLY, TEXTS_SHOWN = "{% block system %}{% endblock %}", "{{ conversation }}{{ first }}{{ second }}"
BROKEN = [
    (SYSTEM_ONLY + TEXTS_SHOWN, "has no block 'user'"),
    (SYSTEM_ONLY + "{% block user %}{{ conversation }}{{ first }}{% endblock %}", "{{ second }}"),
    ("{% block user %}{{ first }", "cannot be used in line 1"),
    ('{% extends "other.jinja" %}', "'other.jinja' is not one of additive.jinja"),
    (SYSTEM_ONLY + "{% block user %}{{ a.b }}" + TEXTS_SHOWN + "{% endblock %}", "'a'"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_broken_template_is_refused_in_one_line(tmp_path, text, said):
    template = tmp_path / "mine.jinja"
    template.write_text(text)

    with pytest.raises(SettingError) as error:
        question(template=str(template)).pair(MATCHUP)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_template_that_is_not_there_is_refused():
    with pytest.raises(
        SettingError,
        match=r"no template can be read at nowhere.jinja. Start from a copy of: .*pairwise.jinja",
    ):
        question(template="nowhere.jinja")
