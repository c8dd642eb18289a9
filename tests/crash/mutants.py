"""The program with one thing changed: as a copy that processes run, or as one of its modules."""

from __future__ import annotations

import shutil
import sys
import types

from tests.crash.forks import ROOT


def changed(file, old, new):
    """A file's source in which `old`, which is there once, is `new`."""
    source = (ROOT / "distask" / file).read_text()
    assert source.count(old) == 1, f"{file} has {source.count(old)} times: {old}"
    return source.replace(old, new)


def program(folder, file, old, new):
    """A folder with a copy of the package that has the change."""
    shutil.copytree(ROOT / "distask", folder / "distask")
    (folder / "distask" / file).write_text(changed(file, old, new))
    return folder


def module(file, old, new):
    """A module of its own that has the change."""
    made = types.ModuleType("mutant_of_" + file.removesuffix(".py").replace("/", "_"))
    sys.modules[made.__name__] = made
    exec(compile(changed(file, old, new), file, "exec"), made.__dict__)
    return made
