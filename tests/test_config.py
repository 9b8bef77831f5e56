"""Settings from a recipe and from the command line: the later word wins, and no key is silently ignored."""

import pytest
from msgspec import Struct

from jurist.config import dump_yaml, load_settings, parse_money, parse_overrides, put, settings_from
from jurist.errors import SettingError
from jurist.recipes.settings import LabelConfig, full_form, label_settings


class Inner(Struct, frozen=True):
    engine: str = ""
    size: int = 1
    names: tuple[str, ...] = ()


class Outer(Struct, frozen=True):
    inner: Inner | str = Inner()
    several: tuple[str | Inner, ...] = ()
    share: float = 0.5
    quick: bool = False


def test_the_command_line_goes_over_what_is_given_which_goes_over_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("share: 0.1\nquick: true\ninner: {size: 2}\n")
    got = load_settings(Outer, recipe, ["--inner.size", "7"], share=0.2)
    assert got == Outer(inner=Inner(size=7), share=0.2, quick=True)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--a.b", "3"], [(["a", "b"], 3)]),
        (["--a.b=3"], [(["a", "b"], 3)]),
        (["--flag", "--a", "x"], [(["flag"], True), (["a"], "x")]),
        (["--held-out", "-1.5"], [(["held_out"], -1.5)]),
        (["--a", "[1, two]"], [(["a"], [1, "two"])]),
        (["--a=x=y"], [(["a"], "x=y")]),
        (["--a", ""], [(["a"], None)]),
        ([], []),
    ],
)
def test_words_become_paths_and_yaml_values(words, found):
    assert parse_overrides(words) == found


@pytest.mark.parametrize("words", [["stray"], ["--a", "1", "2"], ["--a", "[1"]])
def test_words_that_are_no_settings_are_refused(words):
    with pytest.raises(SettingError):
        parse_overrides(words)


def test_a_setting_below_a_short_form_keeps_what_the_short_form_named():
    tree = {"inner": "openai:x", "several": ["openai:x", "openai:y"]}
    put(tree, ["inner", "size"], 3)
    put(tree, ["several", "1", "size"], 4)
    assert tree == {
        "inner": {"engine": "openai:x", "size": 3},
        "several": ["openai:x", {"engine": "openai:y", "size": 4}],
    }


def test_the_first_of_a_list_that_was_given_as_one_is_that_one():
    tree = {"several": "openai:x"}
    put(tree, ["several", "0", "size"], 4)
    assert tree == {"several": [{"engine": "openai:x", "size": 4}]}


def test_a_place_outside_a_list_is_refused():
    with pytest.raises(SettingError, match=r"--several\.0"):
        put({"several": ["x"]}, ["several", "1", "size"], 4)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("openai:gpt-x", {"engine": "openai:gpt-x"}),
        ("tiny:oracle", {"engine": "tiny:oracle"}),
        ("shorter", {"kind": "shorter"}),
        ("my_judges:mine", {"kind": "my_judges:mine"}),
    ],
)
def test_a_judge_by_name_with_more_settings_is_still_that_judge(name, full):
    assert full_form("judge", name) == full
    got = label_settings(None, ["--judge.swap", "never"], judge=name)
    assert {key: getattr(got.judge, key) for key in full} == full
    assert got.judge.swap == "never"


@pytest.mark.parametrize(
    ("tree", "hint"),
    [
        ({"shrae": 1}, "Did you mean 'share'"),
        ({"inner": {"szie": 1}}, "under 'inner'.*Did you mean 'size'"),
        ({"several": ["x", {"nmaes": []}]}, r"several\[1\].*Did you mean 'names'"),
    ],
)
def test_an_unknown_key_is_refused_with_its_nearest_neighbour_at_any_depth(tree, hint):
    with pytest.raises(SettingError, match=hint):
        settings_from(Outer, tree)


@pytest.mark.parametrize(
    ("tree", "hint"),
    [
        ({"share": "much"}, "share: .*got 'much'"),
        ({"inner": {"size": "large"}}, r"inner\.size: .*got 'large'"),
        ({"inner": {"names": "one"}}, r"Write it as a list: --inner.names '\[one\]'"),
        ({"several": [{"size": []}]}, r"several\[0\]\.size"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_key(tree, hint):
    with pytest.raises(SettingError, match=hint):
        settings_from(Outer, tree)


def test_a_word_that_is_not_on_offer_is_refused_with_the_nearest_one():
    with pytest.raises(SettingError, match="Did you mean 'drop'"):
        settings_from(LabelConfig, {"on_error": "dorp"})


def test_settings_written_down_are_read_back_as_they_were(tmp_path):
    before = label_settings(
        None, ["--judge.swap", "never", "--prefer.min_margin", "0.25"], judge="tiny:oracle"
    )
    (tmp_path / "recipe.yaml").write_text(dump_yaml(before))
    assert label_settings(tmp_path / "recipe.yaml") == before


@pytest.mark.parametrize(
    ("text", "dollars"),
    [("5usd", 5), ("$5", 5), ("5 USD", 5), ("0.5", 0.5), (3, 3), (None, None), ("1e-3", 1e-3)],
)
def test_money_is_read_as_people_write_it(text, dollars):
    assert parse_money(text) == dollars


@pytest.mark.parametrize("text", ["lots", "-1", "0", 0, -2.0, "nan", "inf", "5eur", ""])
def test_what_is_no_amount_of_money_is_refused(text):
    with pytest.raises(SettingError, match="write --budget 5usd"):
        parse_money(text)
