"""Who is measured: what is installed for each, and how it is started."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that takes rows to answers."""

    name: str
    does: str
    """What it does with a row."""
    packages: tuple[str, ...]
    """What pip installs into its environment; the first is the one whose version is told."""
    script: str | None = None
    """Its program, called with URL, ROWS and OUT; None for distask's own command."""
    peer: bool = False
    tree: bool = False
    """Whether its work is done by processes that outlive it."""
    most: int = 1_000_000
    """The most rows that it is measured with: more would take too long."""
    env: tuple[tuple[str, str], ...] = ()
    python: int = 11
    """The 3.x that it needs at least."""

    @property
    def shown(self) -> str:
        """The package that the version is of."""
        return "distask" if self.script is None else self.packages[0].partition("[")[0].partition("==")[0]


CANDIDATES = (
    Candidate("distask", "all of it: render, ask, keep, parse, write in order", (str(ROOT),)),
    Candidate("aiohttp loop", "posts, reads the bytes; no more", ("aiohttp",), "scripts/aiohttp_loop.py"),
    Candidate("aiohttp script", "posts, parses, writes", ("aiohttp",), "scripts/aiohttp_script.py"),
    Candidate("openai loop", "asks through the `openai` client; no more", ("openai",), "scripts/openai_loop.py"),
    Candidate(
        "distilabel",
        "a pipeline of one step",
        ("distilabel[openai]", "requests"),  # it imports `requests` and does not declare it
        "peers/distilabel_pipeline.py",
        peer=True,
        tree=True,
        most=2_000,
    ),
    Candidate(
        "Curator",
        "one LLM over the rows",
        ("bespokelabs-curator",),
        "peers/curator_llm.py",
        peer=True,
        tree=True,
        most=20_000,
        env=(("TELEMETRY_ENABLED", "false"), ("LITELLM_LOCAL_MODEL_COST_MAP", "True")),
    ),
    Candidate(
        "DocETL",
        "a pipeline of one map",
        ("docetl",),
        "peers/docetl_map.py",
        peer=True,
        tree=True,
        most=2_000,
        env=(("LITELLM_LOCAL_MODEL_COST_MAP", "True"),),
    ),
    Candidate(
        "Data Designer",
        "one LLM column",
        ("data-designer",),
        "peers/data_designer_column.py",
        peer=True,
        tree=True,
        most=2_000,
        env=(("NEMO_TELEMETRY_ENABLED", "false"),),
    ),
    Candidate(
        "llm-annotator",
        "annotates a dataset",
        ("llm-annotator[openai]",),
        "peers/llm_annotator_dataset.py",
        peer=True,
        tree=True,
        most=20_000,
        python=12,
    ),
    Candidate(
        "Ray Data",
        "the HTTP processor of ray.data.llm",
        ("ray[data]", "pydantic", "aiohttp"),  # which that processor imports
        "peers/ray_http.py",
        peer=True,
        tree=True,
        most=2_000,
        env=(("RAY_USAGE_STATS_ENABLED", "0"),),
    ),
)


def _interpreter(least: int) -> str:
    if sys.version_info >= (3, least):
        return sys.executable
    for minor in range(least, least + 4):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise RuntimeError(f"it needs Python 3.{least}, and there is none on the PATH")


class Environment:
    """A candidate's virtual environment, made once and kept."""

    def __init__(self, candidate: Candidate, home: Path) -> None:
        self.candidate = candidate
        told = [sys.version, *candidate.packages]
        if candidate.script is None:
            inside = sorted(p for part in ("distask", "tasks", "configs") for p in (ROOT / part).rglob("*"))
            sources = [p for p in inside if p.suffix in (".py", ".yaml")]
            told += [p.read_text() for p in (ROOT / "pyproject.toml", *sources)]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
        self.folder = home / f"{'-'.join(sorted(candidate.packages)).replace('/', '_')[-60:].strip('_')}-{digest}"
        self.python = self.folder / "bin" / "python"

    def make(self) -> None:
        """Install; raises `CalledProcessError` where that fails."""
        if (self.folder / "made").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([_interpreter(self.candidate.python), "-m", "venv", str(self.folder)], check=True)
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        if uv := shutil.which("uv"):  # the same, in a tenth of the time
            pip = [uv, "pip", "install", "-q", "--python", str(self.python)]
        done = subprocess.run([*pip, *self.candidate.packages], capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-500:])
        (self.folder / "made").touch()

    def size(self) -> int:
        """Bytes of what was installed, without pip."""
        (site,) = (self.folder / "lib").glob("python*/site-packages")
        own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
        files = (f for f in site.rglob("*") if f.is_file() and not f.is_symlink() and f.suffix != ".pyc")
        return sum(f.stat().st_size for f in files if not f.relative_to(site).parts[0].startswith(own))

    def version(self) -> str:
        """Of the candidate's first package."""
        code = f"import importlib.metadata as m; print(m.version({self.candidate.shown!r}))"
        return subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    def command(self, url: str, rows: Path, out: Path) -> list[str]:
        """What is run."""
        if self.candidate.script is not None:
            return [str(self.python), str(HERE / self.candidate.script), url, str(rows), str(out)]
        words = ["run", str(HERE / "task.yaml"), "-i", str(rows), "-o", str(out), "--base-url", url, "--model", "m"]
        return [str(self.python), "-m", "distask", *words, "-j", "256", "-q"]

    def variables(self, home: Path) -> dict[str, str]:
        """The environment of its process: no proxy, no key but a made-up one, a home of its own."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
        own = {"HOME": str(home), "OPENAI_API_KEY": "none", "NO_PROXY": "*", "PYTHONHASHSEED": "0"}
        if self.candidate.script is None:
            own["PYTHONPATH"] = str(ROOT)  # the code of this checkout, not that of the day of the install
        return {**kept, **own, **dict(self.candidate.env)}
