"""Start and end quickly: skip what the interpreter and libraries do for long-lived programs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

GARBAGE = 50_000
"""New objects per garbage collection; Python's default of 700 costs a tenth of the startup time, and of a run."""

_PLUGINS = "pydantic.plugin._loader"


class _NoPlugins(ModuleType):
    """Replaces the module that finds pydantic plugins; distask has none.

    That module loads all of `importlib.metadata`, including `email`, even if plugins are disabled: a tenth of the
    startup time. All other attributes come from the real module.
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
    """Prepare the process, before large imports."""
    gc.set_threshold(GARBAGE)
    sys.modules.setdefault(_PLUGINS, _NoPlugins(_PLUGINS))


def end(code: int) -> NoReturn:
    """End the process, after all output is flushed, without freeing its objects one by one."""
    atexit._run_exitfuncs()  # noqa: SLF001 - what Python itself does at exit
    os._exit(code)
