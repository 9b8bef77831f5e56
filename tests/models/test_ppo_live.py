import json
import shutil

import pytest
from msgspec.structs import replace

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from making import checkpoint  # noqa: E402

from jurist.engines.engine import open_engine  # noqa: E402
from jurist.engines.scripted import Scripted  # noqa: E402
from jurist.errors import BudgetSpent, CallFailed, SettingError  # noqa: E402
from jurist.models.ppo import train_ppo  # noqa: E402
from jurist.models.rewards import Rewards, Scored, open_source  # noqa: E402
from jurist.models.settings import PPOConfig, RolloutConfig  # noqa: E402
from jurist.records import Completion, Prompt  # noqa: E402

torch.set_num_threads(1)
PROMPTS = [Prompt.of(f"tell me why {number}", reference="4") for number in range(8)]

JUDGE = """
calls = 0
def mark(ask):
    global calls
    calls += 1
    return "7"
def plain(prompt, completions):
    return [float(len(one.text)) for one in completions]
async def later(prompt, completions):
    return [0.5] * len(completions)
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "their_reward.py").write_text(JUDGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "their_reward", raising=False)
    return __import__("their_reward")


def scored(spec, text="4", engine=open_engine):
    with Rewards(open_source(spec, engine)) as rewards:
        rewards.start(0, PROMPTS[0], [Completion.of(PROMPTS[0].id, text)])
        return rewards.collect()[0][0]


@pytest.mark.parametrize(("said", "want"), [("9", 1.0), ("5", 0.0), ("1", -1.0), ("7", 0.5)])
def test_a_live_judge_scores_on_minus_one_to_one_whatever_its_scale(said, want):
    spec = {"engine": "x", "logprobs": False}

    assert scored(spec, engine=lambda _: Scripted(lambda ask: said)) == Scored(want)
    assert scored({**spec, "scale": [0, 100]}, engine=lambda _: Scripted(lambda ask: "75")) == Scored(0.5)


def test_several_draws_of_a_judge_are_averaged_and_unread_ones_left_out():
    spec = {"engine": "x", "samples": 3, "logprobs": False}
    said = {0: "9", 1: "who knows", 2: "7"}

    assert scored(spec, engine=lambda _: Scripted(lambda ask: said[ask.sample])).score == 0.75


def test_a_reply_that_cannot_be_read_is_no_score():
    spec = {"engine": "x", "logprobs": False}

    found = scored(spec, engine=lambda _: Scripted(lambda ask: "I would rather not say"))

    assert found.score is None
    assert found.failed


def test_a_call_that_failed_is_no_score():
    def fails(ask):
        raise CallFailed("HTTP 503")

    found = scored({"engine": "x", "logprobs": False}, engine=lambda _: Scripted(fails))

    assert (found.score, found.failed) == (None, "call_failed")


def test_a_rule_rewards_as_it_scores():
    assert scored("exact").score == 1.0
    assert scored("exact", "5").score == 0.0


def test_a_users_function_is_named_by_its_module(module):
    assert scored("their_reward:plain", "four").score == 4.0
    assert scored("their_reward:later").score == 0.5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "no reward to learn from"),
        ("shorter", "compares two completions"),
        ({"kind": "pairwise", "engine": "tiny:fair"}, "compares two completions"),
        ("exakt", "Did you mean 'exact'"),
        ("their_reward:number", "cannot be called"),
    ],
)
def test_what_is_no_reward_is_refused_with_a_way_out(module, spec, said):
    with pytest.raises(SettingError, match=said):
        open_source(spec, open_engine)


def test_a_reward_models_folder_scores_all_of_a_step_at_once(tmp_path):
    from jurist.policies.policy import load_policy

    base = checkpoint(tmp_path / "base")
    policy = load_policy(base, kind="reward")
    torch.nn.init.normal_(policy.model.score.weight)
    folder = policy.save(tmp_path / "reward")

    reward = open_source(str(folder), open_engine)
    scores = reward.score_many([(PROMPTS[0], Completion.of("p", text)) for text in ("yes", "no", "yes")])

    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert abs(scores[0] - scores[1]) > 1e-4
    train_ppo(
        PPOConfig(
            base=str(base), out=str(tmp_path / "out"), reward=str(folder), rollout=RolloutConfig(max_tokens=4)
        ),
        PROMPTS,
    )
    assert json.loads((tmp_path / "out" / "model" / "training.json").read_text())["reward"]


@pytest.mark.slow
def test_calls_to_a_live_judge_are_kept_so_that_drawing_again_pays_for_nothing(tmp_path, module):
    base = checkpoint(tmp_path / "base")
    judge = {"engine": "their_reward:mark", "logprobs": False}
    cfg = PPOConfig(
        base=str(base), out=str(tmp_path / "out"), reward=judge, rollout=RolloutConfig(max_tokens=4), batch=4
    )

    train_ppo(cfg, PROMPTS)
    paid = module.calls
    shutil.rmtree(tmp_path / "out" / "model")
    train_ppo(cfg, PROMPTS)

    assert 0 < paid <= len(PROMPTS)
    assert module.calls == paid
    line = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["reward"] == 0.5


@pytest.mark.slow
def test_a_run_whose_budget_was_spent_goes_on_with_a_higher_one(tmp_path, module):
    base = checkpoint(tmp_path / "base")
    engine = {"engine": "their_reward:mark", "price": {"input": 1000.0, "output": 1000.0}}
    cfg = PPOConfig(
        data="prompts",
        base=str(base),
        out=str(tmp_path / "out"),
        reward={"engine": engine, "logprobs": False},
        batch=4,
        rollout=RolloutConfig(max_tokens=4),
        epochs=2,
        save_every=1,
        budget=1.0,
    )
    with pytest.raises(BudgetSpent, match="higher --budget"):
        train_ppo(cfg, PROMPTS)

    train_ppo(replace(cfg, budget=1000.0), PROMPTS)

    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [1, 2, 3, 4]


def test_a_cap_on_calls_of_unknown_price_is_refused_before_the_first(tmp_path):
    cfg = PPOConfig(
        data="prompts",
        base=str(checkpoint(tmp_path / "base")),
        out=str(tmp_path / "out"),
        reward="vllm:unheard-of@http://127.0.0.1:9/v1",
        rollout=RolloutConfig(max_tokens=4),
        budget="1usd",
    )
    with pytest.raises(SettingError, match="a budget needs a price"):
        train_ppo(cfg, PROMPTS)
