"""The script that people write by hand: aiohttp, a semaphore, gather; replies are parsed and written in order."""

import asyncio
import json
import sys

import aiohttp

url, source, out = sys.argv[1:4]


async def main():
    rows = [json.loads(line) for line in open(source, encoding="utf-8")]
    places = asyncio.Semaphore(256)
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(row):
            messages = [{"role": "user", "content": row["instruction"]}]
            body = {"model": "m", "messages": messages, "temperature": 0.7, "max_tokens": 1024}
            async with places, session.post(url + "/chat/completions", json=body) as answer:
                answer.raise_for_status()
                reply = await answer.json()
                return {**row, "generation": reply["choices"][0]["message"]["content"]}

        made = await asyncio.gather(*(ask(row) for row in rows))
    with open(out, "w", encoding="utf-8") as file:
        for row in made:
            file.write(json.dumps(row) + "\n")


asyncio.run(main())
