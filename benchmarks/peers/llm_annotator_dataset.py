"""llm-annotator: `annotate_dataset` over the rows, 256 threads."""

import sys

from datasets import Dataset
from llm_annotator import Annotator, OpenAIClient
from llm_annotator.clients.openai_client import OpenAIRuntimeOptions

url, source, out = sys.argv[1:4]
client = OpenAIClient(model="m", base_url=url, api_key="none", max_workers=256)
with Annotator(client=client, batch_size=256) as annotator:
    made = annotator.annotate_dataset(
        output_dir="made",
        prompt_template="{instruction}",
        dataset=Dataset.from_json(source),
        options=OpenAIRuntimeOptions(temperature=0.7, max_completion_tokens=1024),
        keep_columns=True,
    )
made.to_json(out)
