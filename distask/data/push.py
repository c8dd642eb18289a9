"""Push an output to the Hub as a dataset, with a card that describes how it was made."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml
from msgspec import Struct

from distask.data.provenance import summarize_prompts, summarize_runs
from distask.errors import OutputError, UsageError
from distask.formatting import tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from huggingface_hub import HfApi


PREFIX = "hf://"
RECORD = "distask.run.json"
"""The run's record in the repository. A dataset that contains it was made by distask."""
FILE_BYTES = 500_000_000
"""Approximate size of a file of rows on the Hub, as `datasets` splits them."""
_DATA = re.compile(r"^data/(?P<split>\w+)-\d{5}-of-\d{5}\.parquet$")
_ADDRESS = re.compile(r"^hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<split>\w+))?$")


class HubRepository(Struct, frozen=True):
    """A dataset on the Hub: its name, its split, and the file that is written first."""

    name: str
    split: str
    local: Path
    private: bool = False

    @classmethod
    def named(cls, address: str, outputs: Path, *, private: bool = False) -> HubRepository:
        """Create it from `hf://owner/name[@split]`; raises `UsageError`."""
        found = _ADDRESS.match(address)
        if found is None:
            raise UsageError(f"{address}: not a dataset address; write hf://owner/name or hf://owner/name@split")
        split = found["split"] or "train"
        return cls(found["name"], split, outputs / "hf" / found["name"] / f"{split}.parquet", private)

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` if no one is logged in, or the name is taken by a dataset that distask did not make."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        api = HfApi()
        try:
            api.whoami()
            files = api.list_repo_files(self.name, repo_type="dataset")
        except RepositoryNotFoundError:
            files = []
        except HfHubHTTPError as error:
            raise UsageError(f"{PREFIX}{self.name}: the Hub refused the request: {_words(error)}\n{_LOG_IN}") from None
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - no token, no network: each has its own error
            raise UsageError(f"{PREFIX}{self.name}: {_words(error)}\n{_LOG_IN}") from None
        others = [f for f in files if f not in (".gitattributes", "README.md")]
        if others and RECORD not in files and not overwrite:
            raise UsageError(
                f"the dataset {self.name} exists, and distask did not make it. No requests were sent.\n"
                "Name another dataset with --output, or add to it with --overwrite."
            )
        self.local.parent.mkdir(parents=True, exist_ok=True)

    def send(self, record: Path, run: Mapping[str, Any]) -> str:  # noqa: ARG002 - the record names paths of this machine
        """Push the rows, the run's record and a card in one commit; return the dataset's web address.

        Rows are split into files of `FILE_BYTES`; files that an interrupted push already uploaded are not sent again.
        The commit deletes files from an earlier push of this split and keeps other splits.
        """
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.create_repo(self.name, repo_type="dataset", private=self.private or None, exist_ok=True)
            there = api.list_repo_files(self.name, repo_type="dataset")
            with tempfile.TemporaryDirectory(dir=self.local.parent, prefix="push-") as folder:
                parts = in_files(self.local, Path(folder), FILE_BYTES)
                self._commit(api, parts, there, run)
        except Exception as error:  # noqa: BLE001 - on any error, the output is complete here
            raise OutputError(
                f"{PREFIX}{self.name}: can't be pushed: {_words(error)}\n"
                f"The output is complete in {self.local}. Run the same command to push it again without new requests."
            ) from None
        return f"{api.endpoint}/datasets/{self.name}"

    def _commit(self, api: HfApi, parts: Sequence[Path], there: Sequence[str], run: Mapping[str, Any]) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        splits = {found["split"]: None for file in sorted(there) if (found := _DATA.match(file))} | {self.split: None}
        files: dict[str, Path | bytes] = {
            **{f"data/{self.split}-{i:05}-of-{len(parts):05}.parquet": part for i, part in enumerate(parts)},
            RECORD: orjson.dumps(run, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str),
            "README.md": card(self.name, self.split, run, list(splits)).encode(),
        }
        old = [f for f in there if (found := _DATA.match(f)) and found["split"] == self.split and f not in files]
        adds = [CommitOperationAdd(path, content) for path, content in files.items()]
        for add in adds:
            api.preupload_lfs_files(self.name, [add], repo_type="dataset")  # uploaded files are reused by the next try
        api.create_commit(
            self.name,
            [*adds, *(CommitOperationDelete(file) for file in old)],
            commit_message=f"{run['task']} by distask",
            repo_type="dataset",
        )


def in_files(path: Path, folder: Path, most: int) -> list[Path]:
    """Split a Parquet file into files of about `most` bytes in `folder`; return the file itself if it is not larger."""
    from pyarrow import parquet

    if path.stat().st_size <= most:
        return [path]
    made: list[Path] = []
    with parquet.ParquetFile(path) as whole:
        writer, size = None, 0
        for number in range(whole.num_row_groups):
            group = whole.metadata.row_group(number)
            packed = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
            if writer is not None and size + packed > most:
                writer.close()
                writer = None
            if writer is None:
                made.append(folder / f"{len(made)}.parquet")
                writer, size = parquet.ParquetWriter(made[-1], whole.schema_arrow), 0
            writer.write_table(whole.read_row_group(number))
            size += packed
        if writer is not None:
            writer.close()
    return made


_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with write access. No requests were sent."


def _words(error: Exception) -> str:
    message = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(message).splitlines()[0]


SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
"""Upper limits of row counts and the Hub's size categories."""
MOST = "n>1B"


def card(name: str, split: str, run: Mapping[str, Any], splits: Sequence[str] = ()) -> str:
    """Return the card: Markdown with YAML front matter.

    Args:
        name: the dataset, `owner/name`.
        split: the name of the split that holds the rows.
        run: the facts about the run, from `distask.runner.record`.
        splits: all splits of the dataset, if it has more than this one.
    """
    head = yaml.safe_dump(_head(splits or (split,), run), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n".join(_body(name, split, run))


def _head(splits: Sequence[str], run: Mapping[str, Any]) -> dict[str, Any]:
    rows = int(run["counts"]["rows_out"])
    return {
        "tags": ["synthetic", "distask"],
        "size_categories": [next((size for most, size in SIZES if rows < most), MOST)],
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"data/{s}-*"} for s in splits]},
        ],
    }


def _body(name: str, split: str, run: Mapping[str, Any]) -> Iterator[str]:
    spec, counts = run["spec"], run["counts"]
    yield f"# {name.partition('/')[2]}\n"
    if spec.get("description"):
        yield f"{spec['description']}\n"
    yield "Made with distask, a tool that runs tasks for LLMs over datasets.\n"
    yield "| | |\n| --- | --- |"
    yield f"| task | {run['task']} |"
    if spec.get("reference"):
        yield f"| method | {spec['reference']} |"
    yield f"| model | {run['model']} |"
    for key, value in sorted(run["settings"]["params"].items()):
        yield f"| param `{key}` | {_cell(value)} |"
    for key, value in sorted(run["settings"]["generation"].items()):
        yield f"| {key} | {_cell(value)} |"
    yield f"| rows | {counts['rows']:,} in, {counts['rows_out']:,} out |"
    yield f"| generations | {counts['generations']:,}, of which {counts['failed']:,} failed |"
    yield f"| tokens of the last run | {_tokens(counts['tokens'])} |"
    yield f"| distask | {run['distask']} |\n"
    yield from _sources(run.get("provenance") or {})
    if counts["failures"]:
        yield "## What failed\n"
        yield "Failed generations are rows too: their outputs are null, and the metadata says why.\n"
        yield "| kind | generations |\n| --- | --- |"
        yield from (f"| {kind} | {count:,} |" for kind, count in counts["failures"].items())
        yield ""
    yield "## Load it\n"
    yield f'```python\nfrom datasets import load_dataset\n\ndata = load_dataset("{name}", split="{split}")\n```\n'
    yield "## Make it again\n"
    yield f"The task, as `{run['task']}.yaml`:\n"
    yield f"```yaml\n{yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=120)}```\n"
    yield f"```\n{run['command']}\n```\n"
    yield "`distask.run.json` in this repository has all of it for programs.\n"


def _sources(section: Mapping[str, Any]) -> Iterator[str]:
    """Yield which runs, inputs, prompts, models and judges the rows come from."""
    runs, prompts = summarize_runs(section), summarize_prompts(section)
    if not runs:
        return
    yield "## Where the rows come from\n"
    yield "| run | task | model | input |\n| --- | --- | --- | --- |"
    for run in runs:
        state = f" ({run['state']})" if run["state"] else ""
        cells = (f"{run['run']}{state}", run["task"], run["models"], run["input"])
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""
    if prompts:
        yield "| prompt | run | model | role | SHA-256 of the template |\n| --- | --- | --- | --- | --- |"
        for prompt in prompts:
            role = "judge" if prompt["judge"] else ""
            digest = f"`{prompt['template_sha256']}…`"
            yield f"| {' | '.join(map(_cell, (prompt['step'], prompt['run'], prompt['models'], role, digest)))} |"
        yield ""


def _tokens(counts: Mapping[str, int]) -> str:
    parts = {part: counts.get(part, 0) for part in ("cached", "cache_writes", "reasoning")}
    return tokens(counts["input"], counts["output"], **parts)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
