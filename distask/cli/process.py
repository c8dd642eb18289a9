"""Begin and end at once: what the interpreter and libraries do for long-lived programs is left out of a short one."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

GARBAGE = 50_000
"""New objects after which cycles are looked for; at Python's own 700 that is a tenth of a start, and of a run."""

_PLUGINS = "pydantic.plugin._loader"


class _NoPlugins(ModuleType):
    """Stands for the module by which pydantic finds plugins, of which distask has none.

    That module loads all of `importlib.metadata`, and with it `email`, also where it is told to find none: a tenth of a
    start. Whatever else is asked of it is asked of the real one.
    """

    @staticmethod
    def get_plugins() -> tuple[()]:
        return ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(_PLUGINS) is self:
            del sys.modules[_PLUGINS]
        return getattr(import_module(_PLUGINS), name)


def begin() -> None:
    """Before anything large is imported."""
    gc.set_threshold(GARBAGE)
    sys.modules.setdefault(_PLUGINS, _NoPlugins(_PLUGINS))


def end(code: int) -> NoReturn:
    """End the process, all of whose output is flushed; its memory goes with it, instead of object by object."""
    atexit._run_exitfuncs()  # noqa: SLF001 - what Python itself does at its end
    os._exit(code)
