"""A curator LLM over a list of rows. Its tokenizer file would have to be downloaded, so tokens are counted by
a stand-in that costs next to nothing: the figure is a little kinder to curator than a real run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

CACHE = tempfile.TemporaryDirectory()
os.environ.update(
    CURATOR_CACHE_DIR=CACHE.name,
    CURATOR_DISABLE_CACHE="1",
    CURATOR_DISABLE_RICH_DISPLAY="1",
    TELEMETRY_ENABLED="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HOSTED_CURATOR_VIEWER="0",
)

import tiktoken  # noqa: E402


class Quarters:
    """Four characters a token."""

    def encode(self, text: str, **_: object) -> range:
        return range(len(text) // 4)


tiktoken.get_encoding = lambda _: Quarters()

from bespokelabs import curator  # noqa: E402


class Judge(curator.LLM):
    def prompt(self, row: dict) -> list[dict]:
        return json.loads(row["messages"])

    def parse(self, row: dict, reply: str) -> dict:
        return {"verdict": reply}


def main(url: str, questions: str, calls: int, concurrency: int) -> int:
    with open(questions) as lines:
        rows = [{"messages": line} for line, _ in zip(lines, range(calls), strict=False)]
    judge = Judge(
        model_name="judge",
        backend="openai",
        generation_params={"temperature": 0.0, "max_tokens": 1024, "logprobs": True, "top_logprobs": 5},
        backend_params={
            "base_url": url,
            "api_key": "none",
            "max_concurrent_requests": concurrency,
            "max_requests_per_minute": 100_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
    )
    done = judge(rows)
    table = getattr(done, "dataset", done)
    return sum(text in ("A", "B") for text in table["verdict"])


if __name__ == "__main__":
    print(json.dumps({"answered": main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))}))
