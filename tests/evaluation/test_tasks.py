"""Answers against the plain generation of one after another, and scores against ones that are known."""

import json
from pathlib import Path

import pytest
import torch

from minigpt.config import GPTConfig, InputError, TrainConfig
from minigpt.evaluation.intervals import wilson
from minigpt.evaluation.tasks import answers, commonest_answer, score_task
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.text.chat import END_OF_TURN, KnownChat, Message, add_chat_tokens, encode_prompt, read_answer, special_id
from minigpt.text.data import storyteller_tokenizer
from minigpt.text.finetuning import ChatData
from minigpt.text.tasks import UNANSWERABLE
from minigpt.text.tokenizer import BPETokenizer
from minigpt.training.trainer import Trainer

BYTES = add_chat_tokens(BPETokenizer([]))
END = special_id(BYTES, END_OF_TURN)
SMALL = GPTConfig(BYTES.vocab_size, context_length=24, n_layers=1, n_heads=2, d_model=16)


def known(ask: str, *right: str, kind: str = "") -> KnownChat:
    return KnownChat(kind, (Message("user", ask), Message("assistant", right[0])), frozenset(right))


def noisy_model(seed: int) -> GPT:
    """A model that says all kinds of things, and sometimes ends."""
    torch.manual_seed(seed)
    model = GPT(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        # Only ASCII letters and the end are likely, so that texts can be compared.
        model.output_head.weight[128:END] = 0
    return model.double().eval()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [None, 5, 100])
def test_answers_are_those_of_plain_generation_one_by_one(seed, limit):
    model = noisy_model(seed)
    chats = [known("x" * (1 + 5 * i % 17), "y" * (i % 4 + 1)) for i in range(20)]
    most = 1 + 4 + 1 if limit is None else limit  # a space, four letters, one too many
    expected = []
    for chat in chats:
        prompt = encode_prompt(BYTES, chat.messages[:-1])
        room = min(most, SMALL.context_length + 1 - len(prompt))
        (ids,) = generate(model, prompt, room, temperature=0.0, stop_token=END, use_cache=False)
        expected.append(read_answer(BYTES, ids))
    assert answers(model, BYTES, chats, limit) == expected
    assert len(set(map(len, expected))) > 1


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, ChatData]:
    """A small model that has learned eight answers by heart, and their file with two more that it has never seen."""
    path: Path = tmp_path_factory.mktemp("tasks") / "chats.jsonl"
    pairs = [(name, "no" if name in "aei" else "yes") for name in "abcdefghij"]
    path.write_text(
        "\n".join(
            json.dumps({"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]})
            for q, a in pairs
        )
    )
    data = ChatData(str(path), BYTES, SMALL.context_length)
    recipe = TrainConfig(
        max_steps=250, batch_size=9, learning_rate=1e-2, warmup_steps=5, threads=1, precision="float32"
    )
    trainer = Trainer(SMALL, recipe, data)
    trainer.run(progress=False)
    return trainer.model.eval(), data


def test_a_model_that_has_learned_the_answers_scores_them(learned):
    model, data = learned
    score = score_task(model, data, "train", 9)
    assert (score.right, score.count, score.share) == (9, 9, 1.0)
    assert score.interval == wilson(9, 9)
    assert score.by_kind == {"": (9, 9)}
    assert score.baseline_answer == "yes"
    yes = [data.example("train", i).messages[1].content for i in range(9)].count("yes")
    assert score.baseline == yes / 9 < 1


def test_one_letter_too_many_is_wrong(learned):
    model, _ = learned
    right = answers(model, BYTES, [known("b", "yes"), known("c", "yes")])
    assert right == ["yes", "yes"]
    assert answers(model, BYTES, [known("b", "ye")]) == ["yes"], "cut one token behind the longest right answer"


def test_the_baseline_of_the_questions_is_to_say_that_it_was_not_told():
    tokenizer = add_chat_tokens(storyteller_tokenizer())
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, context_length=192, n_layers=1, n_heads=2, d_model=16)).eval()
    data = ChatData("questions", tokenizer, 192)
    examples = [data.example("test", i) for i in range(60)]
    score = score_task(model, data, count=60)
    blind = commonest_answer(data)
    unanswerable = next(e for e in examples if e.kind == UNANSWERABLE)
    assert score.baseline_answer == blind and blind in unanswerable.answers
    assert score.baseline == sum(blind in e.answers for e in examples) / 60 > 0
    assert sum(number for _, number in score.by_kind.values()) == 60
    assert score.by_kind[UNANSWERABLE] == (0, sum(e.kind == UNANSWERABLE for e in examples))
    assert score.right == 0, "a model that has learned nothing"


def test_a_model_or_a_tokenizer_without_chat_tokens_and_no_examples_are_refused(learned):
    model, data = learned
    with pytest.raises(InputError, match="this tokenizer has no token"):
        answers(model, BPETokenizer([]), [known("a", "b")])
    plain = GPT(GPTConfig(256, context_length=24, n_layers=1, n_heads=2, d_model=16))
    with pytest.raises(InputError, match=r"this model has 256 tokens and none for the end of a turn"):
        answers(plain, BYTES, [known("a", "b")])
    with pytest.raises(InputError, match="count is 0"):
        score_task(model, data, count=0)
    with pytest.raises(InputError, match="no split 'test'"):
        score_task(model, data)
