import asyncio
import json
import time

import making
import pytest
import torch
from msgspec.structs import replace
from rows_for_tests import pairs_file, preferences

from jurist import reward_function
from jurist.errors import SettingError
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.models.settings import RewardConfig
from jurist.preferences import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Completion, Prompt
from jurist.verdicts.judge import open_judge

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("reward")
    base = making.checkpoint(out / "base")
    cfg = RewardConfig(data="rows", base=str(base), out=str(out), batch=32, lr=3e-3, epochs=3)
    return train_reward(cfg, preferences(160))


def no_engine(spec):
    raise AssertionError(f"a reward model asks nobody, least of all {spec}")


def test_a_reward_model_is_a_judge_that_scores(folder):
    judge = open_judge(f"reward:{folder}", no_engine)
    one = preferences(1, seed=3)[0]

    async def both():
        return await asyncio.gather(judge(one.prompt, one.chosen), judge(one.prompt, one.rejected))

    good, bad = asyncio.run(both())
    assert good.kind == "pointwise"
    assert good.score > bad.score
    assert good.judge == bad.judge == judge.name
    assert good.id != bad.id


def test_a_judge_scores_the_same_alone_and_in_company(folder):
    judge = RewardJudge(folder)
    rows = [(one.prompt, answer) for one in preferences(5, seed=3) for answer in (one.rejected, one.chosen)]
    together = judge.score_many(rows)

    alone = [judge.score_many([row])[0] for row in rows]
    assert together == pytest.approx(alone, abs=1e-5)
    assert judge.score_many([]) == []


@pytest.mark.parametrize(
    "template", [making.TEMPLATE, making.TEMPLATE.replace("['content']", "['content'] | trim")]
)
def test_a_reward_model_that_others_trained_is_read_where_they_read_it(tmp_path, template):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base, theirs = making.checkpoint(tmp_path / "base"), tmp_path / "theirs"
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template, model.config.pad_token_id = template, tokenizer.pad_token_id
    model.save_pretrained(theirs)
    tokenizer.save_pretrained(theirs)
    answers = [" no ", "yes\n", "because light scatters"]
    chats = [[{"role": "user", "content": "why"}, {"role": "assistant", "content": text}] for text in answers]
    texts = tokenizer.apply_chat_template(chats, tokenize=False)
    rows = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")

    prompt = Prompt.of("why")
    ours = RewardJudge(theirs).score_many([(prompt, Completion.of(prompt.id, text)) for text in answers])
    assert ours == pytest.approx(model(**rows).logits[:, 0].tolist(), abs=1e-5)


def test_a_language_model_is_no_reward_model(folder):
    with pytest.raises(SettingError, match="jurist train reward RUN"):
        RewardJudge(folder.parent / "base")


def test_what_is_too_long_for_the_model_is_unread_and_the_rest_is_scored(folder):
    judge = RewardJudge(folder)
    one = preferences(1, seed=3)[0]
    long = replace(one.chosen, id="long", text="why " * 400)

    async def both():
        return await asyncio.gather(judge(one.prompt, long), judge(one.prompt, one.chosen))

    too_long, fine = asyncio.run(both())
    assert (too_long.score, too_long.unread) == (None, "too long or empty")
    assert fine.score is not None


def test_calls_that_come_together_go_through_the_model_together(folder):
    judge = RewardJudge(folder)
    passes = []
    score_many = judge.score_many
    judge.score_many = lambda rows: passes.append(len(rows)) or score_many(rows)
    rows = preferences(20, seed=4)

    async def everything():
        return await asyncio.gather(*(judge(one.prompt, one.chosen) for one in rows))

    asyncio.run(everything())
    assert passes == [20]


def test_a_call_goes_at_once_when_the_model_is_idle_and_else_with_those_that_came_meanwhile(folder):
    judge, passes = RewardJudge(folder), []

    def slowly(rows):
        passes.append(len(rows))
        time.sleep(0.1)
        return [0.0] * len(rows)

    judge.score_many = slowly
    rows = preferences(6, seed=4)

    async def one_and_then_five():
        tasks = []
        for one in rows:
            tasks.append(asyncio.create_task(judge(one.prompt, one.chosen)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    asyncio.run(one_and_then_five())
    assert passes == [1, 5]


def test_a_reward_model_s_folder_is_a_reward_for_other_trainers(folder):
    rows = preferences(3, seed=3)
    prompts = [[{"role": "user", "content": one.prompt.messages[-1].content}] for one in rows]
    with reward_function(str(folder)) as reward:
        given = reward(prompts, [[{"role": "assistant", "content": one.chosen.text}] for one in rows])
        scores = RewardJudge(folder).score_many([(one.prompt, one.chosen) for one in rows])
        assert given == pytest.approx(scores)
        assert reward(prompts[:1], ["word " * 5000]) == [None]


def test_a_run_can_be_labelled_by_a_reward_model(folder, tmp_path):
    pairs = pairs_file(tmp_path / "pairs.jsonl", 30)
    cfg = LabelConfig(
        pairs=str(pairs), judge=f"reward:{folder}", out=str(tmp_path / "run"), prefer=PreferConfig()
    )
    label(cfg)

    rows = [json.loads(line) for line in (tmp_path / "run" / "preferences.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    assert all(row["chosen"]["text"].startswith("yes") for row in rows)


def test_a_reward_model_that_names_no_folder_is_refused():
    with pytest.raises(SettingError, match="--judge reward:"):
        open_judge("reward:", no_engine)
