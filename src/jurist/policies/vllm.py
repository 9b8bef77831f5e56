"""Completions sampled by vLLM with the weights that are being trained, in a server or in this process.

    VLLMWriter("http://127.0.0.1:8000")              a running `vllm serve`; SERVE says how to start it
    VLLMWriter(Colocated("sft/", gpu_memory_utilization=0.3))            beside the trainer, on its GPU

Token ids travel in both directions, never text. `sync` writes the weights, adapters merged into a copy, to a
folder in memory; the engine loads it in place and empties its prefix cache, which the old weights filled.
Each completion comes with the label of the weights that sampled it: so the version of a rollout is known, and
an engine that was restarted or that others use, too, is noticed. The same keys give the same rollouts as far
as rounding allows, which depends on the other rows of a batch.

Whoever reaches the server's port can load weights into it: let it listen on 127.0.0.1 or a private network.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import torch
from safetensors import SafetensorError

from ..errors import DataError, EngineDown, RunError, SettingError
from ..records import content_id
from .checkpoint import save_merged
from .policy import Policy
from .tokens import Ids
from .writer import Drawing, Rollout

SERVE: Final = "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --host 127.0.0.1 --port {port}"
TMPFS: Final = "/dev/shm"
SILENCE_S: Final = 900.0  # a server that sends nothing for so long is given up
AT_ONCE: Final = 512  # open requests; vLLM queues what it cannot run yet

IdsAndHow = tuple[list[int], dict[str, Any]]  # of a prompt; how: arguments of `SamplingParams`


class RawRollout(NamedTuple):
    """One completion, as a server and an engine in this process both give it."""

    place: int
    ids: list[int]
    finish: str
    logprobs: list[float]
    labels: list[str]  # of the weights that sampled its tokens


class VLLMWriter:
    """Samples from vLLM. `sync` before the first rollouts and after each step keeps its weights the policy's.

    `folder` is where weights are handed over, by default in memory where it has room (a container's /dev/shm
    has 64 MB); a server on another machine needs one that both see.
    """

    def __init__(self, engine: str | Colocated, folder: str | Path = "") -> None:
        self._engine = Served(engine) if isinstance(engine, str) else engine
        self._folder = folder
        self._label = f"{token_hex(4)}-{{}}".format
        self.version = 0  # of the weights in the engine: those it was started with

    def write(self, prompts: Sequence[Ids], n: int, how: Drawing, keys: Sequence[str]) -> Iterator[Rollout]:
        """`n` completions of each prompt, each as soon as it is whole."""
        needed = max(map(len, prompts), default=0) + how.max_tokens
        if needed > self._engine.longest:  # vLLM would cut the completion short
            room = f"{self._engine.name} has room for {self._engine.longest} tokens, {needed} may be needed"
            raise SettingError(f"{room}. {self._engine.restart} with --max-model-len {needed}")
        places = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(n)]
        for one in self._engine.sample([(list(prompts[p]), _sampling(how, keys[p], s)) for p, s in places]):
            # vLLM reports log-probs at temperature 1, whatever it samples at.
            logprobs = tuple(one.logprobs) if how.temperature == 1 else None
            yield Rollout(*places[one.place], one.ids, one.finish, self._version_of(one), logprobs)

    def sync(self, policy: Policy) -> int:
        """Give the engine the policy's weights as they are now; the version of the next rollouts."""
        head, embedding = policy.model.get_output_embeddings(), policy.model.get_input_embeddings()
        if self._engine.on_cpu and head.weight is embedding.weight:
            raise SettingError(
                "on a CPU vLLM packs a head that shares the embedding's weights and does not renew it. Take a"
                " GPU, or a checkpoint with a head of its own (tie_word_embeddings: false)"
            )
        size = sum(weight.numel() * weight.element_size() for weight in policy.model.parameters())
        in_memory = Path(TMPFS).is_dir() and shutil.disk_usage(TMPFS).free > size
        place = self._folder or (TMPFS if in_memory else tempfile.gettempdir())
        try:
            with tempfile.TemporaryDirectory(prefix="jurist-weights-", dir=place) as folder:
                save_merged(policy.model, Path(folder), policy.dtype)
                self._engine.load(folder, self._label(self.version + 1))
        except (OSError, SafetensorError) as error:
            raise DataError(f"cannot write weights: {error}. See: df -h {place}") from error
        self.version += 1
        return self.version

    def _version_of(self, one: RawRollout) -> int:
        """The oldest weights that sampled a token of it; those of others and too old ones are refused."""
        if not self.version:
            return 0
        ours = {self._label(version): version for version in range(1, self.version + 1)}
        if not one.labels or not ours.keys() >= set(one.labels):
            raise EngineDown(
                f"{self._engine.name} has other weights than it was given: it was restarted, or another"
                f" training uses it (label: {', '.join(one.labels) or 'none'}). {self._engine.restart}"
            )
        oldest = min(ours[label] for label in one.labels)
        if oldest < self.version - 1:
            raise RunError(
                f"a completion was sampled by version {oldest} of the weights, and the policy is at"
                f" {self.version}: at most one behind is allowed. Take a step's rollouts before the next sync"
            )
        return oldest


def open_vllm(policy: Policy, url: str = "") -> VLLMWriter:
    """The server at `url`, or an engine beside the trainer, with a third of the GPU's memory."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise SettingError("vLLM takes weights from one process. Start one, or set: --rollout.writer hf")
    return VLLMWriter(url or Colocated(policy.path, gpu_memory_utilization=0.33))


def _sampling(how: Drawing, key: str, sample: int) -> dict[str, Any]:
    """Only `how.ends` end a completion, whatever the model's configuration names; each has its own seed."""
    return {
        "max_tokens": how.max_tokens,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "seed": int(content_id("vllm", key, sample)[:15], 16),
        "stop_token_ids": list(how.ends),
        "ignore_eos": True,
        "logprobs": 0,
        "detokenize": False,
    }


class Served:
    """A running `vllm serve`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.name = f"the vLLM server at {self.url}"
        self.restart = f"Start one: {SERVE.format(port=parts.port or 8000)}"
        with self._client() as call:
            settings = call("GET", "/server_info?config_format=json").result()["vllm_config"]
        self.longest = int(settings["model_config"]["max_model_len"])
        self.on_cpu = "cpu" in str(settings["device_config"]["device"])

    def sample(self, requests: Sequence[IdsAndHow]) -> Iterator[RawRollout]:
        """The completions as they end."""
        with self._client() as call:
            bodies = [{"token_ids": ids, "sampling_params": how} for ids, how in requests]
            calls = {call("POST", "/inference/v1/generate", body): place for place, body in enumerate(bodies)}
            for done in as_completed(calls):
                (one,) = done.result()["choices"]
                logprobs = [token["logprob"] for token in one["logprobs"]["content"]]
                labels = [span["version"] for span in one["weight_versions"] or ()]
                yield RawRollout(calls[done], one["token_ids"], one["finish_reason"], logprobs, labels)

    def load(self, folder: str, label: str) -> None:
        """Load these weights once running completions have ended, and forget what the old ones computed."""
        with self._client() as call:
            call("POST", "/pause?mode=wait").result()
            order = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            call("POST", "/collective_rpc", order).result()
            if not call("POST", "/reset_prefix_cache").result()["success"]:
                raise EngineDown(f"{self.name} did not empty its prefix cache. {self.restart}")
            call("POST", "/update_weight_version", {"new_version": label}).result()
            call("POST", "/resume").result()

    @contextmanager
    def _client(self) -> Iterator[Callable[..., Any]]:
        """Sends requests from an event loop in a thread of its own; each call returns a future."""
        ready: Future[Any] = Future()

        async def client() -> None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=SILENCE_S)
            connector, stop = aiohttp.TCPConnector(limit=AT_ONCE), asyncio.Event()
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                ready.set_result((session, stop, asyncio.get_running_loop()))
                await stop.wait()

        thread = Thread(target=lambda: asyncio.run(client()), daemon=True)
        thread.start()
        session, stop, loop = ready.result()
        try:
            yield lambda *call: asyncio.run_coroutine_threadsafe(self._call(session, *call), loop)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    async def _call(self, session: Any, method: str, path: str, body: Any = None) -> Any:
        try:
            async with session.request(method, self.url + path, json=body) as reply:
                status, raw = reply.status, await reply.text()
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise EngineDown(f"{self.name} cannot be reached ({reason}). {self.restart}") from None
        if status == 200:
            return json.loads(raw)
        failed = f"{path.partition('?')[0]} of {self.name} gave HTTP {status} ({' '.join(raw.split())[:300]})"
        raise (SettingError if status < 500 else EngineDown)(f"{failed}. {self.restart}")


class Colocated:
    """An engine in this process, on the device the policy is trained on."""

    name = "the vLLM engine in this process"
    restart = "Start one: vllm.LLM(MODEL, ...)"

    def __init__(self, model: str | Path, **options: Any) -> None:
        """`options` are those of `vllm.LLM`."""
        try:
            from vllm import LLM
        except ImportError:
            raise SettingError("vLLM is not installed here. Install it with: pip install vllm") from None
        self._llm: Any = LLM(model=str(model), **options)
        settings = self._llm.llm_engine.vllm_config
        self.longest = int(settings.model_config.max_model_len)
        self.on_cpu = settings.device_config.device_type == "cpu"

    def sample(self, requests: Sequence[IdsAndHow]) -> Iterator[RawRollout]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine, running = self._llm.llm_engine, []
        try:
            for place, (ids, how) in enumerate(requests):
                params = SamplingParams(**how, output_kind=RequestOutputKind.FINAL_ONLY)
                running.append(engine.add_request(str(place), {"prompt_token_ids": ids}, params))
            while engine.has_unfinished_requests():
                for output in engine.step():
                    (one,) = output.outputs
                    logprobs = [top[id].logprob for id, top in zip(one.token_ids, one.logprobs, strict=True)]
                    labels = [span.version for span in one.weight_versions or ()]
                    place, ids = int(output.request_id), list(one.token_ids)
                    yield RawRollout(place, ids, one.finish_reason, logprobs, labels)
        finally:
            engine.abort_request(running, internal=True)

    def load(self, folder: str, label: str) -> None:
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        if not self._llm.reset_prefix_cache():
            raise EngineDown("completions are still running in vLLM. Take them all before the next sync")
        self._llm.llm_engine.set_weight_version(label)
