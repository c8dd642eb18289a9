"""Templates: what they print, and what they can't do."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distask.errors import RowError
from distask.spec.check import expressions
from distask.spec.document import Document
from distask.task.templates import limits
from distask.task.templates.compiler import CompileError, Compiler, compile_expression, compile_template
from distask.task.templates.filters import FILTERS
from distask.task.templates.limits import PROMPT_CHARACTERS
from distask.task.templates.sandbox import GLOBALS, Sandbox


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.fixture
def render(sandbox):
    def render(source, **scope):
        return compile_template(sandbox, source)({**GLOBALS, **scope})

    return render


@pytest.fixture
def evaluate(sandbox):
    def evaluate(source, **scope):
        return compile_expression(sandbox, source)({**GLOBALS, **scope})

    return evaluate


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("text", "text"),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (2.5, "2.5"),
        ([1, "é", None, {"a": True}], '[1, "é", null, {"a": true}]'),
        ({"名": [1]}, '{"名": [1]}'),
        ((1, 2), "[1, 2]"),
        (dt.date(2024, 1, 2), "2024-01-02"),
        ([dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)], '["2024-01-02T03:04:00+00:00"]'),
        (decimal.Decimal("1.50"), "1.50"),
        (range(3), "[0, 1, 2]"),
        ({"a": 1}.items(), '[["a", 1]]'),
    ],
)
@pytest.mark.parametrize("source", ["{{ value }}", "{% if true %}{{ value }}{% endif %}", "{{ '' ~ value }}"])
def test_values_are_printed_as_people_write_them_and_never_as_python_does(render, source, value, printed):
    """Lists and mappings are JSON with other scripts kept, null is nothing."""
    assert render(source, value=value) == printed


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain\n", "plain"),
        ("two\n\n", "two\n"),
        ("{{ a }}\n", "1"),
        ("{% if a %}\nyes\n{% endif %}\n", "yes\n"),
        ("  {% if a %}\n  yes\n  {% endif %}\nend", "  yes\nend"),
        ("a {# a note #} b", "a  b"),
        ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ("a\r\nb", "a\nb"),
    ],
)
def test_white_space_is_taken_off_around_blocks_and_at_the_end(render, source, text):
    """trim_blocks and lstrip_blocks are on, and a template's last line end is not part of it."""
    assert render(source, a=1) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ xs | numbered }}", "1. a\n2. b"),
        ("{{ xs | numbered(0) }}", "0. a\n1. b"),
        ("{{ [] | numbered }}", ""),
        ("{{ xs | tojson }}", '["a", "b"]'),
        ("{{ 'Come  at\nnine.' | quoted_from('You: come\tnow. Come at nine.') }}", "true"),
        ("{{ 'come at nine' | quoted_from('Come at nine.') }}", "false"),
        ("{{ ['a', 'c d'] | quoted_from('a b c\n\nd') }} {{ ['a', 'x'] | quoted_from('a b') }}", "true false"),
        (
            "{{ ' ' | quoted_from('a b') }} {{ [] | quoted_from('a') }} {{ none | quoted_from('a') }}",
            "false false false",
        ),
        ("{{ ['b  c', 'x', ' '] | found_in(['a', 'b\nc', 'b c']) }}", "[1, null, null]"),
        ("{{ ['a', 'c'] | quoted_from(['a b', 'c d']) }} {{ 'b c' | quoted_from(['a b', 'c d']) }}", "true false"),
        ("{{ '# T\n\nHi, Dr. No. Bye!' | sentences }}", '["# T", "Hi, Dr. No.", "Bye!"]'),
        ("{{ '' | sentences }} {{ '山は高い。寒い。' | sentences }}", '[] ["山は高い。", "寒い。"]'),
        ("{{ {'k': xs} | tojson(indent=1) }}", '{\n "k": [\n  "a",\n  "b"\n ]\n}'),
        ("{{ '<&é>' | tojson }}", '"<&é>"'),
        ("{{ 'one two three four' | truncate_tokens(2) }}", "one two "),
        ("{{ '東京都の人口' | truncate_tokens(3) }}", "東京都"),
        ("{{ 'short' | truncate_tokens(100) }}", "short"),
        ("{{ '<p>a &lt; b <!-- c > d --></p> 1 < 2' | strip_tags }}", "a &lt; b  1 < 2"),
        ("{{ 'x <unclosed' | strip_tags }}", "x <unclosed"),
        ("{{ 'a' | tagged('q') }}", "<q>\na\n</q>"),
        ("{{ 'a </Q> b <q-2>' | tagged('q', id=1) }}", '<q-3 id="1">\na </Q> b <q-2>\n</q-3>'),
        ("{{ 'a' | tagged('q', name='\"><x') }}", '<q name="&#34;&gt;&lt;x">\na\n</q>'),
        ("{{ [4, none, 5] | mean }} {{ [1, 2, 9] | median }} {{ [1, 3] | std | round(2) }}", "4.5 2.0 1.41"),
        ("{{ [5, 2, none] | weighted_mean([2, 1, 9]) }} {{ [5] | weighted_mean([0]) }}", "4.0 "),
        ("{{ ['a', 'b', 'a', 'a'] | majority }} {{ ['a', 'b', 'a', 'a'] | agreement }}", "a 0.75"),
        ("{{ [] | mean }}", ""),
        ("{{ xs | join(', ') }}", "a, b"),
        ("{{ [{'n': 'a'}, {'n': 2}] | join('-', attribute='n') }}", "a-2"),
        ("{{ [1, 2.5] | sum }}", "3.5"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ 'a' | center(5) }}", "  a  "),
        ("{{ [1, 2, 3] | batch(2) | list }}", "[[1, 2], [3]]"),
        ("{{ [1, 2, 3] | slice(2) | list }}", "[[1, 2], [3]]"),
        ("{{ '%s of %s in 2024' | format(1, none) }}", "1 of  in 2024"),
        ("{{ '**%s** in 2024' % true }}", "**true** in 2024"),
        ("{{ '{} and {:.1f}'.format('a', 2) }}", "a and 2.0"),
        ("{{ ' a ' | trim }}{{ 'aXa' | replace('X', 1) }}", "aa1a"),
        ("{{ xs | map('upper') | list }}{{ xs | map('upper') }}", '["A", "B"]["A", "B"]'),
        ("{{ '<b>' | e }}{{ '<b>' | safe }}", "&lt;b&gt;<b>"),
        ("{{ 'aaa bbb' | wordwrap(3) }}", "aaa\nbbb"),
        (
            "{% for x in xs %}{{ loop.index }}/{{ loop.length }}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
            "1/2a,2/2b",
        ),
        ("{% for x in xs %}{{ x }}{% else %}none{% endfor %}", "ab"),
        ("{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        ("{% macro m(x, y='!') %}{{ x }}{{ y }}{% endmacro %}{{ m('a') }}{{ m('b', y='?') }}", "a!b?"),
        ("{% set j = joiner('; ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}", "a; b"),
        ("{{ dict(a=1).items() | list }}{{ range(2) | list }}", '[["a", 1]][0, 1]'),
        ("{{ xs[1:] }}{{ 'abc'[:2] }}{{ xs[0].upper() }}{{ ' '.join(xs) }}", '["b"]abAa b'),
        ("{{ 2 ** 10 }}{{ 7 % 3 }}{{ 7 // 2 }}{{ 'ab' * 2 }}{{ [1] + [2] }}", "102413abab[1, 2]"),
        ("{{ xs | select('eq', 'a') | list }}{{ 'a' in xs }}{{ xs is iterable }}", '["a"]truetrue'),
    ],
)
def test_filters_and_operators_do_what_jinja_says(render, source, text):
    """What is bounded is not broken."""
    assert render(source, xs=["a", "b"]) == text


def test_every_filter_that_validate_takes_is_there():
    """A spec that validates compiles."""
    from jinja2.defaults import DEFAULT_FILTERS

    wanted = (set(DEFAULT_FILTERS) | expressions.FILTERS) - expressions.FILTERS_LEFT_OUT

    assert wanted - set(FILTERS) == set()
    assert set(GLOBALS) == expressions.GLOBALS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ a }}", "line 1: `a` is undefined"),
        ("x {{ a }}", "line 1: `a` is undefined"),
        ("\n\n{{ xs.nope }}", "line 3: `list object` has no attribute `nope`"),
        ("{% for x in xs %}\n{{ 1 / x }}\n{% endfor %}", "line 2: ZeroDivisionError: division by zero"),
        ("{{ ['a', 1] | mean }}", "line 1: a value is not a number"),
        ("{{ raw }}", "line 1: a value of type bytes can't be printed"),
        ("{% include 'part.txt' %}", "part.txt, line 2: `q` is undefined"),
        ("{% include 'gone.txt' %}", "line 1: `gone.txt` is not a file in the spec's folder or a subfolder"),
    ],
)
def test_a_row_that_can_not_be_rendered_says_the_line_and_the_reason(render, tmp_path, source, message):
    """The failure is the row's own, with words for people."""
    (tmp_path / "part.txt").write_text("one\n{{ q }}")

    with pytest.raises(RowError) as failed:
        render(source, xs=[0], raw=b"\x89PNG")

    assert (failed.value.kind, failed.value.message) == ("template", message)


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("{{ a", 1, "unexpected end of template"),
        ("\n{% if a %}", 2, "endif"),
        ("{{ a | nope }}", 1, "no filter named `nope`"),
        ("{{ xs | random }}", 1, "no filter named `random`"),
        ("{% autoescape true %}{{ a }}{% endautoescape %}", 1, "autoescape"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", 1, "nested too deeply"),
        ("{{ " + "+".join(["1"] * 9000) + " }}", 1, "too complex"),
        ("{% for x in xs %}" * 25 + "{% endfor %}" * 25, 1, "too complex"),
        ("{{ a|e }}" * 25000, 1, "too large"),
        ("{{ a }}" + " " * 300000, 1, "longer than"),
    ],
)
def test_a_template_that_can_not_be_compiled_says_the_line_and_the_reason(sandbox, source, line, words):
    """Nothing is rendered; the fault is the spec's."""
    with pytest.raises(CompileError) as failed:
        compile_template(sandbox, source)

    assert failed.value.line == line
    assert words in failed.value.message


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("x", [1]),
        ("{{ x }}", [1]),
        (" {{ x[0] + 1 }}\n", 2),
        ("-3", -3),
        ("{{ -y }}", -5),
        ("x | length > 0 and y == 5", True),
        ("{{ {'a': {'b': y}} }}", {"a": {"b": 5}}),
        ('{"a": {"b": y}}', {"a": {"b": 5}}),
        ("x | map('string')", ["1"]),
        ("none", None),
        ("y: {{ y }}", "y: 5"),
        ("{{ y }}{{ y }}", "55"),
        ("'a {{ b'", "a {{ b"),
    ],
)
def test_an_expression_gives_the_value_itself(evaluate, source, value):
    """In braces or bare; text around it gives text."""
    assert evaluate(source, x=[1], y=5) == value


def test_an_expression_passes_bytes_through_untouched(evaluate):
    """An image of many megabytes is no work for a template."""
    image = b"\x89PNG" + bytes(40 << 20)

    assert evaluate("{{ image }}", image=image) is image
    assert evaluate("image if image else none", image=image) is image
    assert evaluate("images | first", images=[image]) is image


@pytest.mark.parametrize("source", ["{{ nope }}", "x.nope", "nope", "x[3]"])
def test_an_expression_of_what_is_not_there_fails(evaluate, source):
    """It is never null in silence."""
    with pytest.raises(RowError, match=r"undefined|has no"):
        evaluate(source, x=[1])


ESCAPES = r"""
{{ ''.__class__.__mro__[1].__subclasses__() }}
{{ ().__class__.__base__ }}
{{ x['__class__'] }}
{{ x | attr('__class__') }}
{{ [x] | map(attribute='__class__') | list }}
{{ x | map(attribute='__class__') | list }}
{{ cycler.__init__.__globals__.os.popen('id').read() }}
{{ joiner.__init__.__globals__ }}
{{ namespace.__init__.__globals__.os.system('id') }}
{{ dict.__mro__ }}
{{ dict.mro() }}
{{ self._TemplateReference__context }}
{{ self.__init__.__globals__ }}
{{ range.__globals__ }}
{{ '{0.__class__}'.format(x) }}
{{ '{0.__class__.__mro__}'.format(x) }}
{{ '{a.__class__}'.format_map({'a': 1}) }}
{% set f = '{0.__class__}'.format %}{{ f(1) }}
{{ ('{0.__class__}' | attr('format'))(1) }}
{{ '%(a.__class__)s' % {'a': 1} }}
{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}
{% macro m() %}{% endmacro %}{{ m._func.__code__ }}
{% for a in x %}{{ loop.__class__ }}{% endfor %}
{{ lipsum.__globals__.os }}
{{ get_flashed_messages.__globals__ }}
{{ thing.save('/tmp/x') }}
{{ thing.run() }}
{{ [thing] | map(attribute='run') | list }}
{{ x.append(9) }}
{{ x | attr('append') }}
{{ x.clear() }}
{{ row.update({'a': 2}) }}
{{ row.pop('a') }}
{{ row.setdefault('z', 1) }}
{{ row['x'].append(1) }}
{{ row.__setitem__('a', 3) }}
{% set row.a = 5 %}
{% do x.append(1) %}
{{ (5).to_bytes(3, 'big') }}
{{ 'a'.translate({97: 'b'}) }}
{% include '/etc/passwd' %}
{% include '../secret.txt' %}
{% include 'link.txt' %}
{% import '../secret.txt' as s %}{{ s }}
{% from '../secret.txt' import a %}
{% extends '../secret.txt' %}
{{ thing }}
{{ dict }}
{{ namespace(a=1) }}
{{ x.append }}
""".strip().splitlines()


class Thing:
    """What a row might hold beside plain values: an image, with methods that write files."""

    ran = False

    def save(self, path):
        Thing.ran = True

    run = save


@pytest.mark.parametrize("source", ESCAPES)
def test_no_template_reaches_out_of_the_sandbox_or_changes_a_row(sandbox, tmp_path, source):
    """Neither Python's insides, nor files outside of the spec's folder, nor the values of the row."""
    sandbox = Sandbox(tmp_path / "spec")
    (tmp_path / "spec").mkdir()
    (tmp_path / "secret.txt").write_text("secret {% macro a() %}{% endmacro %}")
    (tmp_path / "spec" / "link.txt").symlink_to(tmp_path / "secret.txt")
    scope = {"x": [1], "row": {"a": 1, "x": [1]}}
    before = copy.deepcopy(scope)

    with pytest.raises((RowError, CompileError)):
        compile_template(sandbox, source)({**GLOBALS, **scope, "thing": Thing()})

    assert scope == before
    assert not Thing.ran


HANGS = r"""
{{ 10**99999999 }}
{% set x = 9**9**9**9 %}{{ x**9**9 }}
{{ 'a' * 2000000000 }}
{{ [0] * 200000000 }}
{{ '1' * 100000000 }}
{% for i in range(100000) %}x{% endfor %}
{% for i in range(5000) %}{% for j in range(5000) %}{% endfor %}{% endfor %}{{ range(10) }}
{% for i in range(9000) %}{% for j in xs * 3000 %}{% endfor %}{% endfor %}
{% for i in xs * 9999 %}{% for j in xs * 9999 %}{% for k in xs * 9999 %}{% endfor %}{% endfor %}{% endfor %}
{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}
{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{% call m() %}{{ 'a' * 2000000000 }}{% endcall %}{% endcall %}
{{ lipsum(n=100000) }}
{{ 'a' | center(999999999) }}
{{ 'a'.center(999999999) }}
{{ 'a'.ljust(999999999) | length }}
{{ 'a'.zfill(999999999) }}
{{ '\t'.expandtabs(999999999) }}
{{ ('\n' * 1000) | indent(999999) }}
{{ '%999999999d' % 1 }}
{{ '%*d' % (999999999, 1) }}
{{ '%999999999d' | format(1) }}
{{ '{:>999999999}'.format(1) }}
{{ '{:>{w}}'.format(1, w=999999999) }}
{{ ('{0}' * 100000).format(big) }}
{{ '%s' * 100000 % big }}
{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}
{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}
{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}
{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}
{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [[n.s]] %}{% endfor %}{{ n.s }}
{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}
{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = dict(a=n.s, b=n.s) %}{% endfor %}{{ n.s }}
{% set n = namespace(s=(1,)) %}{% for i in range(60) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ {n.s: 1} }}
{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = n.l + [big ~ i] %}{% endfor %}
{% set n = namespace() %}{% set n.x = [n, n] %}{{ n.x }}
{{ range(10000) | slice(999999999) | list }}
{{ [1] | batch(999999999, 'x') | list }}
{{ 1.5 | round(100000000, 'ceil') }}
{{ big.replace('', big) }}
{{ big | replace('a', big) }}
{{ big.rfind('b' ~ 'a' * 400000) }}
{{ big | trim(big) }}
{{ big | wordwrap(1) }}
{{ ([[1] * 1000] * 1000) | sum(start=[]) }}
{{ ([[1] * 1000] * 1000) | map('list') | map('list') | list }}
{{ big.join(['a'] * 100000) }}
{{ ([big] * 1000) | join }}
{{ [big] * 1000 }}
{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}
{% for x in xs * 5000 recursive %}{% if loop.depth < 5 %}{{ loop(xs * 5000) }}{% endif %}{% endfor %}
{% set l = xs * 300000 %}{% for i in range(9000) %}{% if i in l %}{% endif %}{% endfor %}{{ l }}
{% filter upper %}{% for i in range(9000) %}{{ big }}{% endfor %}{% endfilter %}
{% for i in range(9000) %}{{ big }}{% endfor %}
{% set x = ('1' * 4000) | int %}{{ x * x * x * x * x }}
{% set x = ('1' * 900000) | int(base=2) %}{{ x * x }}
{% include 'self.txt' %}
{% set d = 60 %}{% include 'twice.txt' %}
""".strip().splitlines()


@pytest.mark.battery
@pytest.mark.parametrize("source", HANGS)
def test_no_template_fills_the_memory_or_hangs(tmp_path, source):
    """Each ends with an error after a short while, whatever thread it is rendered in."""
    (tmp_path / "self.txt").write_text("{% include 'self.txt' %}")
    (tmp_path / "twice.txt").write_text(
        "{% set d = d - 1 %}{% if d %}{% include 'twice.txt' %}{% include 'twice.txt' %}{% endif %}"
    )
    sandbox, errors = Sandbox(tmp_path), []

    def work():
        started = time.thread_time()
        try:
            compile_template(sandbox, source)({**GLOBALS, "xs": [3, 4], "big": "ab" * 200_000})
        except (RowError, CompileError) as error:
            errors.append((error, time.thread_time() - started))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)

    assert not thread.is_alive()
    ((_, spent),) = errors
    assert spent < 2


def test_compiling_computes_nothing(sandbox):
    """So a hostile constant can't hang `validate`."""
    compile_template(sandbox, "{{ 10**99999999 }}{{ 'a' * 10**9 }}{{ ('x' | center(10**9)) }}{% set a = 2**2**2**99 %}")


def test_a_text_beyond_the_limit_is_the_rows_failure(render):
    """However the text is made, the message names the limit."""
    assert len(render("{{ a }}", a="x" * PROMPT_CHARACTERS)) == PROMPT_CHARACTERS
    for source in ("{{ a }}", "- {{ a }}", "{% if true %}{{ a }}{% endif %}"):
        with pytest.raises(
            RowError, match=r"longer than 16,777,216 characters \(raise the limit with --set limits.prompt_characters=N"
        ):
            render(source, a="x" * (PROMPT_CHARACTERS + 1))


def test_a_render_that_used_up_its_budget_leaves_the_next_one_its_own(render):
    """The meter starts anew each time."""
    for _ in range(3):
        with pytest.raises(RowError):
            render("{% for i in range(9999) %}{{ 'x' * 10000 }}{% endfor %}")
        assert render("{% for i in range(9999) %}{% if loop.last %}{{ i }}{% endif %}{% endfor %}") == "9998"


def test_files_of_the_folder_and_below_are_included_and_imported(tmp_path, render):
    """A prompt may be made of parts."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "rules.md").write_text("Be {{ how }}.\n")
    (tmp_path / "macros.j2").write_text("{% macro item(x) %}* {{ x }}{% endmacro %}")

    text = render("{% import 'macros.j2' as m %}{{ m.item('a') }} {% include 'parts/rules.md' %}", how="brief")

    assert text == "* a Be brief."


@given(st.text())
def test_text_of_a_row_arrives_as_it_is(value):
    """Whatever looks like a template in it is not one."""
    from pathlib import Path

    sandbox = Sandbox(Path())
    for source in ("{{ a }}", "{% if true %}{{ a }}{% endif %}", "{{ a if true }}"):
        assert compile_template(sandbox, source)({**GLOBALS, "a": value}) == value
    assert compile_template(sandbox, "<{{ a }}>")({"a": value}) == f"<{value}>"


def test_a_text_is_compiled_once_for_all_tasks_of_a_spec(tmp_path):
    """A spec's cases make a task for each choice of params; to compile is what costs."""
    compiler = Compiler(Sandbox(tmp_path), Document.parse("a: 1", "task.yaml"))

    assert compiler.template("{{ a }} b", ("x",)) is compiler.template("{{ a }} b", ("y",))
    assert compiler.expression("a + 1", ("x",)) is compiler.expression("a + 1", ("y",))
    assert compiler.expression("a", ("x",)) is not compiler.template("a", ("x",))


def test_the_clock_is_not_read_for_small_replies(make_task, monkeypatch):
    """Each look takes as long as parsing a reply."""
    task = make_task("")
    looks = []
    monkeypatch.setattr(limits.time, "thread_time", lambda: looks.append(0) or 0.0)

    for _ in range(100):
        assert task.format_output("good", {"question": "?"}) == {"answer": "good"}

    assert not looks
