"""Reads replies with a parser of a spec, and gives the columns or the words of the refusal."""

from __future__ import annotations

import pytest

from distask.errors import InvalidReply
from distask.llm.request import Completion


@pytest.fixture
def read(make_task):
    """A function from a spec's outputs and parser, a reply and a row, to columns; to the message where it is invalid."""
    made = {}

    def read(spec, reply, row=None, **completion):
        if spec not in made:
            inputs = "" if spec.startswith("inputs:") else "inputs: {items: {type: list, required: false}}\n"
            made[spec] = make_task(f"{inputs}format_input: [{{role: user, content: x}}]\n{spec}")
        try:
            return made[spec].format_output(Completion(reply, **completion), row or {})
        except InvalidReply as error:
            return error.message

    return read
