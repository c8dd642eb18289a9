"""`distask tasks`: what comes with distask."""

from __future__ import annotations

import io

import pytest

from distask.cli import main
from distask.cli.commands.specs.tasks import _show, entries
from distask.cli.display.console import Terminal
from distask.spec.gallery import gallery


def listed(said):
    """The names in a list, by the kind above them."""
    kinds, kind = {}, None
    for line in said.splitlines():
        if line.startswith("  "):
            kinds[line.split()[0]] = kind
        elif line:
            kind = line
    return kinds


def test_each_built_in_task_is_listed_once_under_its_kind(capsys):
    assert main(["tasks"]) == 0
    result = capsys.readouterr().out

    assert sorted(listed(result)) == sorted(gallery())
    assert listed(result)["ultrafeedback"] == "judge"
    assert listed(result)["text-generation"] == "generation"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["judge", "rubric"], {"prometheus-eval", "rubric-judge"}),
        (["RATIONALES"], {"ultrafeedback"}),
        (["2310.04484"], {"genstruct"}),
    ],
)
def test_words_find_tasks_by_name_kind_columns_and_source(capsys, words, names):
    """All words have to be somewhere, in whatever case."""
    assert main(["tasks", *words]) == 0
    assert names <= set(listed(capsys.readouterr().out)) < set(gallery())


def test_words_that_are_nowhere_say_so_with_the_nearest(capsys):
    assert main(["tasks", "summarise"]) == 2
    assert "did you mean `summarize`?" in capsys.readouterr().err


def test_show_prints_the_file_as_it_is_into_a_pipe(capsys):
    assert main(["tasks", "show", "text-generation"]) == 0
    assert capsys.readouterr().out == gallery()["text-generation"].read_text()


@pytest.mark.battery
@pytest.mark.parametrize("name", sorted(gallery()))
def test_show_on_a_terminal_reports_source_columns_params_and_an_example(name):
    console = Terminal(force_terminal=True, width=250, record=True, color_system=None, file=io.StringIO())

    _show(name, console)
    result = console.export_text()

    entry = next(e for e in entries() if e.name == name)
    assert entry.description in result
    assert "source  http" in result
    assert "\nadds" in result
    assert "\nexample: " in result
    assert "\ncolumns\n" in result


def test_long_lines_of_a_spec_wrap_and_are_not_cut():
    console = Terminal(force_terminal=True, width=60, record=True, color_system=None, file=io.StringIO())

    _show("ultrafeedback", console)

    assert "[^\\n]*)'" in console.export_text()


def test_a_task_that_there_is_not_is_reported_with_the_nearest(capsys):
    assert main(["tasks", "show", "text-generatio"]) == 2
    assert "did you mean `text-generation`?" in capsys.readouterr().err


def test_show_needs_a_name(capsys):
    assert main(["tasks", "show"]) == 2
    assert "distask tasks show NAME" in capsys.readouterr().err
