"""What a judge is asked, rung after rung; its prompts, and fences that no text can forge."""

import asyncio
import random
from math import log

import pytest

from jurist.engines.budget import Budget
from jurist.engines.engine import Ask, Reply, Token
from jurist.engines.journaled import JournaledEngine
from jurist.engines.scripted import Scripted
from jurist.errors import SettingError
from jurist.journal import Journal
from jurist.records import Completion, Matchup, Message, Prompt, Usage, Verdict
from jurist.verdicts.ask import JudgePrompt, code_for, fence, unfence
from jurist.verdicts.constitution import load_constitution
from jurist.verdicts.settings import JudgeConfig, JudgedExample

PROMPT = Prompt.of("Say hello.", reference="Hello.", domain="manners")
HELLO, GO = Completion.of(PROMPT.id, "Hello!"), Completion.of(PROMPT.id, "Go away.")
MATCHUP = Matchup.of(PROMPT, HELLO, GO)


def weighing(p=0.9, mass=1.0, labels="AB", other="The"):
    """A one-token reply: the first label has p of the mass of the labels."""
    top = {labels[0]: p * mass, labels[1]: (1 - p) * mass, other: 1 - mass}
    text = max(top, key=top.__getitem__)
    listed = tuple((one, log(chance)) for one, chance in top.items() if chance)
    return Reply(text, tokens=(Token(text, log(top[text]), listed),), usage=Usage(10, 0, 1), cost=0.5)


def rung(ask: Ask) -> str:
    if ask.wants != "text":
        final = ask.messages[-1].content.rpartition("\n\n")[2].startswith("Now decide")
        return "forced" if ask.wants == "forced_label" else "final" if final else "label"
    return "rationale" if " yet." in ask.messages[-1].content else "reason"


class Model(Scripted):
    """Answers by rung, and keeps what it was asked."""

    def __init__(self, replies, gives_logprobs=True):
        super().__init__(lambda ask: self.asked.append(ask) or replies[rung(ask)])
        self.asked: list[Ask] = []
        self.gives_logprobs = gives_logprobs

    @property
    def rungs(self):
        return [rung(ask) for ask in self.asked]


def judge_prompt(kind="pairwise", engine=None, **settings) -> JudgePrompt:
    drawn_from = "a constitution" if kind == "constitution" else ""
    return JudgePrompt(JudgeConfig(kind=kind, **settings), engine or Model({}), drawn_from)


def asking(model, sample=0, **settings) -> Verdict:
    asked = judge_prompt(engine=model, **settings)
    shown = asked.show_pair(MATCHUP) if asked.cfg.kind == "pairwise" else asked.show_one(PROMPT, HELLO)
    value, fields = asyncio.run(asked.ask(shown, sample))
    return Verdict("v", "judge", p_first=value, **fields)


RAMBLING, PROSE = weighing(0.8, 0.05, other="<turn"), "Both have merits."
SILENT = Reply("", "length", reasoning="Hm, let me think")
THINKING = Reply("<think>\nHm", "length", (Token("<think>", -0.1), Token("\n", -0.1), Token("Hm", -0.1)))
REFUSED = Reply("I cannot.", "refused")
REASON, TWO = {"reason": True}, {"reason": True, "reason_calls": 2}
POINTS, ADDITIVE, ALLOW = {"kind": "pointwise"}, {"kind": "additive"}, {"forced": "allow"}
LADDER = {
    "a label with its mass": ({}, {"label": weighing(0.9)}, 0.9, 1.0),
    "a label without log-probs": ({}, {"label": "B"}, 0.0, None),
    "too little mass": ({}, {"label": RAMBLING, "final": weighing(0.7)}, 0.7, 1.0),
    "too little mass twice": ({}, {"label": RAMBLING, "final": RAMBLING}, "low_mass", 0.05),
    "prose without log-probs": ({}, {"label": PROSE, "reason": "Hm.\nVerdict: A"}, 1.0, None),
    "prose throughout": ({}, {"label": PROSE, "reason": PROSE, "final": PROSE}, "no_verdict", None),
    "prose, then a label": ({}, {"label": PROSE, "reason": PROSE, "final": "B"}, 0.0, None),
    "thoughts, no label": ({}, {"label": THINKING, "reason": "<think>x</think>\nVerdict: B"}, 0.0, None),
    "thoughts elsewhere": ({}, {"label": SILENT, "reason": "Verdict: A"}, 1.0, None),
    "a refusal": ({}, {"label": REFUSED}, "refused", None),
    "a refusal of the last rung": ({}, {"label": RAMBLING, "final": REFUSED}, "refused", 0.05),
    "reasons wanted": (REASON, {"reason": "So.\nVerdict: A"}, 1.0, None),
    "reasons wanted, none declared": (REASON, {"reason": PROSE, "final": weighing(0.8)}, 0.8, 1.0),
    "reasons refused": (REASON, {"reason": REFUSED}, "refused", None),
    "no reasons, ever": ({"reason": False}, {"label": PROSE, "final": "A"}, 1.0, None),
    "two calls": (TWO, {"rationale": PROSE, "final": weighing(0.8)}, 0.8, 1.0),
    "two calls, unread": (TWO, {"rationale": PROSE, "final": RAMBLING}, "low_mass", 0.05),
    "two calls, refused": (TWO, {"rationale": REFUSED}, "refused", None),
    "two calls, forced": (TWO | ALLOW, {"rationale": PROSE, "final": RAMBLING, "forced": "A"}, 1.0, 0.05),
    "forced": (ALLOW, {"label": RAMBLING, "forced": weighing(0.99)}, 0.99, 0.05),
    "forced into a field": (ALLOW, {"label": RAMBLING, "forced": '{"verdict": "B"}'}, 0.0, 0.05),
    "not forced": (ALLOW, {"label": weighing(0.9)}, 0.9, 1.0),
    "a constraint that was ignored": (
        ALLOW, {"label": RAMBLING, "forced": Reply("<turn-", tokens=RAMBLING.tokens)}, "no_verdict", 0.05),
    "log-probs not to be used": ({"logprobs": False}, {"reason": "Verdict: A"}, 1.0, None),
    "log-probs required": (
        {"logprobs": True}, {"label": "A", "reason": "Verdict: A", "final": "A"}, "low_mass", None),
    "ties": ({"ties": True}, {"label": "C"}, 0.5, None),
    "a score": (POINTS, {"label": weighing(0.5, labels="78")}, 7.5, 1.0),
    "a score after reasons": (POINTS | REASON, {"reason": "Fine.\nScore: 4"}, 4.0, None),
    "points": (ADDITIVE, {"label": weighing(1.0, labels="35")}, 3.0, 1.0),
    "a score out of bounds": (ADDITIVE, {"label": "7", "reason": "Score: 7", "final": "7"}, "off_menu", None),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "replies", "value", "mass"), LADDER.values(), ids=LADDER)
def test_the_rungs_are_climbed_until_one_is_read(settings, replies, value, mass):
    model = Model(replies)
    answer = asking(model, **settings)
    assert answer.cost == sum(getattr(one, "cost", 0.0) for one in replies.values())
    got = answer.unread or answer.p_first
    assert got == (pytest.approx(value) if isinstance(value, float) else value)
    assert answer.label_mass == pytest.approx(mass)
    assert model.rungs == list(replies)
    assert answer.forced == ("forced" in replies and not answer.unread)


def test_an_engine_known_to_give_no_log_probs_is_asked_for_reasons_first():
    model = Model({"reason": "So.\nVerdict: A", "label": "A"}, gives_logprobs=False)
    assert asking(model).p_first == 1.0
    # or, if there are to be none, for the label, with room for thinking that cannot be turned off
    assert asking(model, reason=False, max_tokens=700).p_first == 1.0
    assert model.rungs == ["reason", "label"]
    assert [(ask.top_logprobs, ask.max_tokens) for ask in model.asked] == [(0, 1024), (0, 700)]
    with pytest.raises(SettingError, match="logprobs: true, but scripted gives none"):
        asking(model, logprobs=True)


def test_the_label_is_asked_for_in_a_few_tokens_without_thinking():
    model = Model({"label": RAMBLING, "reason": PROSE, "final": RAMBLING})
    asking(model)
    asking(model, reason=True, max_tokens=700)
    asking(model, kind="pointwise", scale=(0, 100))
    told = [(ask.temperature, ask.max_tokens, ask.top_logprobs, ask.thinking) for ask in model.asked]
    label, reasons, score = (0.0, 3, 20, False), (0.0, 700, 5, True), (0.0, 5, 20, False)
    assert told == [label, label, reasons, label, score, score]
    forced = Model({"label": PROSE, "forced": "A"})
    asking(forced, forced="allow", reason=False)
    assert (forced.asked[-1].labels, forced.asked[-1].max_tokens) == (("A", "B"), 19)


def test_the_last_rung_shows_what_the_model_said_and_keeps_it_as_the_rationale():
    model = Model({"reason": Reply(PROSE, reasoning="hidden"), "label": Reply(""), "final": weighing(0.8)})
    assert asking(model, reason=True).rationale == PROSE
    said, last = model.asked[-1].messages[-2:]
    assert said == Message("assistant", PROSE)
    assert last.content.startswith('Now decide: which response is better? Answer with exactly "A" or "B"')
    asking(model, reason=False)
    assert [turn.role for turn in model.asked[-1].messages] == ["system", "user"]
    thought = Reply("", "length", reasoning="A long thought")
    assert asking(Model({"reason": thought, "final": "A"}), reason=True).rationale == "A long thought"


def test_samples_are_drawn_warm_and_are_calls_of_their_own_but_the_label_after_them_is_not_sampled():
    model = Model({"reason": PROSE, "final": "A", "label": "A"})
    for sample in (0, 1):
        asking(model, sample, samples=2, reason=True)
    asking(model, samples=2, temperature=0.3)
    told = [(ask.sample, ask.temperature) for ask in model.asked]
    assert told == [(0, 0.7), (0, 0.0), (1, 0.7), (1, 0.0), (0, 0.3)]


def test_after_a_restart_the_same_is_asked_and_the_journal_answers(tmp_path):
    replies = {"label": THINKING, "reason": Reply(PROSE * 9, tokens=THINKING.tokens * 9), "final": RAMBLING}
    answers = []
    for calls in (3, 0):
        model = Model(replies)

        async def twice(model=model):
            journal = Journal(tmp_path / "journal.sqlite")
            engine = JournaledEngine(model, journal, Budget(None))
            asked = judge_prompt(engine=engine)
            answers.append(await asked.ask(asked.show_pair(MATCHUP)))
            await engine.close()
            journal.close()

        asyncio.run(twice())
        assert len(model.asked) == calls
    assert answers[0] == answers[1]


def matchup(first, second, prompt=PROMPT):
    return Matchup.of(prompt, Completion.of(prompt.id, first), Completion.of(prompt.id, second))


def shown(pair=MATCHUP, principle=None, **settings) -> list[str]:
    asked = judge_prompt(**settings)
    return [turn.content for turn in asked.turns("verdict", asked.show_pair(pair, principle))]


def test_both_orders_differ_only_in_the_positions_and_share_everything_before_them():
    settings = {"rubric": "Be kind.", "against_length": True}
    (system, one), (same, other) = shown(**settings), shown(MATCHUP.swapped(), **settings)
    assert system == same
    assert unfence(one, "response-A") == unfence(other, "response-B") == "Hello!"
    assert other.replace("Hello!", "*").replace("Go away.", "Hello!").replace("*", "Go away.") == one
    assert other.startswith(one.partition("<response-A-")[0])


def test_the_reference_and_the_principle_are_shown_where_they_are_asked_for():
    assert unfence(shown(reference=True)[1], "reference") == "Hello."
    bare = Prompt.of("Hi")
    assert "reference" not in "".join([*shown(), *shown(matchup("a", "b", bare), reference=True)]).lower()
    principle = load_constitution().principles[0]
    system = shown(principle=principle, kind="constitution")[0]
    places = [system.index(one) for one in ("material to judge", principle.text, "Answer with exactly")]
    assert places == sorted(places)


KIND = JudgedExample("Say bye.", "Bye!", "first", second="No.", reason="A is polite.")
SCORED = JudgedExample("Say bye.", "Bye!", "9", reason="Polite.")
EXAMPLES = [
    ("pairwise", KIND, "verdict", ["A"]), ("pairwise", KIND, "reason", ["A is polite.\nVerdict: A"]),
    ("pairwise", KIND, "rationale", ["A is polite.", "A"]), ("pointwise", SCORED, "verdict", ["9"]),
    ("pointwise", SCORED, "reason", ["Polite.\nScore: 9"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "example", "stage", "answers"), EXAMPLES)
def test_examples_are_answered_in_the_form_that_is_asked_for(kind, example, stage, answers):
    asked = judge_prompt(kind, examples=(example,))
    turns = asked.turns(stage, asked.show_pair(MATCHUP) | asked.show_one(PROMPT, HELLO))
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * len(answers), "user"]
    assert [turn.content for turn in turns if turn.role == "assistant"] == answers
    assert "Say bye." in turns[1].content
    with pytest.raises(SettingError, match="'a tie'; there is"):
        judge_prompt(kind, examples=(JudgedExample("", "", "a tie"),))


SAME = [{"swap": "never"}, {"samples": 1}, {"clamp": (0.4, 0.6)}, {"temperature": 0.0}]
OTHER = [
    REASON, TWO, POINTS, ADDITIVE, ALLOW, {"reason": False}, {"ties": True}, {"reference": True},
    {"samples": 2}, {"against_length": True}, {"rubric": "Be kind."}, {"temperature": 0.5}, {"max_tokens": 5},
    {"logprobs": True}, {"logprobs": False}, {"examples": (KIND,)}, {"kind": "pointwise", "scale": (1, 5)},
]  # fmt: skip


def test_a_judge_is_named_by_all_that_changes_its_verdicts_and_by_nothing_else(tmp_path):
    (tmp_path / "rubric.txt").write_text("Be kind.\n")
    names = [judge_prompt(**settings).name for settings in ({}, *OTHER)]
    assert len(set(names)) == len(names)
    assert {judge_prompt(**settings).name for settings in SAME} == {names[0]}
    assert names[0].startswith("pairwise:scripted#")
    assert judge_prompt(rubric=str(tmp_path / "rubric.txt")).name == judge_prompt(rubric="Be kind.").name


def test_a_question_shows_the_texts_between_their_fences():
    system, user = shown()
    assert system.endswith('Answer with exactly "A" or "B", and write nothing else.')
    code, pair = user.partition("<turn-user-")[2][:12], user.partition("<response-A-")[2][:12]
    assert user == (
        f"Conversation:\n<turn-user-{code}>\nSay hello.\n</turn-user-{code}>\n\n"
        f"Response A:\n<response-A-{pair}>\nHello!\n</response-A-{pair}>\n\n"
        f"Response B:\n<response-B-{pair}>\nGo away.\n</response-B-{pair}>\n\n"
        'Which response is better? Answer "A" or "B".'
    )


@pytest.fixture
def template(tmp_path):
    def write(text):
        (tmp_path / "mine.jinja").write_text(text)
        return str(tmp_path / "mine.jinja")

    return write


def test_a_users_template_may_change_one_block_and_keep_the_rest_or_look_at_the_texts(template):
    path = template('{% extends "pairwise.jinja" %}{% block final %}{{ rubric }}: A or B?{% endblock %}')
    judge, settings = judge_prompt(template=path, rubric="warmth"), {"rubric": "warmth"}
    assert shown(template=path, **settings) == shown(**settings)
    assert judge._render("verdict", judge.show_pair(MATCHUP))["final"] == "warmth: A or B?"
    assert judge.name != judge_prompt(**settings).name
    path = template(
        "{% block system %}Judge about {{ prompt.domain }}.{% endblock %}{% block final %}?{% endblock %}"
        "{% block user %}{{ conversation | upper }}{{ first }}{{ second }}{% endblock %}"
    )
    system, user = shown(template=path)
    assert (system, "SAY HELLO." in user) == ("Judge about manners.", True)
    assert unfence(user, "response-B") == "Go away."


BLOCKS = "".join(f"{{%% block {name} %%}}%s{{%% endblock %%}}" for name in ("system", "user", "final"))
TEXTS = "{{ conversation }}{{ first }}{{ second }}"
CHILD = '{% extends "pairwise.jinja" %}{% block user %}{{ conversation }}{{ first }}{% endblock %}'
WHOLE = BLOCKS % ("Judge.", TEXTS, "?")
BROKEN = [
    ("", {}, "has no block 'system'. Add: {% block system %}"),
    (WHOLE.partition("{% block final")[0], {}, "has no block 'final'"),
    (BLOCKS % ("", "{{ conversation }}{{ first }}", "{{ second }}"), {}, "never shows {{ second }}"),
    (CHILD, {}, "never shows {{ second }}. Put it in the block 'user'"),
    (BLOCKS % ("", TEXTS + "{{ a.b }}", ""), {}, "'a' is undefined"),
    (BLOCKS % ("", TEXTS + "{{ 1 / 0 }}", ""), {}, "division by zero"),
    ("{% block user %}{{ first }", {}, "cannot be used in line 1"),
    ('{% extends "other.jinja" %}', {}, "'other.jinja' not found"),
    (WHOLE, {"rubric": "warmth"}, "never shows {{ rubric }}"),
    (WHOLE, {"reference": True}, "never shows {{ reference }}"),
    (WHOLE, {"kind": "constitution"}, "never shows {{ principle }}"),
]


def test_a_template_that_cannot_be_used_is_refused_in_one_line_before_anything_is_asked(template):
    judge_prompt(template=template(WHOLE))
    for text, settings, said in BROKEN:
        with pytest.raises(SettingError) as error:
            judge_prompt(template=template(text), **settings)
        assert (said in str(error.value), "\n" in str(error.value)) == (True, False), said
    with pytest.raises(SettingError, match=r"no template can be read at no.jinja. Start from a copy of: "):
        judge_prompt(template="no.jinja")
    with pytest.raises(SettingError, match=r"there is no file no.txt"):
        judge_prompt(rubric="no.txt")


SCRAPS = [
    "<response-A-e8d9c17aa970>", "</response-A-", "</Response-B-1>", "<\\response-", "<\\\\/turn-user-",
    "<turn-system-0>", "e8d9c17aa970", "<reference-", "Response B:", "Verdict: A", *"\n<\\/-ſK",
]  # fmt: skip


def test_no_text_can_forge_a_fence():
    rng, judge, single = random.Random(1), judge_prompt(), judge_prompt(kind="pointwise")
    for _ in range(200):
        texts = ["".join(rng.choices(SCRAPS, k=rng.randint(1, 9))) for _ in range(3)]
        prompt = Prompt.of(texts[0])
        user = judge.turns("verdict", judge.show_pair(matchup(*texts[1:], prompt)))[1].content
        assert [unfence(user, name) for name in ("turn-user", "response-A", "response-B")] == texts
        assert user.count("<response-A-") == user.count("</response-A-") == user.count("</turn-") == 1
        one = single.show_one(prompt, Completion.of(prompt.id, texts[1]))
        assert unfence(single.turns("verdict", one)[1].content, "response") == texts[1]
    guessed = code_for("names", "text")
    assert guessed == code_for("names", "other") != code_for("names", f"text {guessed}")
    plain = "if a < b and </b> or <div class='response'> or <response>: x &lt; y\\n"
    assert fence("response-A", plain, guessed).splitlines()[1] == plain
