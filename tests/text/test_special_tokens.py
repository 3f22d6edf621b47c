"""What all tokenizers share; each of them is tried in its own test."""

import pytest

from minigpt.config import InputError
from minigpt.text.special_tokens import check_ids, number_special_tokens, split_special, training_parts


def test_a_text_is_cut_at_special_tokens() -> None:
    assert split_special("a<x>b<x><y>", ["<x>", "<y>"]) == ["a", "<x>", "b", "<x>", "", "<y>", ""]
    assert split_special("a<x>b", []) == ["a<x>b"] and [*training_parts(["a<x>b", "c"], ["<x>"])] == ["a", "b", "c"]


def test_what_could_be_read_in_two_ways_is_refused() -> None:
    assert number_special_tokens(["<a>", "<b>"], 7) == {"<a>": 7, "<b>": 8}
    with pytest.raises(InputError, match="'<ab>' starts with special token '<a'"):
        number_special_tokens(["<a", "<ab>"], 0)
    with pytest.raises(InputError, match="token id 3 at position 1 is out of range"):
        check_ids([0, 3], 3)
