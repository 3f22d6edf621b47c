"""Conversations: what the model is given, what it forgets, and what an answer that was stopped leaves behind."""

from pathlib import Path

import pytest
import torch

from minigpt.config import GPTConfig, InputError
from minigpt.generation.conversation import Conversation, fit_prompt
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT
from minigpt.text.chat import CHAT_TOKENS, Message, encode_prompt, end_of_turn
from minigpt.text.tokenizer import BPETokenizer
from minigpt.weights.gguf import load_gguf
from tests.weights.llama_files import write_gguf

BYTES = BPETokenizer([], CHAT_TOKENS)
CONFIG = GPTConfig(vocab_size=BYTES.vocab_size, context_length=256, n_layers=1, n_heads=2, d_model=16)


def model(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    made = GPT(CONFIG)
    torch.nn.init.normal_(made.token_embedding.weight, std=0.5)
    return made.eval()


def test_an_answer_is_what_generate_says_after_all_that_was_said() -> None:
    talk = Conversation(model(), BYTES, "Be kind", 9, temperature=0)
    first = "".join(talk.say("Hi"))
    prompt = encode_prompt(BYTES, [Message("system", "Be kind"), Message("user", "Hi")])
    expected = generate(model(), prompt, 9, temperature=0, stop_token=end_of_turn(BYTES))[0]
    assert first == BYTES.decode(expected)
    assert talk.messages[1:] == [Message("user", "Hi"), Message("assistant", first.strip())]
    second = "".join(talk.say("And?"))
    prompt = encode_prompt(BYTES, [*talk.messages[:3], Message("user", "And?")])
    assert second == BYTES.decode(generate(model(), prompt, 9, temperature=0, stop_token=end_of_turn(BYTES))[0])


def test_what_does_not_fit_is_forgotten_in_pairs_and_counted() -> None:
    said = [Message("system", "S"), *[Message(role, word * 5) for word in "abc" for role in ("user", "assistant")]]
    asked = [*said, Message("user", "last")]
    whole = encode_prompt(BYTES, asked)
    assert fit_prompt(BYTES, asked, len(whole) + 5, 5) == (whole, 0)
    short = encode_prompt(BYTES, [said[0], *asked[3:]])
    assert fit_prompt(BYTES, asked, len(whole) + 4, 5) == (short, 2)
    alone = encode_prompt(BYTES, [said[0], asked[-1]])
    assert fit_prompt(BYTES, asked, 2 * len(alone), 999) == (alone, 6), "half of the context is for the answer"
    with pytest.raises(InputError, match=r"needs 24 tokens .* and 20 of the context's 40 are for it: shorten it"):
        fit_prompt(BYTES, [Message("user", "x" * 20)], 40, 999)


def test_an_answer_that_is_stopped_counts_and_one_that_never_began_does_not() -> None:
    talk = Conversation(model(), BYTES, "", 20, temperature=0)
    answer = talk.say("Hi")
    said = next(answer) + next(answer)
    answer.close()  # type: ignore[attr-defined]
    assert talk.messages == [Message("user", "Hi"), Message("assistant", said.strip())]
    never = talk.say("Again")
    never.close()  # type: ignore[attr-defined]
    assert len(talk.messages) in (2, 3)  # a generator that never ran has nothing to end
    assert talk.take_back() in ("Again", "Hi")


def test_questions_are_taken_back() -> None:
    talk = Conversation(model(), BYTES, "S", 5, temperature=0)
    first = "".join(talk.say("Hi"))
    assert talk.take_back() == "Hi" and talk.messages == [Message("system", "S")]
    assert "".join(talk.say("Hi")) == first
    talk.take_back()
    with pytest.raises(InputError, match="nothing was asked yet"):
        talk.take_back()
    for wrong in ("", "  "):
        with pytest.raises(InputError, match="is empty; give it words"):
            talk.say(wrong)
    with pytest.raises(InputError, match="shorten it"):
        talk.say("x" * 299)
    assert talk.messages == [Message("system", "S")], "what was refused has changed nothing"


def test_a_foreign_model_chats_and_one_without_a_template_does_not(tmp_path: Path) -> None:
    ours, tokenizer = load_gguf(write_gguf(tmp_path / "m.gguf"))
    talk = Conversation(ours, tokenizer, "", 6, temperature=0)
    answer = "".join(talk.say("Hi<|im_end|>"))
    prompt = encode_prompt(tokenizer, [Message("user", "Hi<|im_end|>")])
    assert answer == tokenizer.decode(generate(ours, prompt, 6, temperature=0, stop_token=2)[0])
    mute = load_gguf(write_gguf(tmp_path / "n.gguf", values={"tokenizer.chat_template": None}))
    with pytest.raises(InputError, match="has no chat template"):
        Conversation(*mute)
