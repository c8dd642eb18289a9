"""`distask tasks`: what comes with distask."""

from __future__ import annotations

from distask.cli import main
from distask.spec.gallery import gallery


def test_each_built_in_task_is_listed_with_its_columns(capsys):
    assert main(["tasks"]) == 0
    said = capsys.readouterr().out

    assert [line.split("  ")[0] for line in said.splitlines() if not line.startswith(" ")] == list(gallery())
    assert "    instruction, system_prompt? → generation\n" in said


def test_show_prints_the_file_as_it_is(capsys):
    assert main(["tasks", "show", "text-generation"]) == 0
    assert capsys.readouterr().out == gallery()["text-generation"].read_text()


def test_a_task_that_there_is_not_is_told_with_the_nearest(capsys):
    assert main(["tasks", "show", "text-generatio"]) == 2
    assert "did you mean `text-generation`?" in capsys.readouterr().err


def test_show_may_be_forgotten(capsys):
    assert main(["tasks", "text-generation"]) == 2
    assert "distask tasks show text-generation" in capsys.readouterr().err
