"""DocETL: a pipeline of one map, 256 threads."""

import json
import os
import sys

url, source, out = sys.argv[1:4]
os.environ["OPENAI_API_BASE"] = os.environ["OPENAI_BASE_URL"] = url + "/json"  # it takes objects only

import no_network  # first
from docetl.api import Dataset, MapOp, Pipeline, PipelineOutput, PipelineStep

with open("rows.json", "w", encoding="utf-8") as file:
    json.dump([json.loads(line) for line in open(source, encoding="utf-8")], file)
pipeline = Pipeline(
    name="benchmark",
    datasets={"rows": Dataset(type="file", path="rows.json")},
    operations=[
        MapOp(
            name="answer",
            type="map",
            prompt="{{ input.instruction }}",
            output={"schema": {"generation": "string"}, "mode": "structured_output"},
            litellm_completion_kwargs={"temperature": 0.7, "max_tokens": 1024},
        )
    ],
    steps=[PipelineStep(name="answers", input="rows", operations=["answer"])],
    output=PipelineOutput(type="file", path="made.json"),
    default_model="openai/m",
)
pipeline.run(max_threads=256)
with open(out, "w", encoding="utf-8") as file:
    for row in json.load(open("made.json", encoding="utf-8")):
        file.write(json.dumps(row) + "\n")
