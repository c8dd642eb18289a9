"""The `openai` client: 256 workers that ask for each row; nothing is kept."""

import asyncio
import json
import sys

from openai import AsyncOpenAI

url, source, _ = sys.argv[1:4]


async def main():
    lines = iter(open(source, encoding="utf-8"))
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def work():
            for line in lines:
                row = json.loads(line)
                messages = [{"role": "user", "content": row["instruction"]}]
                await client.chat.completions.create(model="m", messages=messages, temperature=0.7, max_tokens=1024)

        await asyncio.gather(*(work() for _ in range(256)))


asyncio.run(main())
