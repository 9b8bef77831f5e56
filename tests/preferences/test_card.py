import yaml

from jurist.preferences.card import Counts, card, write_card
from jurist.records import Completion, Dropped, Preference, Prompt, Verdict
from jurist.verdicts.opinion import Opinion


def counted():
    counts = Counts(prompts=3, completions=6, matchups=3)
    prompt = Prompt.of("Why?", stakes="high")
    long, short = Completion.of(prompt.id, "a long answer"), Completion.of(prompt.id, "short")
    counts.verdict(Verdict("v1", "j|1", p_first=0.9, cost=0.25))
    counts.verdict(Verdict("v2", "j|1", unread="refused", order="swapped", cost=0.25))
    counts.verdict(Verdict("v3", "human:file", p_first=1.0))
    counts.opinion(Opinion("m", long.id, short.id, p_first=0.9, position_gap=0.1))
    counts.opinion(Opinion("n", long.id, short.id, p_first=0.5, position_gap=0.8, flipped=True))
    counts.opinion(Opinion("o", long.id, short.id, unread="refused"))
    counts.preference(Preference("p", prompt, long, short, 0.9, flags=("length_gap",)))
    counts.preference(Preference("q", prompt, short, long, 1.0))
    counts.drop(Dropped("m", "preferences", "tie"))
    counts.drop(Dropped("n", "preferences", "tie"))
    return counts


def test_the_card_has_every_count():
    text = card(
        counted(),
        name="my pairs",
        splits={"train": "train.jsonl"},
        settings={"rule": "rho"},
        versions={"jurist": "0.1"},
    )

    for line in (
        "| prompts | 3 |",
        "| verdicts | 2 |",
        "| unread verdicts | 1 (50.0%) |",
        "| `human:file`, verdicts | 1 |",
        "| verdicts with the seats exchanged | 1 (50.0%) |",
        "| asked in both orders | 2 (66.7%) |",
        "| of these, went with the seat (flip rate) | 1 (50.0%) |",
        "| preferences | 2 |",
        "| on high-stakes prompts | 2 (100.0%) |",
        "| dropped | 2 |",
        "| cost of the verdicts, US dollars | 0.50 |",
        "| the same a preference | 0.25000 |",
        "| `j\\|1`, verdicts | 2 |",
        "| 0.90 to 0.95 | 1 (50.0%) |",
        "| 0.95 to 1.00 | 1 (50.0%) |",
        "| chosen is longer | 1 (50.0%) |",
        "| length_gap | 1 |",
        "| preferences: tie | 2 |",
        "| rule | `rho` |",
        "| jurist | 0.1 |",
    ):
        assert line in text


def test_the_header_says_where_the_splits_are_and_leaves_the_licence_to_the_user(tmp_path):
    path = write_card(tmp_path, counted(), name="it's mine", splits={"train_prefs": "train_prefs.jsonl"})
    header = yaml.safe_load(path.read_text().split("---\n")[1])

    assert header["pretty_name"] == "it's mine"
    assert header["configs"][0]["data_files"] == [{"split": "train_prefs", "path": "train_prefs.jsonl"}]
    assert "license" not in header
    assert "# license:" in path.read_text()


def test_a_run_that_gave_nothing_has_a_card_too():
    text = card(Counts(), name="none", splits={"train": "train.jsonl"})

    assert "| preferences | 0 |" in text
    assert "Lengths" not in text
