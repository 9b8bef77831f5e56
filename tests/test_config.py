"""Settings from a recipe, from Python and by dotted name: the later one wins, and no key is ignored."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from jurist.config import dump_yaml, fields_of, load_settings, read_recipe, settings_from, settings_of
from jurist.engines.budget import parse_money
from jurist.errors import SettingError
from jurist.recipes.settings import LabelConfig, check, label_settings


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    engine: str = ""
    size: Annotated[int, Meta(ge=1, description="How large.")] = 1
    names: tuple[str, ...] = ()


class Outer(Struct, frozen=True, forbid_unknown_fields=True):
    inner: Annotated[Inner | str, Meta(description="Who answers.")] = Inner()
    several: str | Inner | tuple[str | Inner, ...] = ()
    share: Annotated[float, Meta(description="Of the rows.")] = 0.5
    names: dict[str, str] = {}
    ties: Literal["drop", "soft"] = "drop"


class Changed(Outer, frozen=True, forbid_unknown_fields=True):
    share: float = 0.1


def test_overrides_go_over_what_is_given_which_goes_over_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("share: 0.1\nties: soft\ninner: {size: 2}\n")
    got = load_settings(Outer, recipe, {"inner.size": 7}, share=0.2)
    assert got == Outer(inner=Inner(size=7), share=0.2, ties="soft")


IN_TINY = {
    "as it stands": ({}, (0.1, 2)),
    "with another policy": ({"policy": "mine"}, (0.5, 1)),
    "with that one named": ({"policy": "tiny", "share": 0.4}, (0.4, 2)),
    "with its prompts": ({"policy": "mine", "prompts": "tiny:20"}, (0.1, 2)),
}


@pytest.mark.parametrize("what", IN_TINY)
def test_what_stands_under_tiny_counts_only_in_the_tiny_world(tmp_path, what):
    class Loop(Outer, frozen=True, kw_only=True):
        policy: str = ""
        prompts: str = ""

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("policy: tiny\ninner: {engine: x}\ntiny:\n  share: 0.1\n  inner: {size: 2}\n")
    given, expected = IN_TINY[what]
    got = load_settings(Loop, recipe, given)
    assert (got.share, got.inner) == (expected[0], Inner("x", expected[1]))


def test_one_option_changes_nothing_else_of_a_default():
    class Large(Outer, frozen=True):
        inner: Inner | str = Inner("x", 3)

    assert load_settings(Large, None, {"inner.size": 7}).inner == Inner("x", 7)


OVERRIDES = {
    "a mapping made on the way": ({}, {"inner.size": 3}, Outer(inner=Inner(size=3))),
    "a word that becomes its mapping": ({"inner": "x"}, {"inner.size": 3}, Outer(inner=Inner("x", 3))),
    "the whole before its part": ({}, {"inner.size": 3, "inner": "x"}, Outer(inner=Inner("x", 3))),
    "one of several": ({"several": ["x", "y"]}, {"several.1.size": 4}, Outer(several=("x", Inner("y", 4)))),
    "the first of one": ({"several": "x"}, {"several.0.size": 4}, Outer(several=(Inner("x", 4),))),
    "the only one of a list": ({"several": ["x"]}, {"several.size": 4}, Outer(several=(Inner("x", 4),))),
    "a name of the user's": ({}, {"names.0.5": "tie"}, Outer(names={"0.5": "tie"})),
}


@pytest.mark.parametrize("what", OVERRIDES)
def test_a_dotted_name_reaches_into_settings(what):
    given, overrides, expected = OVERRIDES[what]
    assert load_settings(Outer, None, overrides, **given) == expected


WRONG = {
    "a misspelt key": ({"shrae": 1}, "no setting called 'shrae'. Did you mean 'share'?"),
    "one below another": ({"inner": {"szie": 1}}, "'inner.szie'. Did you mean 'inner.size'?"),
    "one in a list": ({"several": ["x", {"nmaes": []}]}, "'several.nmaes'. Did you mean 'several.names'?"),
    "one that stands elsewhere": ({"size": 1}, "Did you mean 'inner.size' or 'several.size'?"),
    "one that a description names": ({"rows": 1}, "There is --share: Of the rows."),
    "a word for a number": ({"share": "much"}, "share: expected float, got 'much'. Of the rows. See: "),
    "the same below": ({"inner": {"size": "large"}}, "inner.size: expected int, got 'large'. How large."),
    "a number too small": ({"inner": {"size": 0}}, "inner.size: expected int >= 1, got 0."),
    "a list in a list": ({"several": [{"size": []}]}, "several[0].size: expected int, got []."),
    "nothing": ({"share": None}, "share: expected float, got None."),
    "a word not on offer": ({"ties": "sfot"}, "Did you mean 'soft'?"),
    "no such thing": ({"inner": 5}, "inner: expected str or mapping, got 5. Who answers."),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_with_its_key_its_value_and_the_way_out(what):
    tree, message = WRONG[what]
    with pytest.raises(SettingError) as error:
        settings_from(Outer, tree, see="jurist outer --help")
    assert message in str(error.value)


def test_a_place_outside_a_list_is_refused():
    for key in ("several.2.size", "several.size"):
        with pytest.raises(SettingError, match=r"there are 2, counted from 0. Say which: --several\.0"):
            load_settings(Outer, None, {key: 4}, several=["x", "y"])


def test_descriptions_are_inherited_and_defaults_are_not():
    assert fields_of(Changed)["share"][2:] == (0.1, "Of the rows.")
    assert [one.name for one in settings_of(Outer)][:3] == ["inner", "inner.engine", "inner.size"]


def test_a_judge_by_name_with_more_settings_is_still_that_judge():
    names = {"openai:gpt-x": "engine", "tiny:oracle": "engine", "shorter": "kind", "my_judges:mine": "kind"}
    for name, setting in names.items():
        got = label_settings(None, {"judge.swap": "never"}, judge=name).judge
        assert (getattr(got, setting), got.swap) == (name, "never")


def test_from_python_types_are_checked_too():
    for wrong, message in ({"judge": 5}, "judge: .*openai:"), ({"limit": "x"}, "limit: "):
        with pytest.raises(SettingError, match=message):
            check(LabelConfig(pairs="pairs.jsonl", **wrong))


def test_keys_of_a_recipe_are_text_as_written(tmp_path):
    (tmp_path / "r.yaml").write_text("one: &a {0: zero, yes: affirmative, 010: octal}\nmore: {<<: *a, y: 2}")
    found = read_recipe(tmp_path / "r.yaml")
    assert found["one"] == {"0": "zero", "yes": "affirmative", "010": "octal"}
    assert found["more"] == found["one"] | {"y": 2}


RECIPES = {
    "seed: 1\nout: x\nseed: 2\n": "the key 'seed' is there twice",
    "judge:\n  kind: x\n  kind: y\n": "the key 'kind' is there twice",
    "judge: [shorter": "not YAML",
    "- judge": "not `key: value` lines",
    "\udcff": "cannot read",
    None: "there is no recipe",
}


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_that_cannot_be_read_is_refused_with_what_to_type(text, tmp_path):
    file = tmp_path / "my recipe.yaml"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingError) as error:
        read_recipe(file)
    assert RECIPES[text] in str(error.value)
    assert str(error.value).endswith(f"$EDITOR '{file}'" if text is not None else f"ls {tmp_path}")


def test_settings_written_down_are_read_back_as_they_were(tmp_path):
    changes = {"judge.swap": "never", "judge.engine.rpm": 5, "prefer.min_margin": 0.25, "columns.a": "b"}
    before = label_settings(None, changes, judge="tiny:oracle", policy=["openai:x"])
    (tmp_path / "recipe.yaml").write_text(dump_yaml(before))
    assert label_settings(tmp_path / "recipe.yaml") == before


def test_money_is_read_as_people_write_it_and_nothing_else_is():
    dollars = {"5usd": 5, "$5": 5, "5 USD": 5, "0.5": 0.5, 3: 3, None: None, "1e-3": 1e-3}
    assert {text: parse_money(text) for text in dollars} == dollars
    for text in ("lots", "-1", "0", 0, -2.0, "nan", "inf", "5eur", ""):
        with pytest.raises(SettingError, match="Write: --budget 5usd"):
            parse_money(text)
