"""Static embedding models: where they are found, and what is reported of those that can't be used."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from distask.errors import UsageError
from distask.task.text import embeddings
from distask.task.text.embeddings import Embedder
from tests.embedding_model import vectors_of_words, write_model

pytest.importorskip("model2vec")


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture
def embed(tmp_path):
    write_model(tmp_path / "model")
    return Embedder("model", tmp_path).embed


def test_synonyms_have_similar_vectors_and_other_words_do_not(embed):
    one, same, other = embed(["buy a big car", "purchase a large automobile", "buy a big house"])

    assert cosine(one, same) > 0.95
    assert cosine(one, other) < 0.8


def test_a_vector_does_not_depend_on_the_other_texts_of_its_batch(embed):
    texts = [f"balan {word} doctor" for word in list(vectors_of_words())[1:40]]
    together = embed(texts)

    assert all((embed([text])[0] == vector).all() for text, vector in zip(texts, together, strict=True))


def test_texts_without_known_words_are_zeros_and_broken_ones_are_text(embed):
    vectors = embed(["", " \n", "xyzzy", "\ud800", "car \udfff \0", "car"])

    assert not vectors[:4].any()
    assert cosine(vectors[4], vectors[5]) == pytest.approx(1)


def test_the_end_of_a_very_long_text_does_not_count(embed, monkeypatch):
    monkeypatch.setattr(embeddings, "MAX_TOKENS", 3)

    one, same = embed(["car car car", "car car car house house"])

    assert cosine(one, same) == pytest.approx(1)


def test_sentence_transformers_folder_of_a_static_model_is_read(tmp_path):
    folder = write_model(tmp_path / "m" / "0_StaticEmbedding", tensor="embedding.weight")
    (folder / "config.json").unlink()
    (tmp_path / "m" / "config_sentence_transformers.json").write_text("{}")

    assert Embedder("m", tmp_path).embed(["car"]).any()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("./no", r"the folder `\./no` of the embedding model does not exist"),
        ("/no/model", r"the folder `/no/model` of the embedding model does not exist"),
        ("potion", r"`potion` is neither a folder nor a model on the Hub; the Hub has names such as minishlab/"),
        ("", "`` is neither a folder nor a model"),
        ("a/b/c", "neither a folder nor a model"),
        ("~nobody-has-this-name/m", "the folder `~nobody-has-this-name/m` of the embedding model does not exist"),
        ("x" * 5000, "neither a folder nor a model"),
        ("a\0/b", "neither a folder nor a model"),
    ],
)
def test_a_missing_folder_is_reported(tmp_path, name, words):
    with pytest.raises(UsageError, match=words):
        Embedder(name, tmp_path)


def test_a_missing_library_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "find_spec", lambda _name: None)

    with pytest.raises(UsageError, match=r"needs an extra: pip install 'distask\[semantic\]'"):
        Embedder("a/b", tmp_path)


def test_a_folder_with_another_kind_of_model_is_reported_before_it_is_loaded(tmp_path):
    write_model(tmp_path / "bert", config={"model_type": "bert"})
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{")

    with pytest.raises(UsageError, match=r"`bert` is not a static embedding model .*`model_type: bert`; use one such"):
        Embedder("bert", tmp_path)
    with pytest.raises(UsageError, match=r"`empty` is not .* it has no model\.safetensors with a tokenizer\.json"):
        Embedder("empty", tmp_path)
    with pytest.raises(UsageError, match=r"its config\.json can't be read"):
        Embedder("broken", tmp_path)


def test_a_damaged_model_is_reported_when_it_is_loaded(tmp_path):
    words = vectors_of_words()
    write_model(tmp_path / "nan", words | {"car": words["car"] * np.nan})
    write_model(tmp_path / "tensor", tensor="weights")
    write_model(tmp_path / "flat", dict.fromkeys(words, 1.0))
    write_model(tmp_path / "cut")
    data = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(data[:1000])

    for name, words in (
        ("nan", r"model nan in .* is damaged: some of its numbers are not finite"),
        ("tensor", r"model tensor can't be loaded from .*: "),
        ("flat", r"`flat` is not a static embedding model .* its vectors have the shape \(\d+,\)"),
        ("cut", r"model cut can't be loaded from .*: "),
    ):
        with pytest.raises(UsageError, match=words):
            Embedder(name, tmp_path).load()


class Hub:
    """The Hub and its cache on this machine, as `snapshot_download` shows them."""

    def __init__(self, folder, config=None, *, fault=None):
        self.folder, self.fault = folder, fault
        self.downloaded = []
        self._config = config

    def __call__(self, name, *, allow_patterns=None, local_files_only=False):
        if local_files_only:
            if not self.folder.exists():
                raise FileNotFoundError("not in the cache")
            return str(self.folder)
        if self.fault is not None:
            raise self.fault
        self.downloaded.append(allow_patterns)
        write_model(self.folder, config=self._config)
        if "*.safetensors" not in allow_patterns:
            (self.folder / "model.safetensors").unlink()
        return str(self.folder)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    def make(**options):
        made = Hub(tmp_path / "cache", **options)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", made)
        return made

    return make


def test_a_model_on_the_hub_is_downloaded_once_and_announced(hub, tmp_path):
    made, notes = hub(), []

    for _ in range(2):
        embedder = Embedder("owner/name", tmp_path)
        embedder.load(notes.append)
        assert embedder.embed(["car"]).any()

    assert notes == ["downloading the embedding model owner/name from the Hub"]
    assert len(made.downloaded) == 2


def test_a_download_that_was_interrupted_is_completed(hub, tmp_path):
    made, notes = hub(), []
    made("owner/name", allow_patterns=["*.json"])

    Embedder("owner/name", tmp_path).load(notes.append)

    assert len(notes) == 1


def test_the_large_files_of_another_kind_of_model_are_not_downloaded(hub, tmp_path):
    made = hub(config={"model_type": "qwen3"})

    with pytest.raises(UsageError, match=r"`owner/large` is not a static .*`model_type: qwen3`"):
        Embedder("owner/large", tmp_path).load()

    assert made.downloaded == [["*.json"]]


def test_without_a_network_the_error_says_how_to_copy_a_model(hub, tmp_path):
    hub(fault=ConnectionError("Cannot reach the Hub\nmore"))

    with pytest.raises(UsageError) as caught:
        Embedder("owner/name", tmp_path).load()

    assert "owner/name is not on this machine and can't be downloaded: Cannot reach the Hub\n" in str(caught.value)
    assert "hf download owner/name --local-dir FOLDER" in str(caught.value)
    assert "model: FOLDER" in str(caught.value)


def test_the_library_is_loaded_by_the_first_text(tmp_path, monkeypatch):
    write_model(tmp_path / "model")
    for name in [name for name in sys.modules if name.split(".")[0] == "model2vec"]:
        monkeypatch.delitem(sys.modules, name)

    embedder = Embedder("model", tmp_path)

    assert "model2vec" not in sys.modules
    embedder.embed(["car"])
    assert "model2vec" in sys.modules
