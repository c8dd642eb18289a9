"""Make function calls that a model wrote, in a process of their own, and say what came of each.

The functions are yours (`libpath`); their names and arguments are a model's. The process has none of this one's
environment, so that no key is in reach, and it ends when a call takes too long.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

DANGEROUS_MODULES = frozenset({"subprocess", "multiprocessing", "threading", "socket", "shutil", "ctypes"})
DANGEROUS_NAMES = frozenset({"eval", "exec", "compile", "__import__", "input", "exit", "quit", "open"})
DANGEROUS_CALLS = frozenset(
    {"os.system", "os.popen", "os.remove", "os.unlink", "os.rmdir", "os.kill", "os._exit", "sys.exit"}
)
"""What a function may not have in its source; a look at the source is no wall, only a first sieve."""

LONGEST = 10_000
"""Characters of a result that are kept."""


def execute(
    row: dict[str, Any], *, libpath: str, check_is_dangerous: bool = True, timeout: float = 5
) -> dict[str, Any]:
    """Make a row's calls.

    Args:
        row: its `answers` are the calls, [{name, arguments}], a list or JSON text.
        libpath: a Python file with the functions, or a folder with a file for each, called like the function.
        check_is_dangerous: whether functions that begin processes, delete files and the like are left alone.
        timeout: seconds that a call may take.

    Returns:
        `keep_row_after_execution_check`, whether all calls could be made, and `execution_result`, a text for each.
    """
    library = Path(libpath)
    if not library.exists():
        library = Path(__file__).with_name(libpath)
    if not library.exists():
        raise FileNotFoundError(f"there is no {libpath}")
    answers = row.get("answers")
    try:
        calls = json.loads(answers) if isinstance(answers, str) else answers
    except ValueError:
        calls = None
    if not isinstance(calls, list) or not calls:
        return _told([(False, "there are no calls")])
    done: list[tuple[bool, str]] = []
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            done.append((False, "this is no call"))
            continue
        arguments = call.get("arguments", {})
        done.append(_made(library, call["name"], arguments, sieve=check_is_dangerous, timeout=timeout))
    return _told(done)


def _told(done: list[tuple[bool, str]]) -> dict[str, Any]:
    return {
        "keep_row_after_execution_check": all(kept for kept, _ in done),
        "execution_result": [text for _, text in done],
    }


def _made(library: Path, name: str, arguments: Any, *, sieve: bool, timeout: float) -> tuple[bool, str]:
    """One call, in a process of its own."""
    told = json.dumps({"library": str(library.resolve()), "name": name, "arguments": arguments, "sieve": sieve})
    try:
        child = subprocess.run(  # noqa: S603 - this very file, by this very interpreter
            [sys.executable, "-I", __file__],
            input=told,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": os.defpath},
            cwd=library.parent,
        )
        kept, text = json.loads(child.stdout)
    except subprocess.TimeoutExpired:
        return False, f"the call took longer than {timeout:g} s"
    except ValueError:
        return False, f"the call ended its process (exit code {child.returncode})"
    return kept, text


def _call(library: Path, name: str, arguments: Any, *, sieve: bool) -> tuple[bool, str]:
    """Load the function and call it."""
    file = library / f"{name}.py" if library.is_dir() else library
    if not name.isidentifier() or not file.is_file():
        return False, f"there is no function {name}"
    source = file.read_text(encoding="utf-8")
    defined = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}
    if name not in defined or name.startswith("_"):
        return False, f"there is no function {name}"
    if sieve and (danger := _danger(defined[name])) is not None:
        return False, f"{name} is left alone: its source has {danger}"
    if not isinstance(arguments, dict):
        return False, "the arguments are no mapping of names to values"
    spec = importlib.util.spec_from_file_location("library", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        result = getattr(module, name)(**arguments)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its result
        return False, textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST)
    return True, str(result)[:LONGEST]


def _danger(function: ast.FunctionDef) -> str | None:
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in DANGEROUS_NAMES | DANGEROUS_MODULES:
            return node.id
        if isinstance(node, ast.Attribute) and ast.unparse(node) in DANGEROUS_CALLS:
            return ast.unparse(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found = [module for module in modules if module.partition(".")[0] in DANGEROUS_MODULES]
            if found:
                return found[0]
    return None


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    with contextlib.redirect_stdout(io.StringIO()):  # what a function prints is no result
        outcome = _call(Path(asked["library"]), asked["name"], asked["arguments"], sieve=asked["sieve"])
    print(json.dumps(outcome))  # noqa: T201
