"""How good a model's answers are: the share that is right, beside its interval and the best that one can do blindly."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt.config import InputError
from minigpt.evaluation.intervals import wilson
from minigpt.generation.generate import generate_batch
from minigpt.model.gpt import GPT
from minigpt.text.chat import KnownChat, encode_answer, encode_prompt, end_of_turn, read_answer
from minigpt.text.finetuning import ChatData
from minigpt.text.tasks import score
from minigpt.text.tokenizer import Tokenizer

AT_ONCE = 64
"""Answers that are written together."""

BASELINE_EXAMPLES = 1000
"""Training examples in which the commonest right answer is looked for."""


@dataclass(frozen=True)
class Score:
    """Answers to a set of questions, counted."""

    right: int
    count: int
    by_kind: dict[str, tuple[int, int]]
    """For each kind of question: how many were right, of how many."""
    baseline: float
    """Share that is right when always the same is answered: what is right most often in the training split."""
    baseline_answer: str

    @property
    def share(self) -> float:
        """Right ones among all."""
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, 95%."""
        return wilson(self.right, self.count)


def answers(
    model: GPT, tokenizer: Tokenizer, chats: Sequence[KnownChat], max_new_tokens: int | None = None
) -> list[str]:
    """What the model answers in place of each conversation's last message: greedily, up to the end of the turn.

    Args:
        model: the model.
        tokenizer: which belongs to it, with chat tokens.
        chats: conversations; of each, all but the last message is the prompt.
        max_new_tokens: where an answer is cut that does not end. Default: one more than the longest right answer of
            all has, because what is longer is wrong.

    Raises:
        InputError: for a model without chat tokens, or a prompt that does not fit into its context.
    """
    end = end_of_turn(tokenizer)
    if end >= model.config.vocab_size:
        raise InputError(
            f"this model has {model.config.vocab_size} tokens and none for the end of a turn ({end}): it cannot chat "
            "before `minigpt finetune` has taught it"
        )
    if max_new_tokens is None:
        right = {answer for chat in chats for answer in chat.answers}
        max_new_tokens = 1 + max((len(encode_answer(tokenizer, answer)) for answer in right), default=0)
    prompts = [encode_prompt(tokenizer, chat.messages[:-1]) for chat in chats]
    room = model.config.context_length + 1  # the last token is not read any more
    texts = [list(prompt) for prompt in prompts]
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(texts), AT_ONCE):
        group = by_length[start : start + AT_ONCE]
        # Texts that are written together end with the longest; the others then go on.
        while group:
            longest = max(len(texts[i]) for i in group)
            left = max(len(prompts[i]) + max_new_tokens - len(texts[i]) for i in group)
            samples = generate_batch(
                model, [texts[i] for i in group], min(left, room - longest), temperature=0.0, stop_token=end
            )
            stopped = []
            for i, (sample,) in zip(group, samples, strict=True):
                texts[i] += sample.tokens[: len(prompts[i]) + max_new_tokens - len(texts[i])]
                stopped.append(len(sample.log_probabilities) > len(sample.tokens))
            group = [
                i
                for i, has_ended in zip(group, stopped, strict=True)
                if not has_ended and len(texts[i]) < min(room, len(prompts[i]) + max_new_tokens)
            ]
    return [read_answer(tokenizer, text[len(prompt) :]) for text, prompt in zip(texts, prompts, strict=True)]


def score_task(model: GPT, data: ChatData, split: str = "test", count: int | None = None) -> Score:
    """How many of the first `count` conversations of a split end as they should when the model writes their last turn.

    An answer is right if it is one of the known wordings, letter for letter. Default: the whole split.

    Raises:
        InputError: as `answers`, and for a split that the data does not have, or a count below 1.
    """
    count = data.size(split) if count is None else count
    if count < 1:
        raise InputError(f"count is {count}; it must be at least 1")
    chats = [data.example(split, index) for index in range(count)]
    verdicts = [score(chat, answer) for chat, answer in zip(chats, answers(model, data.tokenizer, chats), strict=True)]
    by_kind = {
        kind: (sum(r for r, chat in zip(verdicts, chats, strict=True) if chat.kind == kind), number)
        for kind, number in sorted(Counter(chat.kind for chat in chats).items())
    }
    blind = commonest_answer(data)
    return Score(sum(verdicts), count, by_kind, sum(score(chat, blind) for chat in chats) / count, blind)


def commonest_answer(data: ChatData, count: int = BASELINE_EXAMPLES) -> str:
    """The answer that is right most often among the first `count` training examples: the trivial baseline."""
    right = Counter(answer for index in range(count) for answer in sorted(data.example("train", index).answers))
    return right.most_common(1)[0][0]
