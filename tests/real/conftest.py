"""A real engine for the tests: llama.cpp, on a model of random weights that is made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A GGUF file whose replies are noise."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def llama_server(tiny_model):
    """llama.cpp's own server on that model: its address, up to /v1."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(tiny_model)
    params.model_alias = ["tiny"]
    params.n_parallel = 4
    params.n_ctx = 4 * 4096
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.fit_params = False
    params.verbosity = 0
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    params.n_threads_http = 16
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server
