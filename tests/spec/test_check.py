"""What the models can't see: names, groups, pointers, tags, types against bounds, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from distask.errors import SpecError
from distask.spec.load import load_spec, load_text

BASE = {
    "inputs": "inputs: {question: Q, answers: {type: list}, note: {required: false}}",
    "params": "params: {scale: {type: integer, default: 5}}",
    "vars": "vars: {rubric: [a, b]}",
    "draw": "draw: {style: [a, b]}",
    "format_input": 'format_input: [{role: user, content: "{{ question }}"}]',
    "outputs": "outputs: {rating: {type: integer}, why: Why.}",
    "format_output": "format_output: {parser: json}",
}


def spec(**changes: str) -> str:
    """A spec of a line a key, with some of the lines changed or added."""
    return "\n".join({**BASE, **changes}.values()) + "\n"


def faults_of(text: str, folder: Path = Path()) -> list[str]:
    """All that is wrong with it, in order: what the caret underlines, and the message."""
    try:
        load_text(text, folder / "t.yaml")
    except SpecError as error:
        return [f"{(d.source or '')[d.column - 1 :][: d.length]}: {d.message}" for d in error.diagnostics]
    return []


def hint(text: str, folder: Path = Path()) -> str:
    with pytest.raises(SpecError) as caught:
        load_text(text, folder / "t.yaml")
    (found,) = caught.value.diagnostics
    return found.hint or ""


def messages(content: str) -> str:
    return spec(format_input=f"format_input: [{content}]")


def test_examples_read_the_row_and_the_outputs_above():
    """An output below, or a name that does not exist, is reported at its place."""
    good = "outputs: {rating: {type: integer, examples: [1, 2]}, why: {examples: '[question, rating, style]'}}"
    bad = "outputs: {rating: {type: integer, examples: '[why]'}, why: {examples: questoin | sentences}}"

    assert faults_of(spec(outputs=good)) == []
    assert faults_of(spec(outputs=bad)) == [
        "why: the expression reads `why`, which is not an input, a param, a var or a draw",
        "questoin: the expression reads `questoin`, which is not an input, a param, a var or a draw",
    ]


def test_the_base_is_right():
    """What the tests change is good before it is changed."""
    assert faults_of(spec()) == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ question }} {{ scale }} {{ rubric[0] }} {{ style }} {{ vars.rubric }} {{ params.scale }} {{ draw.style }}",
        "{{ row.anything }} {{ row['any thing'] }} {{ range(3) | list }} {{ vars.items() }} {{ params.get('x') }}",
        "{% for a in answers %}{{ loop.index }} {{ a }}{% endfor %}",
        "{{ answers | numbered }} {{ question | truncate_tokens(5) | strip_tags | tojson }}",
        "{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}",
    ],
)
def test_every_name_of_the_contract_is_known(template):
    """Inputs, params, vars and draws by their names and in their mappings, `row`, and Jinja's own."""
    assert faults_of(messages(f'{{role: user, content: "{template}"}}')) == []


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{ quesion }}", "quesion: the template reads `quesion`, which is not an input, a param, a var or a draw"),
        ("{{ rating }}", "rating: the template reads `rating`, which is not an input, a param, a var or a draw"),
        ("{{ vars.rubrik }}", "rubrik: the template reads `vars.rubrik`, which does not exist"),
        ("{{ params['skale'] }}", "skale: the template reads `params.skale`, which does not exist"),
        (
            "{{ loop_index }}",
            "loop_index: the template reads `loop_index`, which is not an input, a param, a var or a draw",
        ),
        ("{{ lipsum() }}", "lipsum: the template reads `lipsum`, which is not an input, a param, a var or a draw"),
        ("{% if question %}", "if: invalid template syntax: the block `if` is never closed"),
        ("{{ question | uper }}", "uper: unknown filter `uper`"),
        ("{{ question is numbr }}", "numbr: unknown test `numbr`"),
        ("{{ 2 ** 9999 }}", "2 : an exponent can't exceed 64"),
    ],
)
def test_a_template_that_can_not_work_is_reported_at_the_character(template, found):
    """The caret stands under what is wrong, and under nothing else."""
    assert faults_of(messages(f'{{role: user, content:      "{template}"}}')) == [found]


def test_the_place_inside_a_block_is_exact():
    """Line and column are those of the file, whatever the indentation."""
    text = spec(
        format_input="""\
format_input:
  - role: user
    content: |
      First line.

        {% for a in answers %}
        - {{ a.text }}: {{ quesion }}
        {% endfor %}
      {{ whi }}"""
    )

    with pytest.raises(SpecError) as caught:
        load_text(text, Path("t.yaml"))

    assert [(d.line, d.column) for d in caught.value.diagnostics] == [(11, 28), (13, 10)]


def test_a_name_that_is_wrong_many_times_is_reported_once():
    """One slip is one fault, at its first place."""
    assert len(faults_of(messages('{role: user, content: "{{ x }} {{ x }} {% if x %}{{ x }}{% endif %}"}'))) == 1


def test_an_output_in_a_prompt_is_explained():
    """The reply is not there before it is asked for."""
    assert "checks" in hint(messages('{role: user, content: "{{ why }}"}'))


def test_a_column_with_hyphens_is_explained():
    """To Jinja a hyphen subtracts."""
    text = spec(
        inputs="inputs: {question: Q, my-text: T}",
        format_input='format_input: [{role: user, content: "{{ my-text }}"}]',
    )

    with pytest.raises(SpecError) as caught:
        load_text(text, Path("t.yaml"))

    assert 'row["my-text"]' in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ('{role: user, content: "{{ shot }}{{ loop_index }}", for_each: shot in rubric}', []),
        (
            '{role: user, content: "{{ shot }}", for_each: shot in rubrik}',
            ["rubrik: the expression reads `rubrik`, which is not an input, a param, a var or a draw"],
        ),
        ("{role: user, content: a, for_each: shots}", ['shots: expected "name in expression"']),
        (
            "{role: user, content: a, when: scal > 3}",
            ["scal: the expression reads `scal`, which is not an input, a param, a var or a draw"],
        ),
        ("{role: user, content: a, when: scale >}", [">: invalid template syntax: it ends too early"]),
        ("{splice: answers}", []),
        (
            "{splice: answer}",
            ["answer: the expression reads `answer`, which is not an input, a param, a var or a draw"],
        ),
        ("{splice: answers, role: user}", ["role: `role` can't be combined with `splice`"]),
        ("{content: a}", ["{: the message has no `role`"]),
        ("{role: user}", ["{: the message has no `content`"]),
        ("{}", ["{: the message is empty"]),
        ("{role: user, content: []}", ["[: the list of parts is empty"]),
        (
            "{role: user, content: [{text: a, image: b}]}",
            ["{: a part needs one of `text`, `image`, `audio` and `file`, not `text` and `image`"],
        ),
        ("{role: user, content: [{}]}", ["{: a part needs one of `text`, `image`, `audio` and `file`, not none"]),
        (
            '{role: user, content: [{image: "{{ img }}"}]}',
            ["img: the template reads `img`, which is not an input, a param, a var or a draw"],
        ),
        ("{role: user, content: [{text: a, detail: low}]}", ["detail: `detail` applies only to images"]),
    ],
)
def test_messages(message, found):
    """A message is a role and a content, or a splice; its expressions know the row."""
    assert faults_of(messages(message)) == found


@pytest.mark.parametrize(
    ("outputs", "parser", "found"),
    [
        ("{a: A}", "{parser: text}", []),
        (
            "{a: A, b: B}",
            "{parser: text}",
            ["text: the parser `text` fills one column, but there are several outputs: `a`, `b`"],
        ),
        ("{a: A, b: B}", "{parser: text, column: a}", ["b: nothing fills the output `b`"]),
        ("{a: A}", "{parser: text, column: c}", ["a: nothing fills the output `a`", "c: `c` is not an output"]),
        ("{a: A, style: S}", "{parser: text}", []),
        ("{a: A, b: B}", "{parser: regex, pattern: '(?P<a>x)(?P<b>y)'}", []),
        ("{a: A, b: B}", "{parser: regex, pattern: '(?P<a>x)'}", ["b: nothing fills the output `b`"]),
        ("{a: A}", "{parser: regex, pattern: '(?P<a>x)(?P<c>y)'}", ["c: the group `c` is not an output"]),
        ("{a: A}", "{parser: regex, pattern: '(x)'}", ["'(x)': the pattern has no named group"]),
        ("{a: A}", "{parser: regex, pattern: '(?P<a>x', flags: i}", ["': invalid pattern: missing )"]),
        ("{a: A}", "{parser: regex, pattern: '(?P<a>x)', flags: iq}", ["iq: unknown flag `q`"]),
        ("{a: {type: list}}", "{parser: regex, pattern: '(?P<position>1)(?P<a>x)', find: all, align_to: answers}", []),
        (
            "{a: {type: list}}",
            "{parser: regex, pattern: '(?P<a>x)', find: all, align_to: answer}",
            ["answer: `answer` is not a column"],
        ),
        (
            "{a: {type: list}}",
            "{parser: list, align_to: question}",
            ["question: `align_to` needs a list, but `question` is text (type: string)"],
        ),
        ("{a: A, b: B}", "{parser: json, columns: {a: /x/0, b: '{{ a }}'}}", []),
        (
            "{a: A, b: B}",
            "{parser: json, columns: {a: x}}",
            ["x: expected a JSON pointer, or an expression in {{ }}"],
        ),
        ("{a: A}", "{parser: json, columns: {c: /c}}", ["c: `c` is not an output"]),
        (
            "{a: A}",
            "{parser: json, columns: {a: /x~2}}",
            ["/x~2: invalid JSON pointer: write `~` as `~0`, and `/` in a key as `~1`"],
        ),
        ("{a: A, b: B}", "{parser: text, columns: {b: '{{ a | lenth }}'}}", ["lenth: unknown filter `lenth`"]),
        ("{a: A, b: B}", "{parser: text, columns: {b: a}}", ["a: expected an expression in {{ }}"]),
        (
            "{a: A, b: B, c: C}",
            "{parser: text, column: a, columns: {b: '{{ a }}', c: '{{ b }}'}}",
            ["b: the expression reads `b`, which is not an input, a param, a var, a draw or an output"],
        ),
        ("{a: A, b: B}", "{parser: tags, tags: [a, c, b]}", ["c: `c` is not an output"]),
        ("{a: A, b: B}", "{parser: tags, tags: {a: x}}", ["b: nothing fills the output `b`"]),
        ("{a: A}", "{parser: tags}", []),
        ("{a: A}", "{parser: sections, markers: {a: '#', c: '##'}}", ["c: `c` is not an output"]),
        ("{a: {choices: [x, y]}}", "{parser: choice}", []),
        ("{a: A}", "{parser: choice}", ["choice: the parser `choice` has no choices"]),
        (
            "{a: A}",
            "{parser: choice, choices: '{{ rubrik }}'}",
            ["rubrik: the expression reads `rubrik`, which is not an input, a param, a var or a draw"],
        ),
        ("{a: A}", "{parser: python, function: 'nowhere:f'}", []),
        ("{a: A, b: B}", "[{parser: json}, {parser: regex, pattern: '(?P<a>x)'}]", []),
        ("{a: {when: scale > 1}, b: {when: scale <= 1}}", "{parser: text}", []),
        (
            "{a: {when: question}, b: B}",
            "{parser: json}",
            ["question: the expression reads `question`, which is not a param or a var"],
        ),
    ],
)
def test_parsers_and_outputs_fit_each_other(outputs, parser, found):
    """Groups, pointers, tags and markers are outputs, and every output has something that fills it."""
    assert faults_of(spec(outputs=f"outputs: {outputs}", format_output=f"format_output: {parser}")) == found


@pytest.mark.parametrize(
    ("param", "found"),
    [
        ("{type: integer, minimum: 1, maximum: 5, default: 3}", []),
        ("{type: integer, minimum: 5, maximum: 1}", ["5: `minimum` (5) is greater than `maximum` (1)"]),
        ("{type: string, minimum: 1}", ["minimum: `minimum` does not apply to text (type: string)"]),
        ("{minimum: 1}", ["minimum: `minimum` does not apply to text (type: string)"]),
        ("{type: integer, minLength: 1}", ["minLength: `minLength` does not apply to an integer"]),
        ("{type: integer, min_length: 1}", ["min_length: `minLength` does not apply to an integer"]),
        ("{type: 'list[integer]', minimum: 1, minItems: 2}", []),
        ("{type: list, minItems: 3, maxItems: 2}", ["3: `minItems` (3) is greater than `maxItems` (2)"]),
        ("{type: integer, default: a}", ['a: the default is not an integer: the text "a"']),
        ("{type: integer, default: 9, maximum: 5}", ["9: the default, 9, is more than `maximum`, which is 5"]),
        ("{default: 5}", ["5: the default is not text (type: string): the number 5"]),
        ("{type: boolean, default: yes}", ['yes: the default is not a boolean: the text "yes"']),
        ("{choices: [a, b], default: c}", ['c: the default is not one of `choices`: the text "c"']),
        ("{type: integer, choices: [1, b]}", ['b: the text "b" is not an integer']),
        ("{type: enum}", ["enum: an enum needs `choices`"]),
        ("{type: 'list[enum]', choices: [a]}", []),
        ("{type: string, schema: {type: string}}", ["type: `type` and `schema` can't be combined"]),
        ("{schema: {type: strin}}", ["strin: JSON Schema has no type `strin`"]),
        ("{schema: {type: object, properties: {a: {minimum: x}}}}", None),
        ("{type: string, pattern: '('}", ["': invalid pattern: missing )"]),
        ("{type: any, minimum: 1}", []),
    ],
)
def test_types_and_bounds_do_not_contradict_each_other(param, found):
    """A bound that says nothing, or that no value can keep, is a slip."""
    text = faults_of(spec(params=f"params: {{p: {param}, scale: {{type: integer, default: 1}}}}"))

    assert text == found if found is not None else len(text) == 1


@pytest.mark.parametrize(
    ("draw", "found"),
    [
        ("{options: [a, b], weights: [1, 2]}", []),
        ("{options: [a, b], weights: [1]}", ["[: there are 2 options and 1 weights"]),
        ("{options: [a, b], weights: [0, 0]}", ["[: weights can't be negative, and at least one must be positive"]),
        ("{range: [5, 1]}", ["[: the range is reversed: 5 is greater than 1"]),
        ("{range: [1, 5], options: [a]}", ["d: a draw needs either `options` or `range`"]),
        ("{}", ["d: a draw needs either `options` or `range`"]),
        ("{range: [1, 5], weights: [1]}", ["weights: `weights` needs `options`"]),
        ("{range: [1, 5], sampling: unique}", []),
        (
            "{range: [0, 0.5], sampling: unique}",
            ["[: a range with fractions has no options that can be counted"],
        ),
        (
            "{options: [a, b], weights: [0.5, 1], sampling: balanced}",
            ["[: with `sampling: balanced`, weights are numbers of rows, which must be whole"],
        ),
        ("{options: '[scale]', sampling: balanced}", []),
        (
            "{options: '[question]', sampling: balanced}",
            ["question: the expression reads `question`, which is not a param or a var"],
        ),
    ],
)
def test_draws(draw, found):
    """A draw has options or a range, and a weight for each option."""
    assert faults_of(spec(draw=f"draw: {{d: {draw}, style: [a]}}")) == found


@pytest.mark.parametrize(
    ("design", "found"),
    [
        ("{grid: [style, d], rows: 2}", []),
        ("{grid: [style], rows: '2 if style == rubric else 1'}", []),
        ("{grid: [style], seed_column: question}", []),
        ("{grid: [styl]}", ["styl: `styl` is not a draw"]),
        ("{grid: [style, style]}", ["style: `style` is in the grid twice"]),
        ("{grid: [heavy]}", ["heavy: the draw `heavy` has weights, but in a grid all options are used equally often"]),
        ("{grid: [once]}", ["once: the draw `once` has both `sampling: unique` and a grid"]),
        ("{grid: [part]}", ["[: a range with fractions has no options that can be counted"]),
        ("{rows: 2}", ["rows: `rows` needs `grid`"]),
        ("{grid: [style], rows: d}", ["d: the expression reads `d`, which is not a param or a var"]),
        ("{seed_column: scale}", ["scale: `scale` is not an input"]),
    ],
)
def test_designs(design, found):
    """A grid is of draws without weights, and its rows depend on nothing else."""
    draws = "{style: [a, b], d: [x, y], heavy: {options: [a, b], weights: [1, 2]}, part: {range: [0, 0.5]}"
    draws += ", once: {options: [a], sampling: unique}}"

    assert faults_of(spec(draw=f"draw: {draws}\ndesign: {design}")) == found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"draw": "draw: {question: [a]}"}, ["question: `question` is both an input and a draw"]),
        ({"draw": "draw: {scale: [a]}"}, ["scale: `scale` is both a param and a draw"]),
        ({"inputs": "inputs: {question: Q, row: R}"}, ["row: `row` is a reserved name in templates"]),
        (
            {"outputs": "outputs: {question: Q}"},
            ["question: the output `question` has the same name as an input column"],
        ),
        ({"outputs": "outputs: {question: Q}", "more": "output_mappings: {question: q2}"}, []),
        (
            {"more": "output_mappings: {why: question}"},
            ["question: the output `question` has the same name as an input column"],
        ),
        (
            {"more": "output_mappings: {why: rating}"},
            ["rating: the outputs `rating` and `why` use the same column, `rating`"],
        ),
        ({"outputs": "outputs: {model_name: M}"}, ["model_name: `model_name` is reserved: every run adds this column"]),
        ({"more": "input_mappings: {qestion: x}"}, ["qestion: `qestion` is not an input"]),
        ({"more": "output_mappings: {wy: x}"}, ["wy: `wy` is not an output"]),
        ({"more": "checks: ['rating > 0 and finish_reason == \"stop\" and reply and question']"}, []),
        ({"more": "checks: ['rating >']"}, [">: invalid template syntax: it ends too early"]),
        ({"more": "on_invalid: {fallback: opnai}"}, ["opnai: there is no built-in config `opnai`"]),
        ({"more": "structured_output: {}"}, ["structured_output: `structured_output` is empty"]),
        (
            {"more": "structured_output: {schema: '{{ schma }}'}"},
            ["schma: the expression reads `schma`, which is not an input, a param, a var or a draw"],
        ),
        ({"more": "structured_output: {schema: {type: objct}}"}, ["objct: JSON Schema has no type `objct`"]),
        (
            {"more": "tools: '{{ tols }}'"},
            ["tols: the expression reads `tols`, which is not an input, a param, a var or a draw"],
        ),
        (
            {"more": "cases: [{input: {question: q}, reply: r, expect: {ratin: 1}}]"},
            ["ratin: `ratin` is not an output"],
        ),
        (
            {"more": "cases: [{input: {question: q}, reply: r, error: e, params: {skale: 1}}]"},
            ["skale: `skale` is not a param"],
        ),
        ({"more": "cases: [{input: {question: q}, reply: r}]"}, ["{: the case expects nothing"]),
    ],
)
def test_the_rest_of_the_language(changes, found):
    """Names that collide, mappings of what is not there, cases of columns that are none."""
    assert faults_of(spec(**changes)) == found


def test_a_file_for_the_content_is_checked_as_if_it_stood_there(tmp_path):
    """Its faults name the file itself, with line and column."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/judge.md").write_text("Judge.\r\n\r\n  {{ question }} {{ anser }}\r\n")

    with pytest.raises(SpecError) as caught:
        load_text(messages("{role: user, content: {file: prompts/judge.md}}"), tmp_path / "t.yaml")
    (found,) = caught.value.diagnostics

    assert found.file == str(tmp_path / "prompts/judge.md")
    assert (found.line, found.column) == (3, 21)
    assert "`anser`" in found.message


def test_included_files_are_checked_with_the_names_that_they_see(tmp_path):
    """A loop's name is seen in an included file; in an imported one there is no row at all."""
    (tmp_path / "item.md").write_text("{{ a }} {{ question }} {{ nope }} {% include 'item.md' %}")
    (tmp_path / "macros.md").write_text("{% macro m(x) %}{{ x }} {{ question }}{% endmacro %}")
    text = messages(
        "{role: user, content: \"{% import 'macros.md' as m %}{% for a in answers %}{% include 'item.md' %}{% endfor %}\"}"
    )

    with pytest.raises(SpecError) as caught:
        load_text(text, tmp_path / "t.yaml")
    places = [(Path(d.file).name, d.line, d.column) for d in caught.value.diagnostics]

    assert places == [("item.md", 1, 27), ("macros.md", 1, 28)]


@pytest.mark.parametrize(
    "use", ["{role: user, content: {file: '%s'}}", "{role: user, content: \"{%% include '%s' %%}\"}"]
)
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.md", "a/../../secret.md", "~/x", "link/secret.md", "secret-link.md", "c:/x"]
)
def test_a_file_outside_of_the_specs_folder_is_refused(use, name, tmp_path):
    """A stranger's spec can't send a file of yours to a model."""
    folder = tmp_path / "specs"
    folder.mkdir()
    (tmp_path / "secret.md").write_text("SECRET")
    (folder / "link").symlink_to(tmp_path)
    (folder / "secret-link.md").symlink_to(tmp_path / "secret.md")

    (found,) = faults_of(messages(use % name), folder)

    assert "outside the spec's folder" in found


def test_a_file_that_is_not_there_names_the_nearest(tmp_path):
    """A slip in a file's name is mended like any other."""
    (tmp_path / "judge.md").write_text("x")

    assert hint(messages("{role: user, content: {file: juge.md}}"), tmp_path) == "did you mean `judge.md`?"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (2 << 20)])
def test_a_file_that_is_no_prompt_is_reported(data, tmp_path):
    """Not UTF-8, or larger than any prompt."""
    (tmp_path / "a.md").write_bytes(data)

    assert len(faults_of(messages("{role: user, content: {file: a.md}}"), tmp_path)) == 1


def test_a_file_that_may_be_missing_is_no_fault():
    """`ignore missing` is Jinja's own way to say so."""
    assert faults_of(messages("{role: user, content: \"{% include 'no.md' ignore missing %}\"}")) == []


def test_a_spec_is_found_from_any_folder(tmp_path, monkeypatch):
    """Files are looked for beside the spec, not where the command is given."""
    (tmp_path / "t.yaml").write_text(messages("{role: user, content: {file: a.md}}"))
    (tmp_path / "a.md").write_text("{{ question }}")
    monkeypatch.chdir("/")

    assert load_spec(tmp_path / "t.yaml").spec.name == "t"


@pytest.mark.parametrize(
    ("aggregate", "found"),
    [
        ("{rating: [mean, agreement], why: majority}", []),
        ("{ratng: mean}", ["ratng: `ratng` is not an output"]),
        (
            "{rating: avg}",
            ['avg: expected `mean`, `median`, `majority`, `min`, `max`, `std` or `agreement`, got the text "avg"'],
        ),
        ("{rating: [mean, mean]}", ["mean: `mean` is repeated"]),
        ("{why: [majority, max]}", ["max: `max` needs numbers, but `why` holds text"]),
        ("{other: mean}", ["mean: `mean` needs numbers, but `other` holds anything"]),
        ("{scores: median, labels: majority, grade: std, share: min}", []),
        ("{labels: mean}", ["mean: `mean` needs numbers, but `labels` holds text"]),
        (
            "{rating: [], why: mean, labels: max}",
            [
                "[: this is empty",
                "mean: `mean` needs numbers, but `why` holds text",
                "max: `max` needs numbers, but `labels` holds text",
            ],
        ),
    ],
)
def test_what_is_aggregated_is_an_output_and_numbers_where_they_are_needed(aggregate, found):
    text = spec(
        outputs="outputs: {rating: {type: integer}, why: Why., other: {type: any}, scores: {type: 'list[number]'},"
        " labels: {type: 'list[string]'}, grade: {choices: [1, 2]}, share: {schema: {type: [number, 'null']}}}",
        aggregate=f"aggregate: {aggregate}",
        group="group_generations: true",
    )

    assert faults_of(text) == found


def test_aggregating_needs_grouped_generations():
    text = spec(aggregate="aggregate: {rating: mean}")

    assert faults_of(text) == ["aggregate: `aggregate` needs grouped generations"]
    assert hint(text) == "add `group_generations: true`"


def test_an_aggregated_column_may_not_have_the_name_of_another():
    text = spec(
        outputs="outputs: {rating: {type: integer}, rating_mean: Why.}",
        aggregate="aggregate: {rating: mean}",
        group="group_generations: true",
    )

    assert faults_of(text) == ["rating: the outputs `rating_mean` and `rating_mean` use the same column, `rating_mean`"]
    assert faults_of(text + "output_mappings: {rating_mean: reason}\n") != []
