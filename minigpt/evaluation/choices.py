"""Multiple choice: which of several ways to go on does a model find likeliest, scored in four ways.

A model without any training in answering is asked by comparing log-likelihoods (Brown et al. 2020, section 2.4). Their
sum prefers short answers; so it is divided by tokens or by bytes, or compared with the answer's likelihood alone
(Holtzman et al. 2021, «Surface form competition»), which takes away how common the answer's words are anyway. The
numbers are those of `lm-eval`, with the end-of-text token before each text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.evaluation.intervals import wilson
from minigpt.generation.decoding import check_finite
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache
from minigpt.text.choices import Question
from minigpt.text.tokenizer import Tokenizer

WAYS = ("sum", "per token", "per byte", "against alone")

AT_ONCE = 32
"""Answers after the same context that are read together."""

Text = tuple[int, ...]


@dataclass(frozen=True)
class Answered:
    """What a model says of one question: for each choice, in nats.

    Attributes: `question`; `sums`, the log-likelihood of the choice after the context; `alone`, after nothing;
    `tokens`, how many of the choice's tokens were scored; `n_bytes`, of the choice as it stands in the question.
    """

    question: Question
    sums: list[float]
    alone: list[float]
    tokens: list[int]
    n_bytes: list[int]

    def scores(self, way: str) -> list[float]:
        """One number for each choice, the larger the better, by one of WAYS; "alone" leaves the context away."""
        if way == "alone":
            return self.alone
        if way == "per token":
            return [s / n for s, n in zip(self.sums, self.tokens, strict=True)]
        if way == "per byte":
            return [s / n for s, n in zip(self.sums, self.n_bytes, strict=True)]
        if way == "against alone":
            return [s - a for s, a in zip(self.sums, self.alone, strict=True)]
        return self.sums

    def is_right(self, way: str) -> bool:
        """Whether the best choice is the right one; of equally good ones the first counts as the best."""
        scores = self.scores(way)
        return scores.index(max(scores)) == self.question.answer


@dataclass(frozen=True)
class ChoiceScore:
    """All questions of a task: those that were answered, and the numbers of those that do not fit into the context."""

    answered: list[Answered]
    too_long: list[int]

    def right(self, way: str) -> int:
        """How many of the answered questions are right."""
        return sum(one.is_right(way) for one in self.answered)

    def interval(self, way: str) -> tuple[float, float]:
        """Of the share that is right: Wilson's, 95%."""
        return wilson(self.right(way), len(self.answered))

    @property
    def chance(self) -> float:
        """The share that blind guessing gets right in the mean."""
        return sum(1 / len(one.question.choices) for one in self.answered) / len(self.answered)


def encode_question(tokenizer: Tokenizer, question: Question) -> tuple[Text, list[Text]]:
    """The ids that all choices share, and the ids of each choice after them; no word is cut.

    Context and choice are encoded together, because a tokenizer may join what stands at the border. White space at the
    end of the context belongs to the choices, as a word's token has the space before it (`lm-eval` does the same, with
    all white space). Where a tokenizer joins more, what is shared ends before it, and each choice is scored from there.
    """
    before = tokenizer.encode(question.context.rstrip())
    whole = [tokenizer.encode(question.context + choice) for choice in question.choices]
    shared = min(
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, w, strict=False))) for w in whole
    )
    start = () if tokenizer.end_of_text is None else (tokenizer.end_of_text,)
    return (*start, *before[:shared]), [tuple(ids[shared:]) for ids in whole]


def encode_alone(tokenizer: Tokenizer, question: Question) -> list[Text]:
    """The ids of each choice without the context, but for the white space that belongs to the choice."""
    space = question.context[len(question.context.rstrip()) :]
    return [tuple(tokenizer.encode(space + choice)) for choice in question.choices]


@torch.no_grad()
def log_likelihoods(model: GPT, pairs: Sequence[tuple[Text, Text]]) -> list[float]:
    """ln P(answer | context) for pairs of token ids, neither empty, without dropout.

    A context is read once for all its answers, and what two contexts begin with alike is not read again.

    Raises:
        InputError: for a pair that does not fit into the model's context, or logits that are not finite.
    """
    answers: dict[Text, list[Text]] = {}
    for context, answer in dict.fromkeys(pairs):
        answers.setdefault(context, []).append(answer)
    weight = model.token_embedding.weight
    rows = min(AT_ONCE, max((len(group) for group in answers.values()), default=1))
    length = max((len(context) + len(answer) - 1 for context, answer in pairs), default=1)
    if length > model.config.context_length:
        raise InputError(
            f"a text has {length} tokens and the model a context of {model.config.context_length}: leave it out or "
            "shorten it"
        )
    cache = KVCache(model.config, rows, length=length, device=weight.device, dtype=weight.dtype)
    training = model.training
    model.eval()
    found: dict[tuple[Text, Text], float] = {}
    read: Text = ()  # what stands in the cache
    for context in sorted(answers):
        kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(read, context[:-1], strict=False)))
        new = torch.tensor([context[kept:]], device=weight.device)
        first = _log_probabilities(model, model.hidden_states(new, cache, kept)[:, -1:])  # (1, 1, V)
        read = context
        group = sorted(answers[context], key=len)
        for begin in range(0, len(group), rows):
            some = group[begin : begin + rows]
            sums = _after(model, cache, len(context), first, some)
            found |= {(context, answer): value for answer, value in zip(some, sums, strict=True)}
    model.train(training)
    return [found[pair] for pair in pairs]


def _after(model: GPT, cache: KVCache, position: int, first: Tensor, answers: list[Text]) -> list[float]:
    """The log-likelihoods of answers whose context stands in every row of a cache, and says `first` (1, 1, V)."""
    longest = max(map(len, answers))
    padded = torch.tensor([[*answer, *[0] * (longest - len(answer))] for answer in answers], device=first.device)
    rows = first.expand(len(answers), 1, -1)  # (B, 1, V)
    if longest > 1:
        part = cache.part(slice(len(answers)), 0)
        rest = _log_probabilities(model, model.hidden_states(padded[:, :-1], part, position))
        rows = torch.cat([rows, rest], dim=1)  # (B, T, V)
    of_tokens = rows.gather(-1, padded[..., None])[..., 0].double()  # (B, T)
    counts = torch.tensor([len(answer) for answer in answers], device=first.device)
    of_tokens = of_tokens.masked_fill(torch.arange(longest, device=first.device) >= counts[:, None], 0.0)
    sums: list[float] = of_tokens.sum(-1).tolist()
    return sums


def _log_probabilities(model: GPT, hidden: Tensor) -> Tensor:
    logits: Tensor = model.output_head(hidden)[..., : model.config.vocab_size]
    check_finite(logits)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def score_choices(model: GPT, tokenizer: Tokenizer, questions: Sequence[Question]) -> ChoiceScore:
    """A model's log-likelihoods for every choice of every question.

    A question that does not fit into the context with its longest choice is left out and counted, never cut.

    Raises:
        InputError: for a classifier, a tokenizer without an end-of-text token (nothing would stand before an answer
            alone), no question, or none that fits.
    """
    if model.config.n_labels:
        raise InputError(f"this model tells {model.config.n_labels} labels apart and has no next token: take another")
    if tokenizer.end_of_text is None:
        raise InputError("this model's tokenizer has no end-of-text token, after which an answer alone could be scored")
    start = (tokenizer.end_of_text,)
    encoded = [encode_question(tokenizer, question) for question in questions]
    needs = [len(context) + max(map(len, choices)) - 1 for context, choices in encoded]  # the last token is not read
    room = model.config.context_length
    too_long = [i for i, length in enumerate(needs) if length > room]
    kept = [i for i, length in enumerate(needs) if length <= room]
    if not kept:
        raise InputError(
            f"of {len(questions)} questions none fits into the model's context of {room} tokens"
            + (f"; the shortest needs {min(needs)}" if needs else ": give at least one")
        )
    alone = [encode_alone(tokenizer, questions[i]) for i in kept]
    sums = iter(log_likelihoods(model, [(encoded[i][0], choice) for i in kept for choice in encoded[i][1]]))
    blind = iter(log_likelihoods(model, [(start, choice) for choices in alone for choice in choices]))
    answered = [
        Answered(
            questions[i],
            [next(sums) for _ in questions[i].choices],
            [next(blind) for _ in questions[i].choices],
            [len(choice) for choice in encoded[i][1]],
            [len(choice.encode()) for choice in questions[i].choices],
        )
        for i in kept
    ]
    return ChoiceScore(answered, too_long)
