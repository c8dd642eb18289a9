"""Load user-defined functions, once running code is allowed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
