import json
import math
import resource
from array import array
from contextlib import contextmanager
from types import SimpleNamespace

import making
import pytest
import torch
from msgspec.structs import replace
from rows_for_tests import metrics, pairs_file, preferences

from jurist.errors import DataError, RunError, SettingError
from jurist.models.dpo import train_dpo, with_reference
from jurist.models.reward import train_reward
from jurist.models.rows import is_held_out, pair_row
from jurist.models.settings import DpoConfig, ModelConfig, RewardConfig, SftConfig
from jurist.models.sft import train_sft
from jurist.policies.checkpoint import Lora
from jurist.policies.policy import TokenStats, load_policy, token_stats
from jurist.policies.tokens import Example, tokenise_many

torch.set_num_threads(1)
SHORT = {"data": "rows", "batch": 32, "lr": 3e-3}


def pairs(folder, rows):
    tokenizer = load_policy(folder, kind="reward").tokenizer
    return list(tokenise_many(map(pair_row, rows), tokenizer, shown=True))


def rewards(folder, rows):
    """What the reward model in a folder gives for both answers."""
    policy = load_policy(folder, kind="reward")
    return token_stats(policy, pairs(folder, rows), want=("reward",)).reward_A.view(-1, 2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return making.checkpoint(tmp_path_factory.mktemp("base") / "llama")


@pytest.mark.slow
def test_a_reward_model_learns_what_the_judge_knew_and_is_as_sure_as_it_was(base, tmp_path):
    cfg = RewardConfig(base=str(base), out=str(tmp_path), epochs=4, held_out=0.1, centre=0.0, **SHORT)
    folder = train_reward(cfg, preferences(320, p=0.8))

    (*_, last) = (line for line in metrics(tmp_path) if line.get("of") == "held_out")
    assert last["accuracy"] == 1.0
    assert last["loss"] < math.log(2) - 0.15  # 0.69 knows nothing; 0.50 is the entropy of p = 0.8
    reward_N2 = rewards(folder, preferences(40, seed=9))
    assert abs((reward_N2[:, 0] - reward_N2[:, 1]).mean().item() - math.log(0.8 / 0.2)) < 0.5


@pytest.mark.slow
def test_a_reward_model_is_an_ordinary_checkpoint_for_sequence_classification(base, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    cfg = RewardConfig(base=str(base), out=str(tmp_path), lora=Lora(r=4), **SHORT)
    folder = train_reward(cfg, preferences(64))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    some = preferences(3, seed=5)
    for one, want in zip(some, rewards(folder, some), strict=True):
        # As TRL and vLLM do it: the template's text, read at its last token.
        asked = [{"role": turn.role, "content": turn.content} for turn in one.prompt.messages]
        chats = [[*asked, {"role": "assistant", "content": c.text}] for c in (one.chosen, one.rejected)]
        texts = tokenizer.apply_chat_template(chats, tokenize=False)
        rows = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        torch.testing.assert_close(model(**rows).logits[:, 0], want, rtol=1e-4, atol=1e-5)
    assert model.config.num_labels == 1


SLOW = pytest.mark.slow
OTHERS = [pytest.param(name, marks=SLOW) for name in ("length_normalised", "r_dpo", "simpo", "ipo")]


@pytest.mark.parametrize("loss", ["dpo", *OTHERS])
def test_every_form_of_dpo_moves_the_policy_to_what_is_preferred(base, tmp_path, loss):
    cfg = DpoConfig(base=str(base), out=str(tmp_path), loss=loss, epochs=2, held_out=0.2, **SHORT)
    train_dpo(cfg, preferences(160))

    lines = metrics(tmp_path)
    assert lines[0]["loss"] > lines[-2]["loss"]
    assert lines[-1]["of"] == "held_out"
    assert lines[-1]["accuracy"] >= 0.9


def test_dpo_starts_at_its_reference(base, tmp_path):
    train_dpo(DpoConfig(base=str(base), out=str(tmp_path), **SHORT), preferences(32))

    first = metrics(tmp_path)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["margin"] == pytest.approx(0.0, abs=1e-4)


def test_a_reference_that_is_named_is_the_one_that_holds(base, tmp_path):
    other = making.checkpoint(tmp_path / "other", seed=5)
    cfg = DpoConfig(base=str(base), reference=str(other), out=str(tmp_path / "out"), **SHORT)
    folder = train_dpo(cfg, preferences(32))

    facts = json.loads((folder / "training.json").read_text())
    assert facts["reference_hash"] == load_policy(other).hash != facts["base_hash"]
    assert abs(metrics(tmp_path / "out")[0]["margin"]) > 1e-3


@pytest.mark.slow
def test_what_is_held_out_is_measured_by_weight(base, tmp_path):
    def measured(*weights):
        rows = [replace(one, weight=w) for one, w in zip(others, weights, strict=True) if w]
        out = tmp_path / str(weights)
        cfg = DpoConfig(
            base=str(base), reference=str(ref), out=str(out), held_out=0.1, **{**SHORT, "lr": 1e-9}
        )
        train_dpo(cfg, [*learnt, *rows])
        return metrics(out)[-1]["loss"]

    ref = making.checkpoint(tmp_path / "ref", seed=4)
    both = preferences(40)
    learnt = [one for one in both if not is_held_out(one.prompt, 0.1)][:4]
    others = [one for one in both if is_held_out(one.prompt, 0.1)][:2]

    assert measured(1, 0) != measured(0, 1)
    assert math.isclose(measured(1, 3), (measured(1, 0) + 3 * measured(0, 1)) / 4, rel_tol=1e-5)


def test_a_pair_with_an_answer_cut_off_before_its_first_word_leaves_by_name(base, tmp_path):
    one, other = preferences(2)
    silent = replace(other, rejected=replace(other.rejected, text="", finish="length"))
    cfg = DpoConfig(base=str(base), out=str(tmp_path), **SHORT)

    facts = json.loads((train_dpo(cfg, [one, silent]) / "training.json").read_text())
    assert (facts["rows"], facts["dropped"]) == (1, {"empty": 1})


@SLOW
def test_fine_tuning_learns_the_answers_and_not_the_prompts(base, tmp_path):
    rows = [(one.prompt, one.chosen) for one in preferences(160)]
    cfg = SftConfig(base=str(base), out=str(tmp_path), epochs=4, **{**SHORT, "lr": 1e-2})
    policy = load_policy(train_sft(cfg, rows))

    lines = metrics(tmp_path)
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    prompt_ids = list(next(tokenise_many(map(pair_row, preferences(1, seed=7)), policy.tokenizer)).prompt_ids)
    logits = policy.model(torch.tensor([prompt_ids])).logits[0]
    assert policy.tokenizer.decode([int(logits[-1].argmax())]) == "yes"
    within = logits[:-1].log_softmax(-1).gather(-1, torch.tensor(prompt_ids[1:])[:, None])
    assert within.mean() < -4.0  # the prompt is as strange to it as before: log(1/330) = -5.8


@pytest.mark.parametrize("tokens", [pytest.param(one, marks=SLOW) for one in (64, 400)])
def test_how_a_step_is_cut_changes_no_loss(base, tmp_path, tokens):
    for out, size in (("whole", 1 << 20), ("cut", tokens)):
        cfg = RewardConfig(base=str(base), out=str(tmp_path / out), tokens=size, **SHORT)
        train_reward(cfg, preferences(96))

    cut, whole = (metrics(tmp_path / out) for out in ("cut", "whole"))
    assert [one["loss"] for one in cut] == pytest.approx([one["loss"] for one in whole], abs=1e-4)
    assert [one["grad_norm"] for one in cut] == pytest.approx([one["grad_norm"] for one in whole], rel=1e-3)


@pytest.mark.slow
def test_checkpointing_changes_no_loss_and_bfloat16_little(base, tmp_path):
    for out, how in (
        ("plain", {}),
        ("again", {"model": ModelConfig(checkpointing=True)}),
        ("half", {"model": ModelConfig(precision="bfloat16")}),
    ):
        cfg = RewardConfig(base=str(base), out=str(tmp_path / out), **how, **SHORT)
        train_reward(cfg, preferences(64))

    plain, again, half = (
        [one["loss"] for one in metrics(tmp_path / out)] for out in ("plain", "again", "half")
    )
    assert again == pytest.approx(plain, abs=1e-5)
    assert half == pytest.approx(plain, abs=0.02)
    assert half != plain


@SLOW
@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
@pytest.mark.parametrize("method", ["sft", "reward", "dpo"])
def test_other_families_learn_too_and_their_models_load_anywhere(tmp_path, kind, method):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    base = making.checkpoint(tmp_path / "base", kind)
    trainer, settings = {
        "sft": (train_sft, SftConfig),
        "reward": (train_reward, RewardConfig),
        "dpo": (train_dpo, DpoConfig),
    }[method]
    rows = preferences(128)
    data = [(one.prompt, one.chosen) for one in rows] if method == "sft" else rows
    cfg = settings(base=str(base), out=str(tmp_path / "out"), epochs=6, **{**SHORT, "lr": 1e-2})
    folder = trainer(cfg, data)

    lines = metrics(tmp_path / "out")
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.05
    classes = AutoModelForSequenceClassification if method == "reward" else AutoModelForCausalLM
    assert classes.from_pretrained(folder).config.model_type == kind
    assert type(AutoTokenizer.from_pretrained(folder)) is type(AutoTokenizer.from_pretrained(base))
    assert not [*folder.glob("*.bin"), *folder.glob("*.pt")]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # peft reads what transformers renamed
@SLOW
@pytest.mark.parametrize("kind", making.KINDS)
@pytest.mark.parametrize("method", ["reward", "dpo"])
def test_an_adapter_kept_apart_is_peft_s_own_and_says_what_the_merged_one_says(tmp_path, kind, method):
    import peft
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    base = making.checkpoint(tmp_path / "base", kind)
    trainer, settings = {"reward": (train_reward, RewardConfig), "dpo": (train_dpo, DpoConfig)}[method]
    folders = [
        trainer(
            settings(base=str(base), out=str(tmp_path / str(merge)), lora=Lora(r=4, merge=merge), **SHORT),
            preferences(64),
        )
        for merge in (True, False)
    ]

    ids = torch.tensor([[2, 40, 50, 60, 1]])
    classes = AutoModelForSequenceClassification if method == "reward" else AutoModelForCausalLM
    kwargs = {"num_labels": 1} if method == "reward" else {}
    merged = classes.from_pretrained(folders[0]).eval()
    below = json.loads((folders[1] / "adapter_config.json").read_text())["base_model_name_or_path"]
    plain = classes.from_pretrained(below, **kwargs)
    plain.config.pad_token_id = merged.config.pad_token_id
    apart = peft.PeftModel.from_pretrained(plain, folders[1]).eval()
    torch.testing.assert_close(apart(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-5)
    ours = load_policy(folders[1], kind="reward" if method == "reward" else "causal").model.eval()
    torch.testing.assert_close(ours(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-5)
    assert not (folders[1] / "model.safetensors").exists()


def test_a_row_of_double_weight_counts_twice(base, tmp_path):
    (one, other) = preferences(2)
    for out, rows in (("twice", [one, one, other]), ("double", [replace(one, weight=2.0), other])):
        train_reward(RewardConfig(base=str(base), out=str(tmp_path / out), epochs=3, **SHORT), rows)

    twice, double = (metrics(tmp_path / out)[-1]["loss"] for out in ("twice", "double"))
    assert twice == pytest.approx(double, abs=1e-5)


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(r=4, dropout=0.1)])
def test_a_run_that_stopped_goes_on_to_the_same_numbers(base, tmp_path, lora):
    def stop(now) -> None:
        if now.step == 5:
            raise Killed

    cfg = RewardConfig(
        base=str(base), out=str(tmp_path / "whole"), epochs=2, save_every=3, lora=lora, **SHORT
    )
    train_reward(cfg, preferences(128))
    halves = replace(cfg, out=str(tmp_path / "halves"))
    with pytest.raises(Killed):
        train_reward(halves, preferences(128), on_progress=stop)
    assert len(metrics(tmp_path / "halves")) == 5
    seen = []
    train_reward(halves, preferences(128), on_progress=lambda now: now.doing or seen.append(now.step))

    assert seen == [4, 5, 6, 7, 8]
    whole, again = metrics(tmp_path / "whole"), metrics(tmp_path / "halves")
    assert [line["step"] for line in again] == list(range(1, 9))
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in whole], abs=1e-6)
    assert not (tmp_path / "halves" / "checkpoints").exists()


def test_half_of_another_run_is_not_taken_up(base, tmp_path):
    def stop(now) -> None:
        if now.step == 2:
            raise Killed

    cfg = RewardConfig(base=str(base), out=str(tmp_path), save_every=1, **SHORT)
    with pytest.raises(Killed):
        train_reward(cfg, preferences(128), on_progress=stop)
    with pytest.raises(RunError, match="half of a run with other settings"):
        train_reward(replace(cfg, lr=1e-4), preferences(128))


@contextmanager
def full_disk():
    """Nothing longer than 4,000 bytes can be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("save_every", "what"), [(1, "checkpoint"), (0, "model")])
def test_what_cannot_be_written_stops_the_run_with_the_way_out(base, tmp_path, save_every, what):
    cfg = RewardConfig(base=str(base), out=str(tmp_path), save_every=save_every, **SHORT)
    way_out = rf"cannot write .* {what}.*File too large.*df -h"
    with pytest.raises((RunError, DataError), match=way_out), full_disk():
        train_reward(cfg, preferences(64))


def test_the_tiny_assistant_is_a_base_like_any_other(base, tmp_path, monkeypatch):
    monkeypatch.setattr("jurist.tiny.model.tiny_checkpoint", lambda: base)
    for lora in (None, Lora(r=4, merge=False)):
        folder = train_dpo(
            DpoConfig(base="tiny", out=str(tmp_path / f"{lora}"), lora=lora, **SHORT), preferences(64)
        )
        assert json.loads((folder / "training.json").read_text())["base"] == str(base)
        assert load_policy(folder).hash != load_policy("tiny").hash == load_policy(base).hash
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_a_process_without_rows_takes_part_when_the_reference_is_read():
    (pair,) = tokenised = [Example(array("i", [1]), [array("i", [2]), array("i", [3])])]
    shares = SimpleNamespace(share=lambda rows: [], gather=lambda mine: [*mine, (0, [-1.0, -2.0])])
    reads = SimpleNamespace(processes=shares, read=lambda reference, rows: TokenStats(torch.zeros(0, 0)))

    assert with_reference(reads, None, tokenised) == [replace(pair, ref=(-1.0, -2.0))]


@pytest.mark.slow
def test_two_trainings_do_not_share_a_folder(base, tmp_path):
    cfg = RewardConfig(base=str(base), out=str(tmp_path), **SHORT)
    refused = []

    def begin_another(now) -> None:
        if now.step == 1:
            with pytest.raises(RunError, match="is in use by process"):
                train_reward(cfg, preferences(128))
            refused.append(now)

    train_reward(cfg, preferences(128), on_progress=begin_another)
    assert refused
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "of" not in json.loads(line)] == list(
        range(1, len(lines) + 1)
    )


def test_a_loss_that_is_not_a_number_stops_the_run_with_the_way_out(base, tmp_path):
    cfg = RewardConfig(base=str(base), out=str(tmp_path), **SHORT)
    rows = preferences(64)
    rows[40] = replace(rows[40], margin=float("nan"))

    with pytest.raises(RunError, match=r"not a number .*nan.* at step \d.*--lr"):
        train_reward(replace(cfg, margin=1.0), rows)
    assert not (tmp_path / "model").exists()


def test_nothing_to_learn_is_refused_and_says_why(base, tmp_path):
    cfg = RewardConfig(base=str(base), out=str(tmp_path), max_length=4, **SHORT)

    with pytest.raises(DataError, match=r"0 preferences to learn in rows \(16 too_long"):
        train_reward(cfg, preferences(16))
    with pytest.raises(SettingError, match="--base FOLDER"):
        train_reward(replace(cfg, base=""))


def test_rows_as_trl_has_them_and_rows_of_ours_teach_the_same(base, tmp_path):
    file = pairs_file(tmp_path / "pairs.jsonl", 32)
    cfg = RewardConfig(base=str(base), **{**SHORT, "data": str(file)}, out=str(tmp_path / "file"))
    train_reward(cfg)
    train_reward(replace(cfg, out=str(tmp_path / "ours")), preferences(32))

    theirs, ours = metrics(tmp_path / "file"), metrics(tmp_path / "ours")
    assert [line["loss"] for line in theirs] == [line["loss"] for line in ours]
