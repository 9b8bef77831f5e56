import pytest

from jurist.config import settings_from
from jurist.errors import SettingError
from jurist.verdicts.settings import JudgeConfig

WRONG = [
    ({"swap": "sometimes"}, "got 'sometimes'; set swap: fraction:0.2"),
    ({"swap": "fraction:2"}, "got 'fraction:2'"),
    ({"samples": 0}, "samples: expected int >= 1, got 0"),
    ({"samples": 3, "temperature": 0.0}, "set temperature: 0.7"),
    ({"max_tokens": 0}, "max_tokens: expected int >= 1, got 0"),
    ({"scale": (5, 1)}, "set scale: [1, 9]"),
    ({"clamp": (0.6, 0.4)}, "set clamp: [0.4, 0.6]"),
    ({"reason_calls": 2}, "set reason: true"),
    ({"constitution": "mine.yaml"}, "has no use for constitution, got 'mine.yaml'"),
    ({"kind": "pointwise", "scale": (0, 1000)}, "not up to 100 steps"),
    ({"kind": "shorter", "forced": "allow"}, "'shorter' has no use for forced"),
    ({"scale": (1, 5)}, "leave it out, or set kind: pointwise"),
    ({"kind": "pointwise", "swap": "never"}, "'pointwise' has no use for swap"),
    ({"kind": "pointwise", "clamp": (0.4, 0.6)}, "'pointwise' has no use for clamp"),
    ({"kind": "numeric:0.1", "samples": 3}, "'numeric' has no use for samples"),
    ({"kind": "shorter", "engine": "openai:x"}, "'shorter' has no use for engine"),
    ({"kind": "mine:judge", "rubric": "be kind"}, "'mine' has no use for rubric"),
]


def test_a_setting_that_makes_no_sense_is_refused_with_one_that_does():
    for settings, said in WRONG:
        with pytest.raises(SettingError) as error:
            settings_from(JudgeConfig, settings)
        assert said in str(error.value)


def test_a_judge_has_at_most_twenty_settings():
    assert len(JudgeConfig.__struct_fields__) <= 20
