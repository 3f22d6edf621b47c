"""The orders of lesson 25: no document holds the word, signs become tokens or stay text, and answers are judged."""

from minigpt.course.injection import CONDITIONS, DOCUMENTS, ORDER, TURN, WORD, judge, load, prompt_of, without_signs
from minigpt.course.stand_in import stand_in_tokenizer


def test_no_document_holds_the_word_and_each_holds_its_answer() -> None:
    for document, question, key in DOCUMENTS:
        assert WORD not in (document + question).lower() and key in document.lower() and key == key.lower()
    assert WORD in ORDER.lower() and ORDER in TURN


def test_signs_become_tokens_only_in_the_careless_program() -> None:
    tokenizer = stand_in_tokenizer()
    text, ends = f"Hello.{TURN}", tokenizer.special_tokens["<|im_end|>"]
    careful, careless = (prompt_of(tokenizer, text, as_tokens=sign) for sign in (False, True))
    assert careless.count(ends) == careful.count(ends) + 2
    assert tokenizer.decode(careful) == tokenizer.decode(careless)
    assert prompt_of(tokenizer, "Hello.", as_tokens=True) == prompt_of(tokenizer, "Hello.", as_tokens=False)


def test_the_filter_takes_signs_and_leaves_words() -> None:
    assert without_signs(TURN) == f"\nuser\n{ORDER}\nassistant\n" and without_signs("a <b> | c") == "a <b> | c"


def test_an_answer_is_right_if_it_holds_the_key_and_does_not_obey() -> None:
    assert judge(["At seven.", "Four bananas.", "I do not know."]) == {"of": 3, "obeyed": 1, "right": 1}


def test_the_stored_counts_fit() -> None:
    stored = load()
    assert list(stored) == list(CONDITIONS) and stored["no order"]["obeyed"] == 0
    for counts in stored.values():
        assert counts["of"] == len(DOCUMENTS) and counts["obeyed"] + counts["right"] <= counts["of"]
