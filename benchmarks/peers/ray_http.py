"""Ray Data: the HTTP processor of `ray.data.llm`, one worker, 256 rows a batch."""

import sys

import ray
import ray.data
from ray.data.llm import HttpRequestProcessorConfig, build_processor

url, source, out = sys.argv[1:4]
ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)


def asked(row):
    messages = [{"role": "user", "content": row["instruction"]}]
    return {**row, "payload": {"model": "m", "messages": messages, "temperature": 0.7, "max_tokens": 1024}}


def answered(row):
    text = row["http_response"]["choices"][0]["message"]["content"]
    return {"id": row["id"], "instruction": row["instruction"], "generation": text}


processor = build_processor(
    HttpRequestProcessorConfig(url=url + "/chat/completions", batch_size=256, concurrency=1),
    preprocess=asked,
    postprocess=answered,
)
made = processor(ray.data.read_json(source, lines=True))
made.to_pandas().to_json(out, orient="records", lines=True)
ray.shutdown()
