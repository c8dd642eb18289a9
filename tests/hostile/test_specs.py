"""A spec from a stranger: it runs no code, reads nothing outside of its folder, and ends in time and memory, in each command."""

from __future__ import annotations

import os

import pytest

from tests.hostile.conftest import COMMANDS, assert_harmless, assert_told
from tests.hostile.mutants import cage_without, cage_without_re2

MILLIONS = {"n": 8_000_000, "g": 10**9, "l": ["abc"] * 2_000}
"""Numbers that a template reads from `vars`, where `validate` can't see them."""

ESCAPES = r"""
{{ ''.__class__.__mro__[1].__subclasses__() }}
{{ cycler.__init__.__globals__.os.popen('touch PWNED').read() }}
{{ joiner.__init__.__globals__ }}
{{ namespace.__init__.__globals__.os.system('touch PWNED') }}
{{ self.__init__.__globals__ }}
{{ '{0.__class__.__mro__}'.format(x) }}
{{ ('{0.__class__}' | attr('format'))(x) }}
{% set f = '{0.__class__}'.format_map %}{{ f({'0': x}) }}
{{ ['{0.__class__}'] | map('attr', 'format') | map('string') | list }}
{{ x | map(attribute='__class__') | list }}
{{ [x] | map('attr', '__class__') | map('attr', '__mro__') | list }}
{{ (x | groupby('__class__')) }}
{{ x.__class__.__init__.__globals__ if x }}
{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}
{% for a in x %}{{ loop.__class__.__init__.__globals__ }}{% endfor %}
{{ q.y.__class__ }}
{{ (q.nope | default(x))['__class__'] }}
{{ lipsum.__globals__['os'].popen('touch PWNED') }}
{{ x.append(987654321) }}{{ x }}
{{ x.sort(reverse=true) }}
{{ row.update({'q': 'b'}) }}
{{ row['x'].extend([1, 2]) }}
{{ row.__setitem__('q', 'b') }}
{{ vars.l.clear() }}
{% set x.y = 1 %}
{% set c = row.copy().pop %}{{ c('q') }}
{{ (x | attr('pop'))() }}
{{ ('a' * 60000).encode('punycode') }}
{{ q.translate({97: 'b' * 99999}) }}
{{ (5).to_bytes(vars.n, 'big') }}
{% include '../secret.txt' %}
{% include q ~ '/../../secret.txt' %}
{% import '../secret.txt' as s %}{{ s }}
{% include ['nope', '/etc/passwd'] %}
{% extends '../secret.txt' %}
""".strip().splitlines()

HANGS = r"""
{{ 10**99999999 }}
{{ 'x' * 10**10 }}
{{ 'x' * vars.g }}
{{ (x * vars.n) | length }}
{{ lipsum(n=100000) }}
{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}
{% for i in vars.l %}{% for j in vars.l %}{% for k in vars.l %}x{% endfor %}{% endfor %}{% endfor %}
{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ m() }}{% endcall %}
{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}
{% include 'itself.txt' %}
{% include 'twice.txt' %}
{% import 'imports.txt' as i %}{{ i.m() }}
{% set s = namespace(v='ab') %}{% for i in range(60) %}{% set s.v = s.v ~ s.v %}{% endfor %}{{ s.v }}
{% set s = namespace(v=[1]) %}{% for i in range(60) %}{% set s.v = [s.v, s.v] %}{% endfor %}{{ s.v }}
{% set s = namespace(v=3) %}{% for i in range(60) %}{% set s.v = s.v * s.v %}{% endfor %}{{ s.v }}
{% set s = namespace(v='a') %}{% for i in range(60) %}{% set s.v = s.v | replace('a', 'aa') %}{% endfor %}{{ s.v }}
{% set s = namespace(v='"') %}{% for i in range(60) %}{% set s.v = s.v | tojson %}{% endfor %}{{ s.v }}
{{ q | center(vars.g) }}
{{ ('\n' * 90000) | indent(vars.n) }}
{{ '{:>{}}'.format(q, vars.g) }}
{{ '%*d' % (vars.g, 1) }}
{{ ('\n' * 20000) | wordwrap(1, wrapstring='z' * 100000) | length }}
{{ ('a' * vars.n) | batch(1) | list | length }}
{{ range(9999) | slice(vars.g) | list }}
{{ (x * 99999) | groupby(0) }}
{{ ('<' * vars.n) | striptags | length }}
{{ (['aaaa'] * 99) | map(attribute='0.' * vars.n) | list }}
{{ [('a' * vars.n)] * 9999 | tojson }}
{{ {}['a' * vars.n] }}
{{ joiner('z' * vars.n)() }}{{ cycler(*(x * 99999)).next() }}
{{ vars.l | map('upper') | map('center', 99999) | list | length }}
{{ ('é中' * vars.n).encode('punycode') | length }}
{{ ('%999999999d').encode() % 1 }}
{{ ('a' * vars.n).rfind('b' ~ 'a' * 99999) }}
""".strip().splitlines()


def prepared(folder):
    folder.write("itself.txt", "{% include 'itself.txt' %}")
    folder.write("twice.txt", "{% include 'twice.txt' %}{% include 'twice.txt' %}")
    folder.write("imports.txt", "{% import 'imports.txt' as i %}{% macro m() %}{{ i.m() }}{% endmacro %}")


def attack(cage, folder, commands, **options):
    for command in commands:
        result = cage(*COMMANDS[command], cwd=folder.path, **options)
        assert_harmless(result, folder)
        assert_told(result)


@pytest.mark.parametrize("source", ESCAPES)
def test_no_template_escapes_or_changes_a_row(cage, folder, source):
    """In no command: neither Python's insides, nor files outside of the folder, nor the row come under its hands."""
    folder.task(source, vars=MILLIONS)

    attack(cage, folder, ["run"])


@pytest.mark.parametrize("source", HANGS)
def test_no_template_hangs_or_fills_the_memory(cage, folder, source):
    """Whatever it makes, it ends as a fault of the spec, or as the row's own failure."""
    prepared(folder)
    folder.task(source, vars=MILLIONS)

    attack(cage, folder, ["run"])


@pytest.mark.parametrize("source", [ESCAPES[1], HANGS[6], HANGS[13]])
@pytest.mark.parametrize("command", ["validate", "dry-run", "test"])
def test_what_is_refused_is_refused_in_every_command(cage, folder, command, source):
    prepared(folder)
    folder.task(source, vars=MILLIONS)

    attack(cage, folder, [command])


SLOW = "range(9999) | map('string') | map('center', 900) | select('eq', q) | list"
SLOW_TEXT = "{% for i in range(9999) %}{{ (x * 99) | sort | length }}{% endfor %}"

ELSEWHERE = {
    "when": {"format_input": [{"role": "user", "when": SLOW, "content": "hi"}] * 500},
    "for_each": {"format_input": [{"role": "user", "for_each": "i in range(10000)", "content": SLOW_TEXT}]},
    "many messages": {
        "vars": {"t": "z" * 900_000},
        "format_input": [{"role": "user", "for_each": "i in range(10000)", "content": "{{ vars.t }}{{ i }}"}],
    },
    "the same message": {
        "vars": {"t": "z" * 900_000},
        "format_input": [{"role": "user", "for_each": "i in range(10000)", "content": "{{ vars.t }}"}],
    },
    "messages by the million": {
        "format_input": [{"role": "user", "for_each": "i in range(9000)", "content": str(i)} for i in range(200)]
    },
    "parts": {
        "vars": {"t": "z" * 900_000},
        "format_input": [{"role": "user", "content": [{"text": "{{ vars.t }}"}] * 2000}],
    },
    "images": {"format_input": [{"role": "user", "content": [{"image": "{{ ['big.png'] * 900 }}"}]}]},
    "splice": {"format_input": [{"splice": "[{'role': 'user', 'content': 'a' * 99999}] * 9999"}]},
    "checks": {"checks": [SLOW + " | length == 0"] * 500},
    "columns": {
        "outputs": {"a": "x", "b": {"type": "any"}},
        "format_output": {"parser": "text", "column": "a", "columns": {"b": "{{ " + SLOW_TEXT[:0] + SLOW + " }}"}},
    },
    "draw": {"draw": {f"d{i}": {"options": "{{ " + SLOW.replace("q", "1") + " or [1] }}"} for i in range(99)}},
    "output when": {
        "outputs": {"a": "x", **{f"b{i}": {"when": "range(9999) | map('center', 999) | list"} for i in range(99)}},
        "format_output": {"parser": "json"},
    },
    "structured output": {"structured_output": {"choice": "{{ range(9999) | map('center', 9999) | list }}"}},
    "tools": {"tools": "{{ [{'a': 'b' * 99999}] * 9999 }}"},
    "cases": {
        "format_input": [{"role": "user", "content": SLOW_TEXT}],
        "cases": [{"input": {"x": [3, 4], "q": "a"}, "reply": "hi", "expect": {"a": "hi"}}] * 400,
    },
    "undefined names": {"format_input": [{"role": "user", "content": "".join(f"{{{{ a{i} }}}}" for i in range(4000))}]},
    "unknown keys": {f"k{i}": 1 for i in range(20_000)},
    "templates by the mebibyte": {
        "format_input": [{"role": "user", "content": "{% if q %}a{% endif %}" * 4000 + str(i)} for i in range(30)]
    },
    "a long number": {"format_input": [{"role": "user", "content": "{{ " + "1" * 99_999 + " }}"}]},
    "a long name": {"format_input": [{"role": "user", "content": "{{ " + "a" * 99_999 + " }}"}]},
    "generations": {"num_generations": 10**9},
    "retries": {"on_invalid": {"retry": 10**9}},
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_no_other_place_of_a_spec_hangs_or_fills_the_memory(cage, folder, where):
    """A row has one budget, however many templates, messages, checks and columns its task has."""
    (folder.path / "big.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30 << 20))
    folder.task(**ELSEWHERE[where])

    attack(cage, folder, ["validate"] if where == "cases" else ["run"])


DOUBLED = {"set": {"a": "{{ a ~ a }}"}}
BEGUN = {"set": {"a": "{{ q }}"}}
STEPS = {
    "a loop of 10**9 turns": [BEGUN, {"repeat": 10**9, "steps": [DOUBLED]}],
    "a loop that doubles": [BEGUN, {"repeat": 999, "steps": [DOUBLED]}],
    "a loop that doubles a list": [
        {"set": {"a": "{{ [1] }}"}},
        {"repeat": 60, "steps": [{"set": {"a": "{{ [a, a] }}"}}]},
    ],
    "loops in loops": [
        BEGUN,
        {"repeat": 900, "steps": [{"repeat": 900, "steps": [{"repeat": 900, "steps": [DOUBLED]}]}]},
    ],
    "rows of rows of rows": [{"set": {"a": "{{ range(9999) | list }}"}}, {"explode": "a"}] * 3,
    "slow values": [{"set": {"a": "{{ " + SLOW + " | length }}"}}] * 300,
    "slow conditions": [BEGUN, *[{**BEGUN, "when": SLOW + " | length == 0"}] * 300],
    "itself": [{"task": "t.yaml"}],
    "another that is made of it": [{"task": "other.yaml"}],
    "tasks by the billion": [{"task": "c0.yaml"}],
    "a file outside": [{"task": "../secret.txt"}],
    "a file that a link leads to": [{"task": "link.yaml"}],
    "a device": [{"task": "zero.yaml"}],
    "code": [{"task": "code.yaml"}],
}


@pytest.mark.parametrize("steps", STEPS)
def test_no_task_made_of_tasks_hangs_or_fills_the_memory(cage, folder, steps):
    """A row of the input has one budget of steps and of time, with all rows that it becomes."""
    path = folder.path
    (path / "link.yaml").symlink_to(path.parent / "secret.txt")
    (path / "zero.yaml").symlink_to("/dev/zero")
    folder.write("evil.py", "open('PWNED', 'w').close()\ndef run(reply, row): return {'a': reply}\n")
    folder.write("code.yaml", VALID.decode().replace("{parser: text}", "{parser: python, function: 'evil:run'}"))
    folder.write("other.yaml", "inputs: {q: x}\nsteps: [{task: t.yaml}]\noutputs: {a: x}\n")
    for number in range(20):
        folder.write(
            f"c{number}.yaml",
            f"inputs: {{q: x}}\nsteps: [{{task: c{number + 1}.yaml}}, {{task: c{number + 1}.yaml}}]\noutputs: {{a: x}}\n",
        )
    folder.write("c20.yaml", VALID.decode())
    folder.task(steps=STEPS[steps], format_input=None, format_output=None, cases=None, outputs={"a": {"type": "any"}})

    attack(cage, folder, ["run"])


BOMBS = {
    "nine levels of lols": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{c}: &{c} [{','.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias in itself": "vars: &a {b: *a}\n",
    "an alias in a list in itself": "vars: {b: &a [1, [*a]]}\n",
    "two that hold each other": "vars: {b: &a [&c [*a, *c]]}\n",
    "a deep list": "vars: " + "[" * 5000 + "]" * 5000 + "\n",
    "a deep mapping": "vars: " + "{a: " * 5000 + "1" + "}" * 5000 + "\n",
    "deep by indentation": "vars:\n" + "".join(" " * i + "a:\n" for i in range(1, 2000)),
    "a python tag": "vars: !!python/object/apply:os.system [touch PWNED]\n",
    "another python tag": "vars: !!python/name:os.system ''\n",
    "a binary tag": "vars: !!binary aGVsbG8=\n",
    "a key twice": "name: t\nname: u\n",
    "a merge key": "vars: {b: &b {x: 1}, c: {<<: *b}}\n",
    "a huge text": "vars: {b: '" + "z" * (5 << 20) + "'}\n",
    "a huge number": "vars: {b: " + "9" * 100_000 + "}\n",
    "a number with an exponent": "vars: {b: 1e999999999}\n",
    "many values": "vars: [" + "1," * 200_000 + "]\n",
    "many anchors": "vars: [" + ",".join(f"&a{i} x" for i in range(90_000)) + "]\n",
    "a second document": "vars: {}\n---\nvars: {}\n",
    "a directive": "%YAML 9.9\n---\nvars: {}\n",
    "a key that is a list": "? [a, b]\n: 1\n",
    "a control character": "vars: {b: '\x1b]0;owned\x07'}\n",
    "half a character": b"vars: {b: '\xed\xa0\x80'}\n",
    "nothing": "",
    "only NUL": b"\0" * 5000,
}
VALID = b"inputs: {q: x}\nformat_input: [{role: user, content: '{{ q }}'}]\noutputs: {a: x}\nformat_output: {parser: text}\n"


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_yaml_takes_long_or_much(cage, folder, bomb):
    """Aliases are counted before they are written out, tags are refused, and each fault has its place."""
    text = BOMBS[bomb]
    text = text if isinstance(text, bytes) else text.encode()
    (folder.path / "t.yaml").write_bytes(text if bomb in ("nothing", "only NUL", "a second document") else text + VALID)

    attack(cage, folder, ["validate", "dry-run"])


def test_scalars_are_those_of_yaml_1_2(cage, folder):
    """A label `no` is a text, a time is none of base 60."""
    folder.write("t.yaml", "vars: {b: [no, NO, on, 12:30:45, 0o17, 2024-01-01, 1_000]}\n" + VALID.decode())
    with (folder.path / "t.yaml").open("a") as file:
        file.write("cases: [{input: {q: a}, reply: hi, expect: {a: hi}}]\n")
        file.write(
            """checks: ["vars.b | tojson == '[\\"no\\", \\"NO\\", \\"on\\", \\"12:30:45\\", 15, \\"2024-01-01\\", \\"1_000\\"]'"]\n"""
        )

    result = cage(*COMMANDS["validate"], cwd=folder.path)

    assert result.code == 0, result.text


LONG = "a" * 30_000 + "!"
PATTERNS = [
    r"(?P<a>(a+)+)$",
    r"(?P<a>(a|a)*)b",
    r"(?P<a>(?:(?=(a+)+$)a)+)",
    r"(?P<a>(?=(a*)*b)a)",
    r"(?P<a>(.*)(.*)(.*)(.*)(.*)(.*)x(?!y))",
    r"(?P<a>(a?){60}a{60}(?<!c)z)",
    r"(?P<a>.*?)x(?!y)",
    r"(?P<a>(?:(x+x+)+y|a)+(?<=q))",
    r"(?P<a>x{100000000})",
    r"(?P<a>((x{1000}){1000}){1000})",
    r"(?P<a>(?R)?x)",
    r"(?P<a>(?:(?P>a)|x)(?P>a)?)",
    "(?P<a>" + "(?:a|" * 900 + ")" * 900 + ")",
    "(?P<a>" + "a?" * 5000 + ")",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_explodes(cage, folder, pattern):
    """A pattern that backtracks without end ends as its reply's failure; one that can't be held is refused."""
    folder.task(
        format_output={"parser": "regex", "pattern": pattern},
        cases=[{"input": {"x": 1, "q": "a"}, "reply": LONG, "expect": {"a": "hi"}}],
    )

    attack(cage, folder, ["validate"])


@pytest.fixture(scope="module")
def without_re2():
    with cage_without_re2() as made:
        yield made


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_explodes_without_re2(without_re2, folder, pattern):
    """The engine that is left has a clock."""
    folder.task(
        format_output={"parser": "regex", "pattern": pattern},
        cases=[{"input": {"x": 1, "q": "a"}, "reply": LONG, "expect": {"a": "hi"}}],
    )

    attack(without_re2, folder, ["validate"])


def test_a_pattern_that_skips_lines_has_one_bound_for_all_of_them(without_re2, folder):
    """Each line has a clock of its own; together they take no longer than one pattern may."""
    folder.task(
        format_output={"parser": "list", "column": "a", "skip": "^(a|aa)+$"},
        outputs={"a": {"type": "list[string]"}},
        cases=[{"input": {"x": 1, "q": "a"}, "reply": ("a" * 60 + "b\n") * 300, "error": "took too long"}],
    )

    result = without_re2("validate", "t.yaml", cwd=folder.path)

    assert result.code == 0, result.text


def test_all_commands_run_without_re2(without_re2, folder):
    folder.task(
        format_output={"parser": "regex", "find": "last", "pattern": r"(?P<a>\w+)"},
        cases=[{"input": {"x": [3, 4], "q": "a"}, "reply": "oh hi!", "expect": {"a": "hi"}}],
    )

    for command in COMMANDS.values():
        result = without_re2(*command, cwd=folder.path)
        assert result.code == 0, result.text


def test_a_row_whose_reply_takes_all_the_time_stops_no_other(cage, folder, server):
    """Eight rows get a reply that their pattern can't read in time; the others come out as ever."""
    rows = "".join(f'{{"x": 1, "q": "{"slow" if i % 5 == 0 else "fast"} {i}"}}\n' for i in range(40))
    (folder.path / "in.jsonl").write_text(rows)
    folder.task(format_output={"parser": "regex", "pattern": r"(?P<a>(?:(?=(a+)+$)a|f)+)"})
    server.reply = lambda body: LONG if "slow" in body["messages"][0]["content"] else "f"

    result = cage(*COMMANDS["run"][:-3], "--base-url", server.url, "--model", "m", "--json", cwd=folder.path)

    assert result.code == 3, result.text
    assert b'"failures": {"parse_timeout": 8}' in result.out or b'"parse_timeout": 8' in result.out
    assert len(server.requests) == 40


SCHEMAS = {
    "a file": {"$ref": "../secret.json"},
    "a file's address": {"$ref": "file:///etc/passwd"},
    "a device": {"items": {"$ref": "file:///dev/zero"}},
    "references by the billion": {
        "$defs": {
            **{f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)},
            "d40": {"type": "string"},
        },
        "$ref": "#/$defs/d0",
    },
    "a reference to itself": {"$ref": "#"},
    "two to itself": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 2}}, "$ref": "#/$defs/a"},
    "many items": {"type": "array", "minItems": 10**9},
    "many properties": {"type": "object", "minProperties": 10**9, "additionalProperties": {"type": "string"}},
    "items of items": {"type": "array", "minItems": 9999, "items": {"type": "array", "minItems": 9999}},
    "a long text": {"type": "string", "minLength": 10**10},
    "a pattern": {"type": "string", "pattern": "^(a+)+$"},
    "a pattern that looks back": {"type": "string", "pattern": r"^(?=(a+)+$)(a*)*\1$"},
    "a large pattern": {"type": "string", "pattern": r"(\w{1000}){1000}"},
    "a pattern to be made up": {"allOf": [{"type": "string", "pattern": "a{900000000}"}]},
    "a number": {"type": "integer", "minimum": 1e308, "multipleOf": 1e-300},
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_schema_reads_or_explodes(cage, folder, schema):
    """A JSON Schema is held within bounds, reads nothing but itself, and makes up no reply that fills the memory."""
    folder.task(
        outputs={"a": {"schema": SCHEMAS[schema]}},
        format_output={"parser": "json"},
        cases=[{"input": {"x": 1, "q": "a"}, "reply": '{"a": "%s!"}' % ("a" * 5000), "error": "a"}],
    )

    attack(cage, folder, ["validate", "run"])


def test_a_schema_asks_no_server(cage, folder, server):
    """Neither to validate, nor to check a reply: an address in a schema is an address that a stranger chose."""
    folder.task(outputs={"a": {"schema": {"$ref": f"{server.url}/schema.json"}}}, format_output={"parser": "json"})

    attack(cage, folder, ["validate", "dry-run", "test", "run"])

    assert server.connections == 0


def test_the_server_would_see_a_schema_that_asks(folder, server):
    """The battery above fails where schemas may read."""
    folder.task(
        outputs={"a": {"schema": {"$ref": f"{server.url}/schema.json"}}},
        format_output={"parser": "json"},
        cases=[{"input": {"x": 1, "q": "a"}, "reply": '{"a": 1}', "error": "a"}],
    )

    with cage_without("schemas_may_read") as cage:
        cage(*COMMANDS["test"], cwd=folder.path)

    assert server.connections > 0


NAMES = ["../secret.txt", "/etc/passwd", "link.txt", "links/secret.txt", "a/../../secret.txt", "~/.bashrc", "a\0b", "a\nb", "-rf",
         "fifo", "zero", "loop", ".", "", "C:\\secret.txt", "..\\secret.txt", "big.txt", "binary.txt"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder(cage, folder, name):
    """Nor to what is no file, nor to one that no prompt is made of: included, as a message's file, and as an image."""
    path = folder.path
    (path / "link.txt").symlink_to(path.parent / "secret.txt")
    (path / "links").symlink_to(path.parent)
    (path / "loop").symlink_to("loop")
    (path / "zero").symlink_to("/dev/zero")
    os.mkfifo(path / "fifo")
    (path / "big.txt").write_bytes(b"x" * (2 << 20))
    (path / "binary.txt").write_bytes(b"\xff\xfe")

    for content in ({"file": name}, "{% include " + repr(name).replace("\\\\", "\\") + " %}"):
        folder.task(content)
        result = cage(*COMMANDS["validate"], cwd=path)
        assert_harmless(result, folder)
        assert result.code == 2, result.text
    for part in ("file", "image"):
        if name != "big.txt":
            folder.task([{part: "{{ vars.n }}"}], vars={"n": name})
            attack(cage, folder, ["validate", "run"])


HOOKS = ["evil:run", "os:system", "evil:nope", "..evil:run", "evil.sub:run", "subprocess:Popen"]


@pytest.mark.parametrize("function", HOOKS)
def test_code_is_never_imported_unless_it_is_allowed(cage, folder, function):
    """Not by validate, dry-run or test either; run says what to read and what to give."""
    folder.write("evil.py", "open('PWNED', 'w').close()\ndef run(reply, row): return {'a': reply}\n")
    for parser in ({"parser": "python", "function": function},
                   [{"parser": "text", "column": "a"}, {"parser": "python", "function": function}]):  # fmt: skip
        folder.task(format_output=parser)
        attack(cage, folder, ["validate", "dry-run", "test"])
        result = cage(*COMMANDS["run"], cwd=folder.path)
        assert_harmless(result, folder)
        assert result.code == 2
        assert b"--allow-code" in result.err or b"t.yaml:" in result.err


def test_code_that_is_allowed_runs(cage, folder):
    """The battery above would see it."""
    folder.write("evil.py", "open('PWNED', 'w').close()\ndef run(reply, row): return {'a': reply}\n")
    folder.task(format_output={"parser": "python", "function": "evil:run"})

    result = cage(*COMMANDS["run"], "--allow-code", cwd=folder.path)

    assert result.code == 0, result.text
    assert (folder.path / "PWNED").exists()


def test_params_vars_and_values_on_the_command_line_are_bounded_too(cage, folder):
    """A value of --param is YAML, and may be a template."""
    folder.task("{{ p }}", params={"p": {"type": "any", "default": "a"}})
    for value in ("{a: " * 5000, "&a [*a]", "!!python/name:os.system ''", "9" * 100_000, "{{ 10**99999999 }}"):
        result = cage(*COMMANDS["dry-run"], "-p", f"p={value}", cwd=folder.path)
        assert_harmless(result, folder)


ATTACKS = {
    "attributes_are_open": {"content": "{{ cycler.__init__.__globals__.os.popen('touch PWNED').read() }}"},
    "rows_can_be_changed": {"content": "{{ x.append(987654321) }}{{ x }}"},
    "renders_have_no_bound": {"content": HANGS[6].replace("x", ""), "vars": MILLIONS},
    "chats_have_no_bound": ELSEWHERE["many messages"],
    "rows_have_no_clock": ELSEWHERE["when"],
    "aliases_are_not_counted": BOMBS["nine levels of lols"],
    "files_may_be_anywhere": {"content": {"file": "../secret.txt"}},
    "patterns_run_on_re": {
        "format_output": {"parser": "regex", "pattern": r"(?P<a>(a+)+)$"},
        "cases": [{"input": {"x": 1, "q": "a"}, "reply": LONG, "expect": {"a": "hi"}}],
    },
    "rows_are_encoded_again": {},
    "code_runs": {"format_output": {"parser": "python", "function": "evil:run"}},
}


@pytest.fixture
def attacked(folder, lock):
    """The folder with the spec that attacks what a lock protects."""
    folder.write("evil.py", "open('PWNED', 'w').close()\ndef run(reply, row): return {'a': reply}\n")
    made = ATTACKS[lock]
    if isinstance(made, str):
        folder.write("t.yaml", made + VALID.decode())
    else:
        folder.task(**made)
    return folder


@pytest.mark.parametrize("lock", ATTACKS)
def test_the_battery_fails_when_a_lock_is_taken_off(attacked, lock):
    """Each lock holds something that nothing else holds."""
    with cage_without(lock) as cage, pytest.raises((AssertionError, RuntimeError)):
        attack(cage, attacked, ["validate", "run"], seconds=6)


@pytest.mark.parametrize("lock", ATTACKS)
def test_the_battery_passes_while_the_lock_is_on(cage, attacked, lock):
    """A battery that fails anyway would see every lock that is taken off."""
    attack(cage, attacked, ["validate", "run"])


@pytest.mark.parametrize(
    "bomb", ["nine levels of lols", "an alias in itself", "a deep list", "a python tag", "many values"]
)
def test_another_tools_file_is_read_within_the_same_bounds(cage, folder, bomb):
    """`distask import` reads YAML of strangers too."""
    folder.write("in.prompty", f"---\n{BOMBS[bomb]}---\nsystem:\nhi {{{{x}}}}\n")

    result = cage("import", "in.prompty", cwd=folder.path)

    assert_harmless(result, folder)
    assert result.code in (0, 2)
