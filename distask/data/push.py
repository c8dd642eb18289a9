"""Send an output to the Hub as a dataset, with a card that says how it was made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.card import card
from distask.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "hf://"
RECORD = "distask.run.json"
"""The run's record in the repository: by it a later run knows the dataset for distask's own."""
_ADDRESS = re.compile(r"^hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<split>\w+))?$")


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A dataset of the Hub: its name, its split, and the file that is written first."""

    name: str
    split: str
    local: Path
    private: bool = False

    @classmethod
    def named(cls, address: str, outputs: Path, *, private: bool = False) -> HubRepository:
        """Of `hf://owner/name[@split]`; raises `UsageError`."""
        found = _ADDRESS.match(address)
        if found is None:
            raise UsageError(f"{address}: an output on the Hub is hf://owner/name, or hf://owner/name@split")
        split = found["split"] or "train"
        return cls(found["name"], split, outputs / "hf" / found["name"] / f"{split}.parquet", private)

    def check(self, *, overwrite: bool) -> None:
        """Raise `UsageError` where nobody is logged in, or another's dataset is there under the name."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

        api = HfApi()
        try:
            api.whoami()
            files = api.list_repo_files(self.name, repo_type="dataset")
        except RepositoryNotFoundError:
            files = []
        except HfHubHTTPError as error:
            raise UsageError(f"{PREFIX}{self.name}: the Hub refuses: {_words(error)}\n{_LOG_IN}") from None
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - no token, no network: each has an error of its own
            raise UsageError(f"{PREFIX}{self.name}: {_words(error)}\n{_LOG_IN}") from None
        others = [f for f in files if f not in (".gitattributes", "README.md")]
        if others and RECORD not in files and not overwrite:
            raise UsageError(
                f"the dataset {self.name} is there already, and distask did not make it; nothing was asked.\n"
                "Name another with --output, or add to it with --overwrite."
            )
        self.local.parent.mkdir(parents=True, exist_ok=True)

    def send(self, record: Path, run: Mapping[str, Any]) -> str:  # noqa: ARG002 - the record names paths of this machine
        """Push the file, what is told of the run, and a card, in one commit; gives the dataset's address on the web."""
        from huggingface_hub import CommitOperationAdd, HfApi

        files: dict[str, Path | bytes] = {
            f"data/{self.split}-00000-of-00001.parquet": self.local,
            RECORD: orjson.dumps(run, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str),
            "README.md": card(self.name, self.split, run).encode(),
        }
        api = HfApi()
        try:
            api.create_repo(self.name, repo_type="dataset", private=self.private or None, exist_ok=True)
            api.create_commit(
                self.name,
                [CommitOperationAdd(path, content) for path, content in files.items()],
                commit_message=f"{run['task']} by distask",
                repo_type="dataset",
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the output is whole here
            raise OutputError(
                f"{PREFIX}{self.name}: can't be pushed: {_words(error)}\n"
                f"The output is whole in {self.local}; the same command pushes it again and asks nothing."
            ) from None
        return f"{api.endpoint}/datasets/{self.name}"


_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may write; nothing was asked."


def _words(error: Exception) -> str:
    told = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(told).splitlines()[0]
