"""Embed texts on this machine with a static embedding model of Model2Vec, from a folder or from the Hub.

Such a model has a vector for each token, and a text's vector is their mean (https://github.com/MinishLab/model2vec).
A text's vector does not depend on the other texts of its batch.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distask.errors import UsageError
from distask.spec.check.text_steps import HUB_NAME, is_folder, is_path
from distask.spec.language.steps import EMBEDDING_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MAX_TOKENS = 16_384
"""Only so many tokens of a text count, so that a text needs no more than a few MiB."""
KIND = "model2vec"
"""The `model_type` of a static embedding model."""


class Embedder:
    """A static embedding model, which is loaded when it is first used.

    Args:
        name: a folder, relative to `folder`, or the name of a model on the Hub.
        folder: the spec's folder.

    Raises:
        UsageError: the library is not installed, or the folder has no such model.
    """

    def __init__(self, name: str, folder: Path) -> None:
        if find_spec("model2vec") is None:
            raise UsageError("`method: semantic` needs an extra: pip install 'distask[semantic]'")
        self.name = name
        self._folder = local_folder(name, folder)
        if self._folder is not None and (fault := _fault_of(self._folder)) is not None:
            raise UsageError(_wrong_kind(name, fault))

    def load(self, notify: Callable[[str], None] | None = None) -> None:
        """Load the model; a model on the Hub is downloaded if it is not on this machine.

        Raises:
            UsageError: the model can't be downloaded or read.
        """
        folder = self._folder or _from_hub(self.name, notify)
        self._folder = folder
        _loaded(self.name, folder)

    def embed(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return the vector of each text, shape (texts, dimensions); zeros for a text without known tokens.

        Raises:
            UsageError: the model can't be loaded.
        """
        if self._folder is None:
            self.load()
        assert self._folder is not None
        model = _loaded(self.name, self._folder)
        whole = [text.encode(errors="replace").decode() for text in texts]  # a tokenizer takes no lone surrogates
        vectors: NDArray[Any] = model.encode(whole, max_length=MAX_TOKENS, use_multiprocessing=False)
        return vectors


def local_folder(name: str, folder: Path) -> Path | None:
    """Return the folder of a model; None for the name of a model on the Hub.

    Raises:
        UsageError: there is no such folder, and it is not such a name.
    """
    try:
        path = folder / Path(name).expanduser()
    except RuntimeError:  # no user has this name
        path = folder / name
    if name and is_folder(path):
        return path
    if is_path(name):
        raise UsageError(f"the folder `{name}` of the embedding model does not exist: {path}")
    if not HUB_NAME.fullmatch(name):
        raise UsageError(
            f"`{name}` is neither a folder nor a model on the Hub; the Hub has names such as {EMBEDDING_MODEL}"
        )
    return None


def _wrong_kind(name: str, fault: str) -> str:
    return (
        f"`{name}` is not a static embedding model of Model2Vec: {fault}; use one such as {EMBEDDING_MODEL}, or embed "
        "the texts with any other model in a step `task: generate-embeddings` and use `method: cosine`"
    )


def _fault_of(folder: Path) -> str | None:
    """Return why a folder has no static embedding model; None if it seems to have one."""
    if (fault := _kind_fault_of(folder)) is not None:
        return fault
    for inner in (folder, folder / "0_StaticEmbedding"):
        if all((inner / file).is_file() for file in ("model.safetensors", "tokenizer.json")):
            return None
    return "it has no model.safetensors with a tokenizer.json"


def _kind_fault_of(folder: Path) -> str | None:
    """Return why the config in a folder is not that of a static embedding model."""
    config = folder / "config.json"
    if not config.is_file():
        return None
    try:
        read = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"its config.json can't be read ({error})"
    kind = read.get("model_type", KIND) if isinstance(read, dict) else None
    return None if kind == KIND else f"its config.json has `model_type: {kind}`"


def _from_hub(name: str, notify: Callable[[str], None] | None) -> Path:
    """Return the folder of a model on the Hub, from the cache of the Hub or downloaded; the small files come first."""
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(name, local_files_only=True))
    except Exception:  # noqa: BLE001 - not in the cache
        cached = None
    if cached is not None and _fault_of(cached) is None:
        return cached
    if notify is not None:
        notify(f"downloading the embedding model {name} from the Hub")
    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
        if (fault := _kind_fault_of(folder)) is None:
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
            fault = _fault_of(folder)
    except Exception as error:  # noqa: BLE001 - of the Hub, the network or the file system
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"the embedding model {name} is not on this machine and can't be downloaded: {reason}\n"
            f"on a machine without a network, copy the model to a folder (`hf download {name} --local-dir FOLDER` on "
            "another machine), and set `model: FOLDER`"
        ) from None
    if fault is not None:
        raise UsageError(_wrong_kind(name, fault))
    return folder


@lru_cache(maxsize=2)
def _loaded(name: str, folder: Path) -> Any:
    """Load a model once, although a task is compiled several times."""
    import numpy as np
    from model2vec import StaticModel

    try:
        model = StaticModel.from_pretrained(folder)
    except Exception as error:  # noqa: BLE001 - of the file system or the libraries that read the model
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"the embedding model {name} can't be loaded from {folder}: {words}") from None
    vectors = model.embedding
    if vectors.ndim != 2 or not vectors.size:
        raise UsageError(_wrong_kind(name, f"its vectors have the shape {vectors.shape}"))
    if not np.isfinite(vectors).all() or (model.weights is not None and not np.isfinite(model.weights).all()):
        raise UsageError(f"the embedding model {name} in {folder} is damaged: some of its numbers are not finite")
    return model
