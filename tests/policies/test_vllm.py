"""vLLM as a writer: ids travel, weights are handed over, and every rollout says which weights sampled it.

Against a server that speaks vLLM's endpoints; `bench/vllm_rollouts.py` runs the real one.
"""

import tempfile
import threading
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jurist.errors import EngineDown, RunError, SettingError
from jurist.policies import vllm
from jurist.policies.checkpoint import Lora, with_lora
from jurist.policies.policy import Policy
from jurist.policies.vllm import VLLMWriter
from jurist.policies.writer import Drawing
from support.vllm import fake_vllm

HOW = Drawing(max_tokens=6, ends=(2,))
PROMPTS = [[5, 6], [7, 8, 9]]


@pytest.fixture
def server():
    with fake_vllm() as found:
        yield found


def policy(tied=False, lora=False):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, tie_word_embeddings=tied, **sizes))
    if lora:
        model = with_lora(model, Lora(r=2), "causal", 0, "base")
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
    return Policy(model, None, Path("base"), "hash", dtype="float32")


def write(writer, prompts=PROMPTS, n=1, how=HOW, keys=("a", "b")):
    return sorted(writer.write(prompts, n, how, keys))


def ids(rollouts):
    return [one.ids for one in rollouts]


def test_token_ids_travel_in_both_directions_and_nothing_of_the_models_configuration_is_added(server):
    rollouts = write(VLLMWriter(server.url), n=3)

    assert [(one.prompt, one.sample) for one in rollouts] == [*product(range(2), range(3))]
    assert sorted(one["token_ids"] for one in server.requests) == sorted(3 * PROMPTS)
    for one in server.requests:
        how = one["sampling_params"]
        assert (how["stop_token_ids"], how["ignore_eos"], how["max_tokens"]) == ([2], True, 6)
    assert {one.finish for one in rollouts} == {"stop", "length"}
    assert all((one.finish == "stop") == (one.ids[-1] == 2) for one in rollouts)
    assert all(one.logprobs == tuple(-token / 10 for token in one.ids) for one in rollouts)


def test_a_completion_is_handed_on_as_soon_as_it_ends(server):
    server.slow = PROMPTS[0]
    assert [one.prompt for one in VLLMWriter(server.url).write(PROMPTS, 1, HOW, "ab")] == [1, 0]


def test_what_is_still_running_is_given_up_when_the_caller_fails(server):
    def fails():
        for _ in VLLMWriter(server.url).write(PROMPTS, 1, HOW, "ab"):
            raise RuntimeError("the judge is down")

    server.slow, began = PROMPTS[0], time.monotonic()
    with pytest.raises(RuntimeError, match="the judge is down"):
        fails()
    assert time.monotonic() - began < 0.4
    assert not [one for one in threading.enumerate() if "lambda" in one.name]


def test_the_same_keys_give_the_same_rollouts_and_each_sample_is_its_own(server):
    writer = VLLMWriter(server.url)
    once, again = (write(writer, n=2) for _ in range(2))
    others = write(writer, n=2, keys="cd")

    assert once == again
    seeds = [one["sampling_params"]["seed"] for one in server.requests]
    assert len(set(seeds)) == 8
    assert max(seeds) < 2**63
    assert all(one != other for one, other in zip(ids(once), ids(others), strict=True))


def test_log_probs_are_given_only_at_the_temperature_at_which_vllm_reports_them(server):
    how = Drawing(max_tokens=6, ends=(2,), temperature=0.7)
    (one,) = VLLMWriter(server.url).write(PROMPTS[:1], 1, how, "a")
    assert one.logprobs is None


def test_weights_are_handed_over_in_memory_only_where_it_has_room_for_them(server, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm, "TMPFS", str(tmp_path))
    for free, place in ((8_000, Path(tempfile.gettempdir())), (100_000, tmp_path)):
        monkeypatch.setattr(vllm.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        VLLMWriter(server.url).sync(policy())  # 2,120 weights of 4 bytes
        assert server.folder.parent == place


def test_a_sync_waits_loads_empties_the_cache_and_names_the_weights(server, tmp_path):
    writer, mine = VLLMWriter(server.url, folder=tmp_path), policy()
    before = ids(write(writer, n=2))
    server.calls.clear()
    assert writer.sync(mine) == 1

    assert server.calls == [
        "/pause?mode=wait", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume"
    ]  # fmt: skip
    assert server.folder.parent == tmp_path
    assert not server.folder.exists()
    for name, weight in mine.model.state_dict().items():
        assert torch.equal(server.weights[name], weight)
    rollouts = write(writer, n=2)
    assert {one.version for one in rollouts} == {1}
    assert ids(rollouts) != before
    assert writer.sync(mine) == 2


def test_adapters_are_merged_into_what_is_sent_and_the_policy_stays_as_it_is(server, tmp_path):
    mine = policy(lora=True)
    before = {name: weight.clone() for name, weight in mine.model.state_dict().items()}
    VLLMWriter(server.url, folder=tmp_path).sync(mine)

    after = mine.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    merged = mine.model.merge_and_unload().state_dict()
    assert server.weights.keys() == merged.keys()
    assert all(torch.allclose(server.weights[name], weight, atol=1e-6) for name, weight in merged.items())


def test_weights_are_sent_in_the_dtype_that_the_checkpoint_names(server, tmp_path):
    mine = policy()
    mine.dtype = "bfloat16"
    VLLMWriter(server.url, folder=tmp_path).sync(mine)
    assert {weight.dtype for weight in server.weights.values()} == {torch.bfloat16}
    assert mine.model.dtype == torch.float32


def test_rollouts_of_a_server_that_lost_the_weights_are_refused(server, tmp_path):
    writer = VLLMWriter(server.url, folder=tmp_path)
    writer.sync(policy())
    server.label = "default"  # as after a restart
    with pytest.raises(EngineDown, match=r"restarted.*label: default.*vllm serve"):
        write(writer)


def test_rollouts_may_be_one_version_behind_and_no_more(server, tmp_path):
    writer = VLLMWriter(server.url, folder=tmp_path)
    writer.sync(policy())
    first = server.label
    writer.sync(policy())
    server.label = first  # as of a completion that was under way during the sync
    assert {one.version for one in write(writer)} == {1}
    writer.sync(policy())
    server.label = first
    with pytest.raises(RunError, match=r"version 1 .* is at 3: at most one behind"):
        write(writer)


def test_a_head_that_vllm_would_not_renew_on_a_cpu_is_refused(server, tmp_path):
    VLLMWriter(server.url, folder=tmp_path).sync(policy(tied=True))
    server.device = "cpu"
    with pytest.raises(SettingError, match="tie_word_embeddings: false"):
        VLLMWriter(server.url, folder=tmp_path).sync(policy(tied=True))


def test_a_prompt_that_leaves_no_room_is_refused_before_it_is_cut_short(server):
    with pytest.raises(SettingError, match=r"has room for 12 tokens, 13 may.*vllm serve.*--max-model-len 13"):
        write(VLLMWriter(server.url), [[5] * 7])


@pytest.mark.parametrize(
    ("path", "status", "error", "words"),
    [
        ("/server_info", 404, SettingError, "VLLM_SERVER_DEV_MODE=1 vllm serve"),
        ("/inference/v1/generate", 403, SettingError, "--enable-scale-out"),
        ("/inference/v1/generate", 500, EngineDown, "HTTP 500 .*as planted"),
        ("/collective_rpc", 500, EngineDown, "vllm serve"),
    ],
)
def test_an_error_says_how_to_start_the_server(server, tmp_path, path, status, error, words):
    def one_step():
        writer = VLLMWriter(server.url, folder=tmp_path)
        writer.sync(policy())
        write(writer)

    server.status = {path: status}
    with pytest.raises(error, match=words):
        one_step()


def test_a_server_that_is_not_there_is_named_with_the_command_that_starts_it():
    with pytest.raises(
        EngineDown, match=r"http://127.0.0.1:9 cannot be reached.*vllm serve MODEL .*--port 9"
    ):
        VLLMWriter("http://127.0.0.1:9/v1")
