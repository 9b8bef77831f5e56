"""Another tool answering the same questions: `python client.py NAME URL QUESTIONS CALLS CONCURRENCY`.

Prints how many replies were A or B. Curator's tokenizer file would have to be downloaded, so tokens are
counted by a stand-in that costs next to nothing: the figure is a little kinder to curator than a real run.
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile

SAMPLING = {"temperature": 0.0, "logprobs": True, "top_logprobs": 5}


def openai(url: str, asked: list, concurrency: int) -> list[str]:
    """AsyncOpenAI on uvloop: the vendor's client, and nothing around it."""
    import uvloop
    from openai import AsyncOpenAI

    todo, replies = iter(asked), []

    async def ask_all() -> None:
        async with AsyncOpenAI(base_url=url, api_key="none") as client:

            async def worker() -> None:
                for messages in todo:
                    how = {"model": "judge", "messages": messages, "max_tokens": 1024, **SAMPLING}
                    reply = await client.chat.completions.create(**how)
                    replies.append(reply.choices[0].message.content)

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    uvloop.run(ask_all())
    return replies


def curator(url: str, asked: list, concurrency: int) -> list[str]:
    """A curator LLM over a list of rows."""
    import tiktoken

    class Quarters:
        def encode(self, text: str, **_: object) -> range:
            return range(len(text) // 4)

    tiktoken.get_encoding = lambda _: Quarters()

    from bespokelabs import curator

    class Judge(curator.LLM):
        def prompt(self, row: dict) -> list[dict]:
            return json.loads(row["messages"])

        def parse(self, row: dict, reply: str) -> dict:
            return {"verdict": reply}

    limits = {"max_requests_per_minute": 100_000_000, "max_tokens_per_minute": 10_000_000_000}
    server = {"base_url": url, "api_key": "none", "max_concurrent_requests": concurrency, **limits}
    sampling = {"generation_params": {"max_tokens": 1024, **SAMPLING}}
    judge = Judge(model_name="judge", backend="openai", backend_params=server, **sampling)
    done = judge([{"messages": json.dumps(one)} for one in asked])
    return list(getattr(done, "dataset", done)["verdict"])


def distilabel(url: str, asked: list, concurrency: int) -> list[str]:
    """A pipeline of one step: rows in, one chat completion each, a data set out."""
    from distilabel.models.llms import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [{"system_prompt": one[0]["content"], "instruction": one[1]["content"]} for one in asked]
    how = {"max_new_tokens": 1024, **SAMPLING}
    with tempfile.TemporaryDirectory() as cache, Pipeline(name="judge", cache_dir=cache) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=concurrency)
        llm = OpenAILLM(model="judge", base_url=url, api_key="none", generation_kwargs=how)
        load >> TextGeneration(llm=llm, input_batch_size=concurrency)
        return list(pipeline.run(use_cache=False)["default"]["train"]["generation"])


if __name__ == "__main__":
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DISTILABEL_LOG_LEVEL": "ERROR"}
    offline |= dict.fromkeys(("CURATOR_DISABLE_CACHE", "CURATOR_DISABLE_RICH_DISPLAY"), "1")
    offline |= {"TELEMETRY_ENABLED": "false", "HOSTED_CURATOR_VIEWER": "0"}
    offline |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    name, url, questions, calls, concurrency = sys.argv[1:]
    with open(questions, "rb") as lines:
        asked = [json.loads(line) for line in itertools.islice(lines, int(calls))]
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(offline, CURATOR_CACHE_DIR=cache)
        peer = {"openai": openai, "curator": curator, "distilabel": distilabel}[name]
        replies = peer(url, asked, int(concurrency))
    print(json.dumps({"answered": sum(text in ("A", "B") for text in replies)}))
