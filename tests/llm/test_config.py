"""Which LLM a run asks, where each value came from, and what is wrong with a config."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distask.errors import ConfigError
from distask.llm.config.resolve import load_config, read_config
from distask.spec.gallery import configs
from distask.spec.language.model import LLM
from tests.server import ScriptedServer

CANARY = "sk-canary-0123456789abcdefSECRET"
KEY = {"OPENAI_API_KEY": CANARY}
NO_PORTS: dict[str, int] = {}


def load(source=None, *, environ=KEY, ports=NO_PORTS, **more):
    return load_config(source, environ=environ, ports=ports, **more)


def write(folder, text):
    path = folder / "llm.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "openai",
        "azure",
        "vllm",
        "ollama",
        "lm-studio",
        "llama-server",
        "openrouter",
        "anthropic",
        "gemini",
        "llamacpp",
        "offline",
    ],
)
def test_every_built_in_config_is_read(name):
    """They are all there, commented, and without fault."""
    path = configs()[name]

    assert read_config(path).provider in ("openai", "azure", "llamacpp", "offline")
    assert path.read_text().startswith("#")


def test_a_key_in_the_environment_is_enough():
    """OpenAI's address, its cheap model."""
    resolved = load()

    assert (resolved.config.base_url, resolved.config.model) == ("https://api.openai.com/v1", "gpt-4.1-mini")
    assert resolved.api_key == CANARY
    assert resolved.config.limits.concurrency == 256
    assert resolved.generation == {}


def test_the_environment_names_another_address_and_model():
    """The variables that other tools read."""
    resolved = load(environ=KEY | {"OPENAI_BASE_URL": "http://host:1/v1/", "OPENAI_MODEL": "mine"})

    assert (resolved.config.base_url, resolved.config.model) == ("http://host:1/v1", "mine")
    assert resolved.origins["base_url"] == "environment OPENAI_BASE_URL"
    assert resolved.api_key == CANARY


def test_precedence_is_flags_config_environment_spec_defaults(tmp_path):
    """For each value by itself."""
    path = write(tmp_path, "generation: {temperature: 0.5, top_p: 0.5}\nlimits: {timeout: 7}\n")
    spec = LLM(model="of-the-spec", temperature=0.1, top_p=0.1, seed=1)

    resolved = load(
        path,
        environ=KEY | {"OPENAI_MODEL": "of-the-environment"},
        spec_llm=spec,
        overrides={"llm.temperature": 0.9, "limits.max_retries": 3},
    )

    assert resolved.generation == {"temperature": 0.9, "top_p": 0.5, "seed": 1}
    shown = {key: (value, origin) for key, value, origin in resolved.show()}
    assert shown["generation.temperature"] == (0.9, "flag --set llm.temperature")
    assert shown["generation.top_p"] == (0.5, str(path))
    assert shown["generation.seed"] == (1, "spec")
    assert shown["model"] == ("of-the-environment", "environment OPENAI_MODEL")
    assert shown["limits.timeout"] == (7, str(path))
    assert shown["limits.max_retries"] == (3, "flag --set limits.max_retries")
    assert shown["limits.concurrency"] == (256, "default")
    assert shown["base_url"] == ("https://api.openai.com/v1", "default")


@pytest.mark.parametrize(
    ("flags", "file", "variables", "spec", "model"),
    [
        ("flag", "file", "env", "spec", "flag"),
        (None, "file", "env", "spec", "file"),
        (None, None, "env", "spec", "env"),
        (None, None, None, "spec", "spec"),
        (None, None, None, None, "gpt-4.1-mini"),
    ],
)
def test_the_models_name_is_the_nearest_to_the_user(flags, file, variables, spec, model):
    """One place after the other falls away."""
    environ = KEY | ({"OPENAI_MODEL": variables} if variables else {})

    resolved = load(contents={"model": file}, environ=environ, model=flags, spec_llm=LLM(model=spec))

    assert resolved.config.model == model


def test_a_spec_without_model_on_a_server_takes_the_first_that_it_lists(server):
    """A local server serves one, as a rule."""
    server.models = ["llama", "other"]

    resolved = load(base_url=server.url, environ={})

    assert resolved.config.model == "llama"
    assert "lists" in resolved.origins["model"]


def test_a_server_that_lists_no_model_needs_one_named(server):
    """Alive is not the same as listing."""
    server.models = []

    with pytest.raises(ConfigError, match="--model NAME"):
        load(base_url=server.url, environ={})


def test_without_anything_a_local_server_is_found(server):
    """The first port that lists a model."""
    server.models = ["local-model"]
    with ScriptedServer() as empty:
        empty.models = []
        ports = {"Nobody": 9, "Empty": empty.port, "Ollama": server.port, "LM Studio": server.port}

        resolved = load(environ={}, ports=ports)

    assert resolved.config.base_url == server.url
    assert resolved.config.model == "local-model"
    assert resolved.origins["base_url"] == "a local server (Ollama)"
    assert resolved.api_key is None
    assert resolved.config.limits.concurrency == 8


def test_without_anything_and_no_server_the_ways_to_continue_are_said():
    """In one screen, the offline one among them."""
    with pytest.raises(ConfigError) as error:
        load(environ={"OPENAI_API_KEY": " "})

    text = str(error.value)
    assert all(word in text for word in ("OPENAI_API_KEY", "--base-url", "--config offline", "ollama"))
    assert len(text.splitlines()) < 20
    assert max(map(len, text.splitlines())) < 120


def test_the_key_of_openai_goes_to_nobody_else():
    """A key is bound to the endpoint that its variable is named for."""
    assert load(base_url="https://elsewhere.example/v1", model="m").api_key is None
    assert load(contents={"base_url": "https://elsewhere.example/v1", "model": "m"}).api_key is None
    named = load(base_url="https://elsewhere.example/v1", model="m", overrides={"llm.api_key_env": "OPENAI_API_KEY"})
    assert named.api_key == CANARY


def test_no_key_is_asked_for_where_the_config_says_so():
    """`api_key_env: null`, even at OpenAI's address."""
    assert load(contents={"model": "m", "api_key_env": None}).api_key is None


def test_a_missing_key_says_which_variable_to_set():
    """Before any call."""
    with pytest.raises(ConfigError, match="export OPENROUTER_API_KEY="):
        load("openrouter")


def test_white_space_around_a_key_is_taken_off():
    """It comes with copying."""
    assert load(environ={"OPENAI_API_KEY": f" {CANARY}\n"}).api_key == CANARY


@pytest.mark.parametrize("bad", ["\n", "\r\n", "\x00", "é"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(bad):
    """The client would show it in its own error."""
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as error:
        load(environ={"OPENAI_API_KEY": f"{CANARY}{bad}second"})

    assert CANARY not in repr(error.value)
    assert error.value.__cause__ is None


def test_nothing_that_is_shown_holds_the_key():
    """Neither `--show-config` nor a repr."""
    resolved = load(contents={"model": "m", "headers": {"X-Key": "${OPENAI_API_KEY}"}})

    assert resolved.headers == {"X-Key": CANARY}
    assert CANARY not in repr(resolved)
    assert CANARY not in repr(resolved.show())
    assert ("api_key", "(hidden)", "environment OPENAI_API_KEY") in resolved.show()


@pytest.mark.parametrize(
    "text",
    [
        f"api_key_env: {CANARY}",
        f"api_key: {CANARY}",
        f"base_url: https://user:{CANARY}@host/v1",
        f"base_url: https://host/v1?key={CANARY}",
        f"headers: {{X-Key: {CANARY}}}",
        f"headers: {{'{CANARY}:': a}}",
    ],
)
def test_a_key_in_a_file_is_refused_and_not_shown(tmp_path, text):
    """The place is named; the line is not shown."""
    with pytest.raises(ConfigError, match=r"llm\.yaml:1:\d+") as error:
        load(write(tmp_path, text))

    assert CANARY not in str(error.value)


@pytest.mark.parametrize(
    "url", ["host/v1", "ftp://host", "http://", f"http://u:{CANARY}@host", "http://host:99999", "http://host/v1/chat/completions", "http://ho st", "http://[::1", "http://host/#x"]
)  # fmt: skip
def test_an_address_that_is_none_is_refused_wherever_it_comes_from(url):
    """Flag, variable, file."""
    for arguments in ({"base_url": url}, {"environ": KEY | {"OPENAI_BASE_URL": url}}, {"contents": {"base_url": url}}):
        with pytest.raises(ConfigError, match=r"address|chat/completions") as error:
            load(model="m", **arguments)
        assert CANARY not in str(error.value)


def test_all_faults_of_a_file_come_at_once_with_their_places(tmp_path):
    """Line, column, the line itself, the nearest key."""
    path = write(
        tmp_path,
        "modle: m\nlimits:\n  concurency: 3\n  timeout: soon\ngeneration: {temprature: 1, model: m}\nprovider: me\n",
    )

    with pytest.raises(ConfigError) as error:
        load(path)

    text = str(error.value)
    for words in (
        "llm.yaml:1:1",
        "`model`",
        "llm.yaml:3:3",
        "`concurrency`",
        "llm.yaml:4:12",
        "`temperature`",
        "`provider` must be",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a", "mapping"),
        ("a: [", "YAML"),
        ("model: m\nmodel: n\n", "duplicate key"),
        ("limits: {concurrency: 0}", "concurrency"),
        ("limits: 3", "limits"),
        ("price: {input: 1}", "price.output"),
        ("generation: {model: m}", "next to `generation`"),
    ],
)
def test_a_file_that_is_wrong_is_a_config_error(tmp_path, text, words):
    """Whatever is wrong with it."""
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path, text))


def test_an_unknown_config_names_the_nearest():
    """Or lists those that are built in."""
    with pytest.raises(ConfigError, match="did you mean `ollama`"):
        load("olama")


def test_an_unknown_flag_names_the_nearest():
    """`--set` is checked like a file."""
    with pytest.raises(ConfigError, match=r"did you mean `llm\.temperature`"):
        load(overrides={"llm.temprature": 1})
    with pytest.raises(ConfigError, match=r"flag --set limits\.timeout: .*"):
        load(overrides={"limits.timeout": -1})


def test_a_flags_text_is_read_as_yaml_where_the_key_takes_no_text():
    """As it comes from a command line."""
    resolved = load(
        overrides={
            "llm.temperature": "0",
            "llm.stop": "7",
            "llm.extra_body": "{top_k: 3}",
            "llm.model": "8",
            "limits.concurrency": "4",
        }
    )

    assert resolved.generation == {"temperature": 0, "stop": "7", "extra_body": {"top_k": 3}}
    assert resolved.config.model == "8"
    assert resolved.config.limits.concurrency == 4


def test_extra_body_is_joined_and_the_two_names_of_a_limit_replace_each_other(tmp_path):
    """The config's keys win inside of it."""
    spec = LLM(extra_body={"top_k": 1, "min_p": 0.1}, max_tokens=100)

    resolved = load(contents={"generation": {"extra_body": {"top_k": 2}, "max_completion_tokens": 50}}, spec_llm=spec)

    assert resolved.generation == {"extra_body": {"top_k": 2, "min_p": 0.1}, "max_completion_tokens": 50}


def test_offline_needs_nothing(tmp_path):
    """No key, no address; the model says what it is."""
    resolved = load("offline", environ={}, model="gpt-9", spec_llm=LLM(model="x", temperature=1))

    assert resolved.config.model == "offline"
    assert resolved.config.base_url is None
    assert resolved.generation == {"temperature": 1}


def test_azure_takes_its_own_variables():
    """The resource's address and key."""
    environ = {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com", "AZURE_OPENAI_API_KEY": CANARY}

    resolved = load("azure", environ=environ, model="my-deployment")

    assert resolved.config.base_url == "https://me.openai.azure.com"
    assert resolved.config.api_version
    assert resolved.sent_headers() == {"api-key": CANARY}
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        load("azure", environ={"AZURE_OPENAI_API_KEY": CANARY})


def test_reading_a_config_imports_no_http_client():
    """A command that asks nobody starts fast."""
    code = (
        "import sys, distask.llm.config.resolve, distask.llm.client;"
        "print(*[m for m in ('pyreqwest', 'openai', 'datasets', 'urllib.request', 'aiohttp') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
