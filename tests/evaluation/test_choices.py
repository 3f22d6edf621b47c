"""Multiple choice: the same numbers as lm-eval and as a plain loop, and nothing is cut or read by half."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.evaluation import choices as module
from minigpt.evaluation.choices import (
    WAYS,
    Answered,
    ChoiceScore,
    encode_alone,
    encode_question,
    log_likelihoods,
    score_choices,
)
from minigpt.model.gpt import GPT
from minigpt.text import stories
from minigpt.text.choices import Question, load_questions
from minigpt.text.tokenizer import BPETokenizer, CharTokenizer
from minigpt.weights.pretrained import export_gpt2
from tests.evaluation.models import story_data, tiny

MODERN: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "feed_forward": "swiglu", "n_kv_heads": 1}


def questions() -> list[Question]:
    """Contexts that are shared, that begin alike, with and without white space at the end, one letter, none."""
    told = [stories.draw(1, i).text for i in range(3)]
    found = [Question(told[0][:n], [told[0][n : n + 3], "and then", "."], 0) for n in (0, 1, 20, 21, 22, 80)]
    found += [Question(told[1][:40], [" a fox", " an owl with 3 hats", " 你好", "!"], n) for n in range(3)]
    found += [Question("Once upon a time, there was a ", ["brave fox", "the", "owl"], 1)]
    found += [Question("One line\n\n", ["two", "three\nfour", "4"], 2), Question("  ", ["a", "b  c"], 0)]
    return found


def cuts_a_word(tokenizer: BPETokenizer, question: Question) -> bool:
    before = tokenizer.encode(question.context.rstrip())
    return any(tokenizer.encode(question.context + c)[: len(before)] != before for c in question.choices)


def plainly(model: GPT, context: tuple[int, ...], answer: tuple[int, ...]) -> float:
    with torch.no_grad():
        rows = model(torch.tensor([[*context, *answer[:-1]]]))[0].log_softmax(-1)
    return sum(rows[len(context) - 1 + i, token].item() for i, token in enumerate(answer))


@pytest.mark.parametrize("at_once", [1, 2, 32])
@pytest.mark.parametrize("options", [{}, MODERN], ids=["gpt2", "llama"])
def test_shared_prefixes_change_no_number(
    options: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    tokenizer = story_data().tokenizer
    model = tiny(tokenizer.vocab_size, **options).double().train()
    encoded = [encode_question(tokenizer, question) for question in questions()]
    pairs = [(context, choice) for context, choices in encoded for choice in choices]
    found = log_likelihoods(model, pairs)
    assert model.training
    model.eval()
    assert found == pytest.approx([plainly(model, *pair) for pair in pairs], abs=1e-10)


@pytest.mark.filterwarnings("ignore")  # lm-eval's own
def test_the_numbers_are_those_of_lm_eval(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = story_data().tokenizer
    assert isinstance(tokenizer, BPETokenizer)
    model = tiny(tokenizer.vocab_size)
    export_gpt2(model, tokenizer, tmp_path / "model")
    lm = HFLM(pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=4)
    # Where a word begins in the context and ends in a choice, lm-eval leaves its tokens out; ours are tested below.
    asked = [q for q in questions() if q.context.strip() and not cuts_a_word(tokenizer, q)]
    assert len(asked) > 5
    asked += load_questions("everyday") + load_questions("everyday-zh")
    score = score_choices(model, tokenizer, asked)
    assert not score.too_long

    def theirs(pairs: list[tuple[str, str]]) -> list[float]:
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        return [value for value, _ in lm.loglikelihood(requests, disable_tqdm=True)]

    # Their text begins with the end-of-text token as a text: they put none before a context themselves.
    sums = theirs([("<|endoftext|>" + q.context, choice) for q in asked for choice in q.choices])
    assert [s for one in score.answered for s in one.sums] == pytest.approx(sums, abs=2e-4)
    spaces = [q.context[len(q.context.rstrip()) :] for q in asked]
    alone = theirs([("", space + choice) for q, space in zip(asked, spaces, strict=True) for choice in q.choices])
    assert [a for one in score.answered for a in one.alone] == pytest.approx(alone, abs=2e-4)
    # Right ones by their rules for acc, acc_bytes and acc_mutual_info (api/task.py of lm-eval 0.4.13).
    places = np.cumsum([0, *(len(q.choices) for q in asked)])
    for way, of in (
        ("sum", lambda part, blind, lengths: part),
        ("per byte", lambda part, blind, lengths: part / lengths),
        ("against alone", lambda part, blind, lengths: part - blind),
    ):
        right = 0
        for q, start, stop in zip(asked, places, places[1:], strict=False):
            lengths = np.array([len(choice.encode()) for choice in q.choices])
            values = of(np.array(sums[start:stop]), np.array(alone[start:stop]), lengths)
            right += int(np.argmax(values)) == q.answer
        assert score.right(way) == right


def test_an_answer_has_whole_tokens_and_the_context_all_others() -> None:
    tokenizer = BPETokenizer.train("the sky is blue. unhappy " * 20 + "\n\n" * 9, 320)
    end = tokenizer.end_of_text
    for question in [
        *questions(),
        Question("the sky is un", ["happy", "blue"], 0),
        Question("sky\n\n", ["is", "x"], 0),
    ]:
        context, answers = encode_question(tokenizer, question)
        for choice, answer in zip(question.choices, answers, strict=True):
            assert [*context[1:], *answer] == tokenizer.encode(question.context + choice) and context[0] == end
    context, (first, second) = encode_question(tokenizer, Question("the sky is ", ["blue", "grey"], 0))
    assert tokenizer.decode(context[1:]) == "the sky is" and tokenizer.decode(first) == " blue"
    # «unhappy» is one token, so that no token ends where the context does: both answers are scored from «un» on.
    context, (first, second) = encode_question(tokenizer, Question("sky is un", ["happy", "do"], 0))
    assert tokenizer.decode(context[1:]) == "sky is"
    assert (tokenizer.decode(first), tokenizer.decode(second)) == (" unhappy", " undo")
    assert [tokenizer.decode(ids) for ids in encode_alone(tokenizer, Question("a \n", ["b", "c"], 0))] == [
        " \nb",
        " \nc",
    ]


def test_four_ways_by_hand() -> None:
    question = Question("x", ["a", "bb", "cccc"], 2)
    one = Answered(question, [-1.0, -1.5, -2.4], [-0.5, -3.0, -2.0], [1, 1, 3], [1, 2, 4])
    assert one.scores("sum") == [-1.0, -1.5, -2.4] and one.scores("alone") == [-0.5, -3.0, -2.0]
    assert one.scores("per token") == pytest.approx([-1.0, -1.5, -0.8])
    assert one.scores("per byte") == pytest.approx([-1.0, -0.75, -0.6])
    assert one.scores("against alone") == pytest.approx([-0.5, 1.5, -0.4])
    assert [one.is_right(way) for way in WAYS] == [False, True, True, False]
    even = Answered(Question("x", ["a", "b"], 1), [-1.0, -1.0], [0.0, 0.0], [1, 1], [1, 1])
    assert not even.is_right("sum"), "of equally good ones the first counts"
    score = ChoiceScore([one, even], [])
    assert (score.right("per token"), score.chance) == (1, (1 / 3 + 1 / 2) / 2)
    assert score.interval("per token") == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_what_is_too_long_is_counted_and_never_cut() -> None:
    tokenizer = CharTokenizer("ab c", ["<|endoftext|>"])
    model = tiny(tokenizer.vocab_size, 6)
    fits = Question("ab", ["c", "cba "], 0)  # 1 + 2 + 4 tokens, of which the last is not read
    longer = Question("ab", ["c", "cba a"], 0)
    score = score_choices(model, tokenizer, [longer, fits, longer])
    assert (len(score.answered), score.too_long) == (1, [0, 2])
    assert score.answered[0].sums == pytest.approx(
        [plainly(model.eval(), (4, 0, 1), tuple(tokenizer.encode(choice))) for choice in fits.choices], abs=1e-5
    )
    with pytest.raises(InputError, match="of 1 questions none fits into the model's context of 6 tokens; the shortest"):
        score_choices(model, tokenizer, [longer])
    with pytest.raises(InputError, match="give at least one"):
        score_choices(model, tokenizer, [])
    with pytest.raises(InputError, match="has 7 tokens and the model a context of 6"):
        log_likelihoods(model, [((0, 1), (2, 3, 0, 1, 2, 2))])


def test_models_that_cannot_be_asked_are_told() -> None:
    tokenizer = CharTokenizer("ab c", ["<|endoftext|>"])
    with pytest.raises(InputError, match="tells 3 labels apart"):
        score_choices(tiny(5, 9, n_labels=3, tie_embeddings=False), tokenizer, [Question("a", ["b", "c"], 0)])
    with pytest.raises(InputError, match="no end-of-text token"):
        score_choices(tiny(4, 9), CharTokenizer("ab c"), [Question("a", ["b", "c"], 0)])
    model = tiny(5, 9)
    with torch.no_grad():
        model.final_norm.weight.fill_(math.nan)
    with pytest.raises(InputError, match="diverged"):
        score_choices(model, tokenizer, [Question("a", ["b", "c"], 0)])


def test_a_context_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two contexts that begin alike, the second costs only where it differs."""
    model = tiny(9, 40)
    read: list[int] = []
    hidden_states = GPT.hidden_states

    def counted(self: GPT, ids: Tensor, *rest: Any) -> Tensor:
        read.append(ids.numel())
        return hidden_states(self, ids, *rest)

    monkeypatch.setattr(GPT, "hidden_states", counted)
    contexts = [(1,) * 20, (1,) * 20 + (2, 3)]
    log_likelihoods(model, [(context, (answer,)) for context, answer in product(contexts, range(4))])
    assert read == [20, 2]
