"""benchmarks/evaluation.py: questions with a right answer, and the same numbers as lm-eval before anything is timed."""

from pathlib import Path

import pytest

from benchmarks import evaluation
from minigpt.text import stories
from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights.pretrained import export_gpt2
from tests.evaluation.models import story_data, tiny


def test_a_question_is_a_story_without_its_end() -> None:
    for question in evaluation.questions(6):
        told = [stories.verify(question.context + choice) for choice in question.choices]
        assert len(told) == 4 and all(verdict.consistent for verdict in told)
        assert not stories.verify(question.context).grammatical


@pytest.mark.filterwarnings("ignore")  # lm-eval's own
def test_both_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = story_data().tokenizer
    assert isinstance(tokenizer, BPETokenizer)
    model, asked = tiny(tokenizer.vocab_size), evaluation.questions(2)
    export_gpt2(model, tokenizer, tmp_path / "model")
    monkeypatch.setattr(evaluation, "BATCH_SIZES", (3,))
    lm, size = evaluation.fastest_batch(tmp_path / "model", asked)
    assert size == 3
    assert evaluation.ours(model, tokenizer, asked) == pytest.approx(evaluation.theirs(lm, asked), rel=1e-5)
