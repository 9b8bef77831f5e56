"""The small model is an ordinary checkpoint, made once and kept."""

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'train'")

from jurist.recipes.label import label  # noqa: E402
from jurist.recipes.settings import LabelConfig  # noqa: E402
from jurist.records import Sampling, Verdict  # noqa: E402
from jurist.run import read_records  # noqa: E402
from jurist.tiny import model as small  # noqa: E402
from jurist.tiny import world  # noqa: E402
from jurist.tiny.corpus import corpus  # noqa: E402
from jurist.verdicts.settings import JudgeConfig  # noqa: E402

QUICK = small.TinySize(rows=300, hidden=16, layers=1, heads=2)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of its own, so that nothing on this machine is used or changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JURIST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def quick():
    return small.tiny_checkpoint(QUICK)


def test_it_is_trained_once_and_then_kept(quick):
    made = (quick / "model.safetensors").stat().st_mtime_ns

    assert small.tiny_checkpoint(QUICK) == quick
    assert (quick / "model.safetensors").stat().st_mtime_ns == made
    assert [path for path in quick.parent.iterdir() if path != quick] == []


def test_another_size_is_another_folder():
    assert small._name(QUICK) != small._name(small.TinySize())


def test_every_loader_opens_it(quick):
    model = transformers.AutoModelForCausalLM.from_pretrained(quick)
    tokenizer = transformers.AutoTokenizer.from_pretrained(quick)

    assert isinstance(model, transformers.LlamaForCausalLM)
    assert tokenizer.is_fast
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    judge = transformers.AutoModelForSequenceClassification.from_pretrained(quick, num_labels=1)
    assert judge.config.pad_token_id == tokenizer.pad_token_id


def test_the_model_has_the_size_it_is_said_to_have():
    tokenizer = small.make_tokenizer(text for row in corpus(800) for text in texts(row))
    size = small.new_model(small.TinySize(), tokenizer).num_parameters()

    assert 200_000 <= size <= 500_000


def texts(row):
    return [*(message.content for message in row.messages), row.answer]


def test_text_comes_back_letter_for_letter_and_the_answer_is_a_suffix_of_the_conversation():
    rows = list(corpus(200))
    tokenizer = small.make_tokenizer(text for row in rows for text in texts(row))

    for row, (ids, _) in zip(rows, small.as_examples(rows, tokenizer), strict=True):
        assert tokenizer.decode(tokenizer(row.answer)["input_ids"]) == row.answer
        turns = [{"role": one.role, "content": one.content} for one in row.messages]
        whole = tokenizer.apply_chat_template(
            [*turns, {"role": "assistant", "content": row.answer}], tokenize=False
        )
        assert tokenizer(whole)["input_ids"] == ids


def test_the_loss_is_on_the_answer_and_its_end_only():
    ids, weights = small.collated([([5, 6, 7, 8, 2], [0.5, 2.0]), ([5, 8, 2], [1.0, 1.0])], 0)

    assert ids.tolist() == [[5, 6, 7, 8, 2], [5, 8, 2, 0, 0]]
    assert weights.tolist() == [[0, 0, 0, 0.5, 2], [0, 1, 1, 0, 0]]


def test_what_makes_a_checkpoint_is_repeatable(quick, tmp_path):
    small.make(QUICK, tmp_path / "again")

    assert (tmp_path / "again/model.safetensors").read_bytes() == (quick / "model.safetensors").read_bytes()


def test_labelling_runs_end_to_end_with_a_checkpoint_as_policy_and_judge(quick, tmp_path):
    lines = [json.dumps({"prompt": one.messages[-1].content}) for one in world.prompts(6)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    settings = LabelConfig(
        prompts=str(tmp_path / "prompts.jsonl"),
        policy=f"hf:{quick}",
        judge=JudgeConfig(engine=f"hf:{quick}"),
        k=2,
        sampling=Sampling(max_tokens=12, seed=0),
        out=str(tmp_path / "run"),
    )

    first = label(settings)
    again = label(settings)

    assert first.calls > 0
    assert again.calls == 0
    said = list(read_records(tmp_path / "run/verdicts.jsonl", Verdict))
    assert said
    assert all(quick.name in one.judge for one in said)
