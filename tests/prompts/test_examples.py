from importlib.resources import files

import pytest

from jurist.completions import load_groups, matchups
from jurist.prompts import load_prompts

EXAMPLES = str(files("jurist.examples"))


def test_the_example_prompts_are_of_every_kind():
    prompts = list(load_prompts(f"{EXAMPLES}/prompts.jsonl"))

    assert len(prompts) == 24
    assert {p.domain for p in prompts} == {"sums", "talk", "wishes", "medicine"}
    assert all((p.domain == "sums") == (p.reference is not None) for p in prompts)
    assert all((p.domain == "medicine") == (p.stakes == "high") for p in prompts)
    assert {len(p.messages) for p in prompts} == {1, 2, 3}


@pytest.mark.parametrize(("name", "groups", "met", "labels"), [("completions", 4, 12, 0), ("pairs", 6, 6, 6)])
def test_the_example_completions_and_pairs_load(name, groups, met, labels):
    loaded = list(load_groups(f"{EXAMPLES}/{name}.jsonl"))

    assert len(loaded) == groups
    assert sum(len(matchups(group)[0]) for group in loaded) == met
    assert sum(len(group.labels) for group in loaded) == labels
