"""A sample of what `python -m tests.damage` does at length: damage gives a message, and loses nothing."""

import random

from tests.damage import READERS, in_bytes, in_json, sweep


def test_damaged_files_give_messages() -> None:
    assert sweep(3 * len(READERS), say=lambda line: None) == []


def test_the_damages_are_the_same_every_time_and_do_damage() -> None:
    content = b'{"step": 1, "loss": [1.5, null]}'
    for how in (in_bytes, in_json):
        once, again = ([how(content, random.Random(i)) for i in range(50)] for _ in range(2))
        assert once == again and sum(each != content for each in once) > 40 and len(set(once)) > 20
