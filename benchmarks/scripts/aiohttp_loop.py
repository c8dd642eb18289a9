"""The bare loop: 256 workers on aiohttp that post each row and read the answer's bytes. Nothing is parsed or kept."""

import asyncio
import json
import sys

import aiohttp

url, source, _ = sys.argv[1:4]


async def main():
    lines = iter(open(source, encoding="utf-8"))
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(connector=connector, headers={"content-type": "application/json"}) as session:

        async def work():
            for line in lines:
                row = json.loads(line)
                messages = [{"role": "user", "content": row["instruction"]}]
                body = json.dumps({"model": "m", "messages": messages, "temperature": 0.7, "max_tokens": 1024})
                async with session.post(url + "/chat/completions", data=body) as answer:
                    await answer.read()

        await asyncio.gather(*(work() for _ in range(256)))


asyncio.run(main())
