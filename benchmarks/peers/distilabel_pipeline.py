"""distilabel: a pipeline of rows and one TextGeneration, 256 rows a batch."""

import json
import sys

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

url, source, out = sys.argv[1:4]


def main():
    rows = [json.loads(line) for line in open(source, encoding="utf-8")]
    keywords = {"temperature": 0.7, "max_new_tokens": 1024}
    with Pipeline(name="benchmark") as pipeline:
        data = LoadDataFromDicts(data=rows, batch_size=256)
        llm = OpenAILLM(model="m", base_url=url, api_key="none", generation_kwargs=keywords)
        data >> TextGeneration(llm=llm, input_batch_size=256)
    pipeline.run(use_cache=False)["default"]["train"].to_json(out)


if __name__ == "__main__":  # its steps are processes, which import this file
    main()
