"""A judge that favours its own family is found with human labels, and where it can be, without."""

import pytest
from finding import findings

from jurist.audits.self_preference import load_families, our_families, self_preference
from jurist.errors import SettingError
from support.simulated import Simulated, World, simulate

POLICIES = ("openai:gpt-5-nano", "vllm:Qwen/Qwen3-8B@http://127.0.0.1:8000/v1", "hf:Llama-3-8B#0123456789ab")
BIASED = Simulated("pairwise:openai:gpt-5-mini#abc123", own=1.0, kin=POLICIES[0])
FAIR = Simulated("pairwise:openai:gpt-5-mini#abc123")
OTHER = Simulated("pairwise:anthropic:claude-sonnet#abc123")


def audited(*judges, seed=0, policies=POLICIES, **world):
    return findings(self_preference(simulate(judges, World(policies=policies, **world), seed)[0]))


def test_a_judge_that_favours_its_own_is_an_alarm_by_human_labels():
    (gap,) = audited(BIASED, OTHER, prompts=600)

    assert (gap.name, gap.grade) == ("self_preference.gap", "alarm")
    assert gap.low > 0.05
    assert "(gpt)" in gap.says
    assert "jury" in gap.advice
    assert gap.examples


def test_a_judge_that_does_not_is_cleared_by_them():
    gaps = [audited(FAIR, prompts=200, seed=seed)[0] for seed in range(20)]

    assert sum(gap.grade in ("alarm", "warning") for gap in gaps) <= 1
    assert abs(sum(gap.value for gap in gaps) / 20) < 0.03


@pytest.mark.parametrize(("judge", "policies"), [(FAIR, ("gpt-4", "gpt-5")), (OTHER, POLICIES)])
def test_where_no_judge_had_to_choose_between_its_own_and_another_all_is_fine(judge, policies):
    (kin,) = audited(judge, prompts=20, policies=policies)

    assert (kin.name, kin.grade, kin.value) == ("self_preference.kin", "fine", 0.0)
    assert kin.says == "No judge compared an answer of its own family with another's."


def test_without_human_labels_it_shows_beside_judges_related_to_neither():
    (excess,) = audited(BIASED, OTHER, prompts=600, people=0)

    assert (excess.name, excess.grade) == ("self_preference.excess", "alarm")


def test_a_relative_judged_with_nobody_to_compare_is_a_warning():
    (kin,) = audited(FAIR, prompts=50, people=0)

    assert (kin.name, kin.grade) == ("self_preference.kin", "warning")
    assert "its own family (gpt)" in kin.says


def test_nameless_authors_and_no_verdicts_leave_it_open():
    assert [one.grade for one in audited(FAIR, prompts=20, policies=("",))] == ["silent"]
    assert [one.grade for one in audited(FAIR, prompts=0)] == ["silent"]


@pytest.mark.parametrize(
    ("policy", "family"),
    [
        ("openai:gpt-5-mini", "gpt"),
        ("o3-mini", "gpt"),
        ("anthropic:claude-opus-4", "claude"),
        ("google/gemma-3-4b", "google"),
        ("65b-guanaco", "llama"),
        ("mixtral-8x7b", "mistral"),
        ("vllm:Qwen/Qwen3-8B@http://gpt.example:8000/v1", "qwen"),
        ("human", "humans"),
        ("tiny:policy", "tiny:policy"),
        ("", ""),
    ],
)
def test_a_family_is_told_from_the_models_name_and_not_from_its_address(policy, family):
    assert our_families().of_policy(policy) == family


def test_the_same_unknown_engine_as_judge_and_policy_is_one_family():
    table = our_families()

    assert table.of_judge("pairwise:hf:model#0123456789ab#c0ffee") == table.of_policy("hf:model#0123456789ab")


def test_a_file_of_families_goes_before_ours(tmp_path):
    file = tmp_path / "families.yaml"
    file.write_text("acme: ['acme-', coyote]\nqwen: never\n")
    table = load_families(file)

    assert table.of_policy("acme-gpt-4") == "acme"
    assert table.of_policy("Qwen3-8B") == "qwen3-8b"


@pytest.mark.parametrize("text", ["- a", "acme: 3", "acme: ['(']", "acme: [", "acme: []"])
def test_a_file_that_names_no_families_is_refused_with_a_line_to_write(tmp_path, text):
    file = tmp_path / "families.yaml"
    file.write_text(text)

    with pytest.raises(SettingError, match="Write a line like"):
        load_families(file)
