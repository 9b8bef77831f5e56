"""Judges that the tests of this folder serve."""


def words(prompt, completion):
    """A point a word; nothing is no answer."""
    if completion.text == "broken":
        return None
    return float(completion.text == prompt.reference) if prompt.reference else len(completion.text.split())


words.kind = "pointwise"


def longer(matchup):
    """Sure of the longer one, in whatever order; silent where one is broken."""
    one, other = matchup.first.text, matchup.second.text
    return None if "broken" in (one, other) else float(len(one) > len(other))
