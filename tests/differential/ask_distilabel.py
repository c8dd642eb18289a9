"""Ask distilabel itself what it makes of the replies in the gallery's cases: `distilabel.jsonl` is what it gave.

It needs an environment that has distask and distilabel, which is a dependency of nothing here:

    pip install distilabel argilla requests
    python tests/differential/ask_distilabel.py
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilabel.models.llms.base import LLM
from distilabel.steps import tasks as theirs
from pydantic import ValidationError

from distask.spec.gallery import gallery
from distask.spec.load import load_spec
from distask.task.params import param_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.spec.language.model import Case, TaskSpec

ANSWERS = Path(__file__).with_name("distilabel.jsonl")

CLASSES = {
    "apigen-generator": "APIGenGenerator",
    "apigen-semantic-checker": "APIGenSemanticChecker",
    "argilla-labeller": "ArgillaLabeller",
    "bitext-retrieval-generator": "BitextRetrievalGenerator",
    "chat-generation": "ChatGeneration",
    "clair": "CLAIR",
    "complexity-scorer": "ComplexityScorer",
    "embedding-task-generator": "EmbeddingTaskGenerator",
    "generate-long-text-matching-data": "GenerateLongTextMatchingData",
    "generate-sentence-pair": "GenerateSentencePair",
    "generate-short-text-matching-data": "GenerateShortTextMatchingData",
    "generate-text-classification-data": "GenerateTextClassificationData",
    "generate-text-retrieval-data": "GenerateTextRetrievalData",
    "genstruct": "Genstruct",
    "instruction-backtranslation": "InstructionBacktranslation",
    "math-shepherd-generator": "MathShepherdGenerator",
    "monolingual-triplet-generator": "MonolingualTripletGenerator",
    "prometheus-eval": "PrometheusEval",
    "quality-scorer": "QualityScorer",
    "self-instruct": "SelfInstruct",
    "structured-generation": "StructuredGeneration",
    "text-classification": "TextClassification",
    "text-generation": "TextGeneration",
    "ultrafeedback": "UltraFeedback",
    "urial": "URIAL",
}


class Silent(LLM):
    """A model that is never asked."""

    structured_output: Any = None

    @property
    def model_name(self) -> str:
        """Any name."""
        return "none"

    def generate(self, inputs: Any, **_: Any) -> list[Any]:
        """Never called."""
        raise NotImplementedError


def answers(name: str) -> Iterator[dict[str, Any]]:
    """What distilabel makes of each case's reply, for the cases whose params it has."""
    spec = load_spec(name).spec
    for case in spec.cases:
        reply = case.reply if isinstance(case.reply, str) else case.reply.get("text")
        task = ready(name, spec, case)
        if task is None:
            continue
        record = {"task": name, "case": case.name, "params": case.params or {}, "input": case.input, "reply": reply}
        try:
            columns = task.format_output(reply, copy.deepcopy(case.input))
            made = columns if isinstance(columns, dict) else {"": columns}
            yield record | {"gave": {key: value for key, value in made.items() if key not in case.input}}
        except Exception as error:  # noqa: BLE001 - whatever its parser raises ends the pipeline's batch
            yield record | {"raised": type(error).__name__}


def ready(name: str, spec: TaskSpec, case: Case) -> Any:
    """Their task with the case's params; None where it has no such params."""
    of_class = getattr(theirs, CLASSES[name])
    needed = {key for key, field in of_class.model_fields.items() if field.is_required()} - {"llm", "name"}
    values = param_values(spec, case.params or {})
    given = {key: values[key] for key in {*needed, *(case.params or {})}}
    if "use_default_structured_output" in of_class.model_fields:
        given["use_default_structured_output"] = False  # it is about the request; nothing is asked
    try:
        task = of_class(llm=Silent(), **given)
    except ValidationError:
        return None
    task.load()
    return task


if __name__ == "__main__":
    logging.disable()
    made = [answer for name in CLASSES if name in gallery() for answer in answers(name)]
    about = {"distilabel": version("distilabel"), "asked": dt.datetime.now(dt.UTC).date().isoformat()}
    ANSWERS.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [about, *made]))
