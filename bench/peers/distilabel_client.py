"""A distilabel pipeline of one step: rows in, one chat completion each, a data set out."""

from __future__ import annotations

import json
import os
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", DISTILABEL_LOG_LEVEL="ERROR")

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration


def main(url: str, questions: str, calls: int, concurrency: int) -> int:
    with open(questions, "rb") as lines:
        messages = [json.loads(line) for line, _ in zip(lines, range(calls), strict=False)]
    rows = [{"system_prompt": one[0]["content"], "instruction": one[1]["content"]} for one in messages]
    options = {
        "temperature": 0.0,
        "max_new_tokens": 1024,
        "logprobs": True,
        "top_logprobs": 5,
    }
    with tempfile.TemporaryDirectory() as cache, Pipeline(name="judge", cache_dir=cache) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=concurrency)
        llm = OpenAILLM(model="judge", base_url=url, api_key="none", generation_kwargs=options)
        ask = TextGeneration(llm=llm, input_batch_size=concurrency)
        load >> ask
        done = pipeline.run(use_cache=False)["default"]["train"]
        return sum(text in ("A", "B") for text in done["generation"])


if __name__ == "__main__":
    print(json.dumps({"answered": main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))}))
