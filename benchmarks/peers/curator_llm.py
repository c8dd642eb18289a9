"""Curator: an LLM whose prompt is the row's instruction, through its `openai` backend, 256 requests at a time."""

import json
import sys

import no_network  # first
from bespokelabs import curator

url, source, out = sys.argv[1:4]


class Answer(curator.LLM):
    def prompt(self, row):
        return row["instruction"]

    def parse(self, row, response):
        return {**row, "generation": response}


rows = [json.loads(line) for line in open(source, encoding="utf-8")]
llm = Answer(
    model_name="m",
    backend="openai",
    generation_params={"temperature": 0.7, "max_tokens": 1024},
    backend_params={
        "base_url": url,
        "api_key": "none",
        "max_concurrent_requests": 256,
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
    },
)
made = llm(rows)
(made.dataset if hasattr(made, "dataset") else made).to_json(out)
