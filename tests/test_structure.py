"""The structure of the package: imports point one way, and no folder is crowded."""

from __future__ import annotations

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    {"__main__"},
    {"cli"},
    {"report"},
    {"judging", "labeling"},
    {"__init__"},
    {"runner"},
    {"batch_ledger", "run_ledger"},
    {"store"},
    {"store_window"},
    {"store_file"},
    {"task"},
    {"llm", "data"},
    {"spec"},
    {"diagnostics", "formatting", "version", "web"},
    {"errors"},
]
"""A module imports only from its own layer's package and from the layers below; `errors` imports nothing."""
MOST_MODULES = 13


def modules():
    """Name to file of every module."""
    found = {}
    for path in sorted((ROOT / "distask").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def imports(name):
    """The modules that one imports, also inside of functions and for type checking only."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{name} has a relative import"
            found |= {
                full if (full := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
    return {module for module in found if module in MODULES and module != name}


def layer(module):
    part = module.split(".")[1] if "." in module else "__init__"
    return next(number for number, parts in enumerate(LAYERS) if part in parts), part


def test_no_modules_import_each_other():
    graph = {name: imports(name) for name in MODULES}

    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", [name for name in MODULES if name != "distask.__init__"])
def test_imports_point_down(name):
    own, part = layer(name)
    for imported in imports(name):
        below, other = layer(imported)
        assert below > own or other == part, f"{name} imports {imported}"


def test_errors_import_nothing():
    assert imports("distask.errors") == set()


def test_no_folder_is_crowded():
    for folder in {path.parent for path in MODULES.values()}:
        count = sum(1 for path in folder.glob("*.py") if path.name != "__init__.py")
        assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)} has {count} modules"
