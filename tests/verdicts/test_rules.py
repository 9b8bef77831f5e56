"""Judges that need no model."""

import asyncio

import pytest

from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.verdicts.judge import ask_judges, open_judge
from jurist.verdicts.settle import settle


def nobody(spec: object) -> object:
    raise AssertionError("a rule asks no model")


def checked(rule: str, text: str, reference: str | None = None) -> Verdict:
    prompt = Prompt.of("?", reference=reference)
    return asyncio.run(open_judge(rule, nobody)(prompt, Completion.of(prompt.id, text)))


CHECKS = [
    ("exact", "Paris", "paris", 1), ("exact", "  **Paris.** ", "Paris", 1), ("exact", "", "Paris", 0),
    ("exact", "In France, so the answer is: Paris.", "Paris", 1), ("exact", "Paris, France", "Paris", 0),
    ("exact", "Thus \\boxed{42}", "42", 1), ("exact", "The answer is \\boxed{42}.", "42", 1),
    ("exact", "First 41.\n#### 42", "42", 1), ("numeric", "3 + 4 is 7", "7", 1),
    ("numeric", "It costs $1,234.50.", "1234.5", 1), ("numeric", "about 7.004", "7", 0),
    ("numeric:0.001", "about 7.004", "7", 1), ("numeric", "-3", "3", 0), ("numeric", "1e3", "1000", 1),
    ("numeric", "The answer is 12, and not 15", "12", 1), ("numeric", "no idea", "7", 0),
    ("numeric", "The answer is 12. No: the answer is 15.", "15", 1), ("numeric", "\\boxed{7} of 9", "7", 1),
    ("numeric", "The answer is 3/4.", "0.75", 1), ("numeric", "It makes 5/4", "3/4", 0),
    (r"regex:^\d{4}$", "1984", None, 1), (r"regex:^\d{4}$", "in 1984", None, 0),
]  # fmt: skip


def test_a_rule_checks_what_can_be_checked():
    for rule, text, reference, score in CHECKS:
        verdict = checked(rule, text, reference)
        assert (verdict.score, verdict.judge) == (score, rule), text
    for rule, reference in (("exact", None), ("numeric", None), ("numeric", "seven")):
        verdict = checked(rule, "7", reference)
        assert (verdict.score, verdict.unread) == (None, "no_reference")


PLANTED = [("shorter", "ab", 0.0), ("longer", "ab", 1.0), ("first", "ab", 0.5), ("second", "ab", 0.5)]


def test_a_planted_judge_goes_by_one_thing_only():
    prompt = Prompt.of("?")
    for name, text, p in (*PLANTED, ("shorter", "a", 0.5), ("longer", "a", 0.5)):
        matchup = Matchup.of(prompt, Completion.of(prompt.id, text), Completion.of(prompt.id, "b"))
        verdicts = asyncio.run(ask_judges(prompt, (), [matchup], [open_judge(name, nobody)]))
        assert settle(verdicts, matchup).p_first == p
        assert [one.judge for one in verdicts] == [name, name]


SCHEMA = """{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
    "name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}}}}"""
ANSWERS = {
    '{"name": "Ann", "age": 3}': 1, 'Here it is:\n```json\n{"name": "Ann", "tags": ["a"]}\n```': 1,
    '{"name": ""}': 0, '{"age": 3}': 0, '{"name": "Ann", "age": 3.5}': 0, '{"name": "Ann", "age": true}': 0,
    '{"name": "Ann", "tags": ["c"]}': 0, '{"name": "Ann", "other": 1}': 0, '{"name": "Ann"': 0, "Ann": 0,
    "```\nx" * 50_000: 0, '{"a":' * 50_000: 0,
}  # fmt: skip


def test_json_is_checked_against_its_schema(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(SCHEMA)
    for text, score in ANSWERS.items():
        assert checked(f"json_schema:{path}", text).score == score, text[:50]


REFUSED = {
    "regex:(": "is no regular expression",
    "numeric:close": "set kind: numeric:0.01",
    "json_schema:nowhere.json": "Set kind: json_schema:schema.json",
    "json_schema:broken.json": "no JSON schema can be read at 'broken.json': 'objekt'",
    "json_schema:pattern.json": r"'\(' is not a 'regex'",
    "json_schema:items.json": "is not of type 'object', 'boolean'",
}


def test_a_rule_that_makes_no_sense_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"properties": {"a": {"type": "objekt"}}}')
    (tmp_path / "pattern.json").write_text('{"pattern": "("}')
    (tmp_path / "items.json").write_text('{"items": [{"type": "string"}]}')
    for rule, complaint in REFUSED.items():
        with pytest.raises(SettingError, match=complaint):
            open_judge(rule, nobody)
