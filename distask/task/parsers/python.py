"""`python`: a user-defined function, which runs only with permission."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from distask.errors import InvalidReply, UsageError
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, text_of
from distask.task.reply.reasoning import MODEL_TAGS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from distask.llm.request import Completion
    from distask.spec.language.parsers import PythonParser as Options


def function_of(name: str, folder: Path) -> Callable[..., Any]:
    """Load `module:function` from a module next to the spec or an installed one; raises `UsageError`."""
    module_name, _, function = name.partition(":")
    file = folder.joinpath(*module_name.split(".")).with_suffix(".py")
    try:
        if file.is_file():
            spec = importlib.util.spec_from_file_location(f"distask_user_{module_name}", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
        found: Callable[..., Any] = getattr(module, function)
    except Exception as error:
        raise UsageError(f"{name} can't be loaded: {type(error).__name__}: {error}") from error
    return found


class PythonParser(Parser):
    """Calls `module:function(reply, row)`, from a module next to the spec or an installed one."""

    reasoning_tags = tuple(MODEL_TAGS)  # the function handles tags that the prompt asks for

    def __init__(self, options: Options, context: Context) -> None:
        self._name = options.function
        self._function: Callable[..., Any] | None = None
        if context.allow_code:
            self._function = function_of(options.function, context.folder)

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:
        if self._function is None:
            raise UsageError(f"the parser runs code, {self._name}: review it, then allow it with --allow-code")
        try:
            made = self._function(text_of(completion, self.reasoning_tags), dict(scope["row"]))
        except InvalidReply:
            raise
        except Exception as error:
            raise invalid(f"{self._name}: {type(error).__name__}: {error}") from error
        if not isinstance(made, dict):
            raise invalid(f"{self._name} gave {type(made).__name__}, not a dict of columns")
        return made

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        from distask.task.reply.examples import sentence

        return sentence(rng)
