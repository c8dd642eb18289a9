"""A static embedding model of a few hundred words, in which synonyms have nearly the same vector."""

from __future__ import annotations

import json

import numpy as np

SYNONYMS = """\
car automobile
big large huge
doctor physician
buy purchase
house home
quick fast rapid
begin start commence
child kid
happy glad joyful
answer reply response
error fault mistake
picture image photo
road street
shop store
sick ill
smart clever
stone rock
film movie
repair fix
choose select pick
"""
SMALL_WORDS = """\
a an the of to in on for and or is are can i you we my your where what how do does with it this that not
"""
FIRST, LAST = "ba be bi bo bu da de di do du fa fe fi fo fu", "lan mir nox pet rus sol tam vek wip zad"
OTHER_WORDS = [first + last for first in FIRST.split() for last in LAST.split()]
DIMENSIONS = 48


def vectors_of_words(seed=0):
    """Each known word with its vector; words without meaning have short ones."""
    rng = np.random.default_rng(seed)

    def direction():
        drawn = rng.normal(size=DIMENSIONS)
        return drawn / np.linalg.norm(drawn)

    made = {"[UNK]": np.zeros(DIMENSIONS)}
    made |= {word: 0.05 * direction() for word in SMALL_WORDS.split()}
    for line in SYNONYMS.splitlines():
        meaning = direction()
        made |= {word: meaning + 0.1 * direction() for word in line.split()}
    return made | {word: direction() for word in OTHER_WORDS}


def write_model(folder, vectors=None, *, tensor="embeddings", config=None):
    """Write a model to a folder, and return the folder; without `vectors`, that of `vectors_of_words`."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = vectors_of_words() if vectors is None else vectors
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({tensor: np.array(list(words.values()), dtype=np.float32)}, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "model2vec", "normalize": True}))
    return folder
