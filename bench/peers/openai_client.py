"""AsyncOpenAI on uvloop: the vendor's client, and nothing around it."""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop
from openai import AsyncOpenAI


def read(questions: str, calls: int) -> list[list[dict]]:
    with open(questions, "rb") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(calls), strict=False)]


async def main(url: str, questions: str, calls: int, concurrency: int) -> int:
    todo = iter(read(questions, calls))
    answered = 0
    async with AsyncOpenAI(base_url=url, api_key="none") as client:

        async def worker() -> None:
            nonlocal answered
            for messages in todo:
                reply = await client.chat.completions.create(
                    model="judge",
                    messages=messages,
                    temperature=0.0,
                    max_tokens=1024,
                    logprobs=True,
                    top_logprobs=5,
                )
                answered += reply.choices[0].message.content in ("A", "B")

        await asyncio.gather(*(worker() for _ in range(concurrency)))
    return answered


if __name__ == "__main__":
    print(json.dumps({"answered": uvloop.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5])))}))
