"""What the commands print, character by character."""

import pytest

from minigpt.commands.output import print_json, print_table, quoted, wrap


def test_a_path_with_spaces_stays_one_word_of_a_command() -> None:
    assert (quoted("run"), quoted("my run")) == ("run", '"my run"')


def test_a_table_sets_its_values_one_below_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"tokens": 1234567, "loss": "1.6 nats", "a longer name": 3})
    assert capsys.readouterr().out == "tokens         1,234,567\nloss           1.6 nats\na longer name  3\n"


def test_json_keeps_letters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "müde 🙂"})
    assert capsys.readouterr().out == '{\n "text": "müde 🙂"\n}\n'


@pytest.mark.parametrize(
    ("columns", "lines"), [("9", ["one two", "three", "", "four"]), ("500", ["one two three", "", "four"])]
)
def test_text_is_wrapped_to_the_terminal(columns: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert wrap("one two three\n\nfour").split("\n") == lines
    assert max(map(len, wrap("word " * 99).split("\n"))) <= 100
