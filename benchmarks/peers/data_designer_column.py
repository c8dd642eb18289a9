"""Data Designer: the rows as a seed dataset, and one LLM text column, 256 requests at a time."""

import sys

import no_network  # first
from data_designer.config.column_configs import LLMTextColumnConfig
from data_designer.config.config_builder import DataDesignerConfigBuilder
from data_designer.config.models import ChatCompletionInferenceParams, ModelConfig, ModelProvider
from data_designer.config.seed_source import LocalFileSeedSource
from data_designer.interface.data_designer import DataDesigner

url, source, out = sys.argv[1:4]
count = sum(1 for _ in open(source, encoding="utf-8"))
model = ModelConfig(
    alias="m",
    model="m",
    provider="endpoint",
    inference_parameters=ChatCompletionInferenceParams(temperature=0.7, max_tokens=1024, max_parallel_requests=256),
    skip_health_check=True,
)
provider = ModelProvider(name="endpoint", endpoint=url, provider_type="openai", api_key="none")
builder = DataDesignerConfigBuilder(model_configs=[model])
builder.with_seed_dataset(LocalFileSeedSource(path=source))
builder.add_column(LLMTextColumnConfig(name="generation", prompt="{{ instruction }}", model_alias="m"))
designer = DataDesigner(artifact_path="artifacts", model_providers=[provider])
designer.create(builder, num_records=max(2, count)).export(out)  # it can't profile one row
with open(out, "r+", encoding="utf-8") as file:
    lines = file.readlines()[:count]
    file.seek(0)
    file.writelines(lines)
    file.truncate()
