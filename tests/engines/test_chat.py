"""One form for a conversation, whoever asks; and the tokens at which an answer is over."""

import pytest

from jurist.engines import chat
from jurist.errors import SettingError
from jurist.records import Message
from jurist.tiny.tokenizer import make_tokenizer

pytest.importorskip("transformers", reason="needs the extra 'train'")
pytest.importorskip("jinja2")

ASKED = (Message("system", "be brief"), Message("user", "why"))
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|end|>{% endfor %}"
THINKS = PLAIN + "{% if enable_thinking is defined and not enable_thinking %}<no thought>{% endif %}"


def tokenizer(template=PLAIN):
    made = make_tokenizer(["why be brief because"])
    made.chat_template = template
    return made


def test_what_a_refused_system_turn_says_goes_before_the_first_user_turn():
    strict = tokenizer(STRICT + PLAIN)

    assert chat.render(tokenizer(), ASKED) == "[system]be brief<|end|>[user]why<|end|>"
    assert chat.render(strict, ASKED) == "[user]be brief\n\nwhy<|end|>"
    assert chat.render(strict, ASKED, "x") == "[user]be brief\n\nwhy<|end|>[assistant]x<|end|>"


def test_arguments_of_a_template_count_from_then_on_and_are_saved_with_it(tmp_path):
    from transformers import AutoTokenizer

    made = tokenizer(THINKS)
    before = chat.render(made, ASKED)
    for _ in range(2):
        chat.settle(made, {"enable_thinking": False, "tone": None, "words": ['a"b', 1.5, {"c": True}]})
    made.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)

    assert chat.render(again, ASKED) == before + "<no thought>"
    assert again.chat_template.count("set enable_thinking") == 1
    turns = [{"role": "user", "content": "why"}]
    assert again.apply_chat_template(turns, tokenize=False, enable_thinking=True).endswith("why<|end|>")
    again.chat_template += "{{ tone is none }} {{ words | tojson }}"
    assert chat.render(again, ASKED).endswith('True ["a\\"b", 1.5, {"c": true}]')


def test_what_is_no_argument_of_a_template_is_refused():
    with pytest.raises(SettingError, match="enable_thinking false"):
        chat.settle(tokenizer(), {"enable thinking": False})


@pytest.mark.parametrize(
    ("behind", "token"),
    [("<|done|>\n", "<|done|>"), ("<|done|>\n<|end|>", "<|done|>"), ("", "<|end|>"), (" .\n\n", "<|end|>")],
)
def test_a_turn_ends_with_what_the_template_writes_behind_the_answer(behind, token):
    made = tokenizer("{% for m in messages %}[{{ m.role }}]{{ m.content }}" + behind + "{% endfor %}")
    made.add_special_tokens({"additional_special_tokens": ["<|done|>"]})

    assert chat.end_of_turn(made) == made.convert_tokens_to_ids(token)
