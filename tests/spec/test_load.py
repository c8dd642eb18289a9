"""Specs from files: every fault at once, each once, at its place, in plain words."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.errors import SpecError
from distask.spec.gallery import gallery
from distask.spec.load import find_spec, load_spec, load_text

GOOD = """\
inputs:
  question: The question.
format_input:
  - role: user
    content: "{{ question }}"
outputs:
  answer: The answer.
format_output: {parser: text}
"""


def faults(text: str, path: Path = Path("task.yaml")):
    """All that is wrong with a text, as (line, column, message)."""
    with pytest.raises(SpecError) as caught:
        load_text(text, path)
    return [(d.line, d.column, d.message) for d in caught.value.diagnostics]


def hints(text: str):
    with pytest.raises(SpecError) as caught:
        load_text(text, Path("task.yaml"))
    return [d.hint for d in caught.value.diagnostics]


def test_a_good_spec_loads():
    """Short forms become long ones, and what is left out has its default."""
    spec = load_text(GOOD, Path("task.yaml")).spec

    assert spec.inputs["question"].required
    assert spec.format_output[0].parser == "text"


@pytest.mark.parametrize("name", sorted(gallery()))
def test_a_built_in_task_is_found_by_its_name(name):
    """`distask run NAME` needs no path."""
    assert find_spec(name) == gallery()[name]


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Task_v2.yaml", "my-task-v2"), ("rate.yaml", "rate"), ("日本.yaml", "task"), ("-a--b-.yaml", "a-b")],
)
def test_the_name_is_the_files_where_it_is_left_out(file, name):
    """A stem that is no legal name is made one."""
    assert load_text(GOOD, Path(file)).spec.name == name


def test_every_fault_is_reported_at_once():
    """One reading is enough to mend a file."""
    found = faults(
        """\
name: Rate It
temperature: 0.7
inputs:
  question: {description: Q, required: yes}
params:
  scale: {type: integer, default: 9, maximum: 5}
format_input:
  - role: usr
    content: |
      Rate this:

        {{ quesion }}
outputs:
  rating: {type: integer, minimum: a}
format_output:
  parser: regex
  pattern: '(?P<ratng>\\d+)'
llm: {top_p: 3, stop: 4}
checks: ["rating > minimm"]
"""
    )

    assert found == [
        (
            1,
            7,
            'the text "Rate It" is not a valid task name: use lowercase letters, digits and single hyphens',
        ),
        (2, 1, "unknown key `temperature`"),
        (4, 40, 'expected true or false, got the text "yes"'),
        (6, 35, "the default, 9, is more than `maximum`, which is 5"),
        (8, 11, 'expected `system`, `developer`, `user`, `assistant` or `tool`, got the text "usr"'),
        (12, 12, "the template reads `quesion`, which is not an input, a param, a var or a draw"),
        (14, 36, 'expected a number, got the text "a"'),
        (17, 17, "the group `ratng` is not an output"),
        (18, 14, "expected at most 1, got the number 3"),
        (18, 23, "expected text or a list, got the number 4"),
        (19, 20, "the expression reads `minimm`, which is not an input, a param, a var, a draw or an output"),
    ]


@pytest.mark.parametrize(
    ("slip", "line", "hint"),
    [
        ("temperature: 0", 1, "it belongs under `llm`"),
        ("pattern: x", 1, "it belongs under `format_output`"),
        ("retry: 2", 1, "it belongs under `on_invalid`"),
        ("base_url: http://x", 1, "LLM config"),
        ("api_key: sk-1", 1, "LLM config"),
        ("descripton: x", 1, "did you mean `description`?"),
        ("num_generation: 3", 1, "did you mean `num_generations`?"),
        ("n: 3", 1, "did you mean `num_generations`?"),
        ("1: 3", 1, 'put quotes around it: "1"'),
        ("true: 3", 1, 'put quotes around it: "true"'),
    ],
)
def test_a_stray_key_gets_its_hint(slip, line, hint):
    """A slip of a letter, a key of another place, a key that is no text."""
    with pytest.raises(SpecError) as caught:
        load_text(f"{slip}\n{GOOD}", Path("task.yaml"))
    (found,) = caught.value.diagnostics

    assert (found.line, found.column) == (line, 1)
    assert hint in found.hint


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("inputs:", "input:"),
        ("outputs:", "output:"),
        ("format_input:", "format_inputs:"),
        ("format_input:", "messages:"),
        ("format_output:", "parser:"),
        ("content:", "contents:"),
    ],
)
def test_a_misspelt_key_is_one_fault(good, bad):
    """What it holds is read on as if it were spelt right: no key is missing, no name unknown."""
    ((_, _, message),) = faults(GOOD.replace(good, bad))

    assert message == f"unknown key `{bad[:-1]}`"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("  question: The question.", "  question: 4"),
        ("inputs:\n  question: The question.", "inputs: [question]"),
        ("  answer: The answer.", "  answer: 4"),
        ("outputs:\n  answer: The answer.", "outputs: answer"),
        ("{parser: text}", "{parser: txt}"),
        ("{parser: text}", "text"),
        ("{parser: text}", "{}"),
        ("{parser: text}", "{parser: regex}"),
        ("{parser: text}", "{parser: text, strip: maybe}"),
        ('"{{ question }}"', "4"),
        ('  - role: user\n    content: "{{ question }}"', "  hello"),
        ('    content: "{{ question }}"\n', ""),
        ("role: user", "role: 4"),
        ("format_output: {parser: text}\n", ""),
        ("format_output: {parser: text}\n", "format_output:\n"),
    ],
)
def test_one_mistake_is_one_fault(good, bad):
    """A mistake at one place is not told again wherever it is felt."""
    assert good in GOOD

    assert len(faults(GOOD.replace(good, bad))) == 1


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("num_generations: '3'", 'expected a whole number, got the text "3"', "remove the quotes"),
        ("num_generations: 1.5", "expected a whole number, got the number 1.5", None),
        ("num_generations: 0", "expected at least 1, got the number 0", None),
        ("num_generations: true", "expected a whole number, got true", None),
        ("group_generations: no", 'expected true or false, got the text "no"', "`no` is text in YAML 1.2; write false"),
        ("description: 4", "expected text, got the number 4", 'put quotes around it: "4"'),
        ("tags: a", 'expected a list, got the text "a"', None),
        ("llm: {stop: {a: b}}", "expected text or a list, got a mapping", None),
        ("llm: {stop: [1]}", "expected text, got the number 1", 'put quotes around it: "1"'),
        ("llm: 4", "expected a mapping, got the number 4", None),
        ("llm:", "expected a mapping, got nothing", "remove the key, or set a value"),
        ("structured_output: maybe", 'expected true or false or a mapping, got the text "maybe"', None),
        ("on_invalid: {then: null}", "expected `null`, `drop` or `fail`, got nothing", 'put quotes around it: "null"'),
        ("on_invalid: {fallback: {temprature: 1}}", "unknown key `temprature`", "did you mean `temperature`?"),
        ("draw: {d: {range: [1]}}", "expected 2 entries, got 1", None),
        ("draw: {d: {range: [a, 2]}}", 'expected a number, got the text "a"', None),
        ("params: {p: {type: int}}", "unknown type `int`", "did you mean `integer`?"),
        ("params: {p: {choices: []}}", "this is empty", None),
        ("cases: [{input: {}, reply: 4}]", "expected text or a mapping, got the number 4", None),
    ],
)
def test_a_wrong_value_is_reported_in_plain_words(line, message, hint):
    """Unions, bounds and literals are one sentence each, and none of it is the validator's own."""
    with pytest.raises(SpecError) as caught:
        load_text(GOOD + line + "\n", Path("task.yaml"))
    found = caught.value.diagnostics[0]

    assert (found.line, found.message) == (9, message)
    if hint is not None:
        assert hint in found.hint


def test_faults_of_yaml_and_of_the_language_come_together():
    """A key that is there twice does not hide the rest."""
    found = faults(GOOD.replace("{{ question }}", "{{ qestion }}") + "outputs: {b: c}\n")

    assert [(line, column) for line, column, _ in found] == [(5, 18), (9, 1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a\n", "a mapping of keys"),
        ("just text\n", "a mapping of keys"),
        ("4", "a mapping of keys"),
        ("{}", "missing"),
    ],
)
def test_what_is_no_spec_is_reported(text, words):
    """An empty file, a list, a text."""
    assert words in faults(text)[0][2]


def test_a_file_that_is_not_there_names_the_nearest(tmp_path):
    """By the names of files beside it, and of built-in tasks."""
    (tmp_path / "ratings.yaml").write_text(GOOD)

    for source, words in [(str(tmp_path / "rating.yaml"), "ratings.yaml"), ("text-generaton", "`text-generation`")]:
        with pytest.raises(SpecError) as caught:
            load_spec(source)
        assert words in caught.value.diagnostics[0].hint


@pytest.mark.parametrize("source", [".", "\0", "a" * 5000, "/dev/null", "nope/nope.yaml", ""])
def test_what_is_no_file_is_reported(source):
    """A folder, a device, a name that no system takes."""
    with pytest.raises(SpecError):
        load_spec(source)


def test_a_file_that_is_not_utf8_is_reported_with_the_place(tmp_path):
    """The byte, its line and its column."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(SpecError) as caught:
        load_spec(path)
    (found,) = caught.value.diagnostics

    assert (found.line, found.column) == (2, 7)
    assert "0xe9" in found.message


def test_a_byte_order_mark_is_no_fault(tmp_path):
    """Editors on Windows write one."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())

    assert load_spec(path).spec.name == "a"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="inputs:formatole -{}[]\"'\n|&*!", max_size=200))
def test_any_text_loads_or_is_refused(text):
    """No text makes the loader raise anything but its own error."""
    try:
        load_text(text, Path("task.yaml"))
    except SpecError as error:
        assert str(error)  # noqa: PT017 - both ways are good, and the error must be tellable


RICH = yaml.safe_load(
    """
name: rich
inputs: {a: A, b: {type: "list[string]", required: false, default: []}}
params: {p: {type: integer, default: 1, minimum: 0, maximum: 3}, q: {choices: [x, y], default: x}}
vars: {shots: [{q: 1}]}
draw: {d: [1, 2], e: {options: [a, b], weights: [1, 2]}, f: {range: [0, 1]}}
format_input:
  - {role: system, content: "{{ p }} {{ d }}", when: p}
  - {for_each: shot in vars.shots, role: user, content: "{{ shot.q }}{{ loop_index }}"}
  - {splice: b}
  - {role: user, content: [{text: "{{ a }}"}, {image: "{{ a }}", detail: low}]}
outputs: {x: {type: integer, minimum: 1, when: p > 1}, y: {choices: [g, h]}, z: {type: "list[number]"}, d: Drawn.}
format_output:
  - {parser: json, columns: {x: /x, z: "{{ [x] }}"}}
  - {parser: regex, pattern: "(?P<x>a)(?P<y>b)", flags: i, find: all, align_to: b}
  - {parser: tags, tags: [x, y]}
  - {parser: choice, column: y, when: p}
  - {parser: sections, markers: {x: "#", z: "##"}}
checks: [x > 1]
on_invalid: {retry: 1, fallback: {temperature: 0}, then: drop}
llm: {temperature: 0.5, stop: [a], extra_body: {k: 1}}
structured_output: {schema: {type: object, properties: {x: {type: integer}}}}
cases: [{input: {a: b}, reply: c, expect: {xx: 1}, params: {p: 2}}]
input_mappings: {a: aa}
output_mappings: {x: xx}
"""
)


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, (*path, index))


PLACES = [p for p in _places(RICH) if p]
JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "a",
        "{{",
        "{{ nope }}",
        "(?P<",
        "list[",
        [],
        {},
        [1],
        [[]],
        {"a": 1},
        {1: 2},
        {"parser": 4},
        {"file": "../x"},
        "日本",
    ]
)


@pytest.mark.battery
@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["put", "drop", "rename"]), JUNK), min_size=1, max_size=3
    )
)
def test_a_spec_with_anything_anywhere_loads_or_is_refused(changes):
    """Whatever stands in a place, the checks that follow can cope, and every fault is in the file."""
    data = copy.deepcopy(RICH)
    for path, how, junk in changes:
        holder = data
        for step in path[:-1]:
            try:
                holder = holder[step]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if (
                how == "put"
                and isinstance(holder, dict | list)
                and (isinstance(holder, dict) or (isinstance(path[-1], int) and path[-1] < len(holder)))
            ):
                holder[path[-1]] = junk
            elif how == "drop" and isinstance(holder, dict):
                holder.pop(path[-1], None)
            elif how == "rename" and isinstance(holder, dict) and path[-1] in holder:
                holder[f"{path[-1]}x"] = holder.pop(path[-1])
    text = yaml.safe_dump(data, sort_keys=False)
    try:
        load_text(text, Path("task.yaml"))
    except SpecError as error:
        assert all(1 <= d.line <= text.count("\n") + 1 for d in error.diagnostics)  # noqa: PT017
        assert "pydantic" not in str(error).lower()  # noqa: PT017


def test_the_rich_spec_is_right():
    """What the property changes is good before it is changed."""
    assert load_text(yaml.safe_dump(RICH, sort_keys=False), Path("task.yaml")).spec.name == "rich"


def test_loading_imports_nothing_heavy():
    """`validate` answers at once: no client, no data library."""
    heavy = ("openai", "datasets", "pyarrow", "pyreqwest", "rich")
    code = f"import sys\nfrom distask.spec.load import load_spec\nload_spec('text-generation')\nprint([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
