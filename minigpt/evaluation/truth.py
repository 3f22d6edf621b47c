"""What really comes next in a story: the true distribution of the next token, and how far a model is from it.

A story is made by fair dice (`minigpt.text.stories`), so what can follow a beginning is known. A perfect reader keeps
every way in which a story could have been made that agrees with the beginning, each with its probability, and adds up
those that go on alike. No model can have a smaller expected loss than this reader; its surprise, summed over a story,
is the story's `bits`. The distribution is that of all stories: the splits are cut by a hash that no reader knows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.model.gpt import GPT
from minigpt.text.stories import Row, World, world
from minigpt.text.tokenizer import CharTokenizer, ForeignTokenizer, Tokenizer

Cut = Callable[[str, bool], tuple[Sequence[int], int] | None]
"""From the text ahead, and whether the story ends with it: the ids of its first word and the word's length, or None
where more text is needed to tell."""


def cutter(tokenizer: Tokenizer) -> Cut:
    """How a tokenizer cuts a text into words that it encodes by themselves: characters, or those of its pattern."""
    if isinstance(tokenizer, CharTokenizer):
        return lambda ahead, ended: (tokenizer.encode(ahead[0]), 1) if ahead else None
    plain = tokenizer.plain if isinstance(tokenizer, ForeignTokenizer) else tokenizer
    pattern = regex.compile(plain.pattern)
    known: dict[str, list[int]] = {}

    def first_word(ahead: str, ended: bool) -> tuple[Sequence[int], int] | None:
        if not ahead:
            return None
        word = pattern.findall(ahead)[0]
        # A run of letters ends with the first other sign; only after «'» may two more signs decide, as in «'re».
        if not ended and (len(word) == len(ahead) or (word[0] == "'" and len(ahead) < 3)):
            return None
        if word not in known:
            known[word] = tokenizer.encode(word)
        return known[word], len(word)

    return first_word


@dataclass(frozen=True)
class Way:
    """A way in which the story could have been made: its probability, what it says next, and where it stands.

    Attributes: `weight`; `queue`, the ids of the word that is being read; `ahead`, text that is certain and not yet cut
    into words; `facts`, as far as they are drawn; `plot`, `step`, `variant` (None before its die is thrown) and
    `piece`, the place in the world's sentences.
    """

    weight: float
    queue: Sequence[int]
    ahead: str
    facts: dict[str, Row]
    plot: str
    step: int = 0
    variant: int | None = None
    piece: int = 0


class PerfectReader:
    """Reads a story token by token and knows the true distribution of what comes next.

    The probability of a token is that the next token of the story's own encoding is this one, given that the encoding
    begins with the tokens read so far. This is more than what the text alone says: after the token « a», a story that
    goes on with « apple» is out if the tokenizer has a token for « apple», because « a» would not begin its encoding.

    Args:
        tokenizer: with an end-of-text token, which comes where a story is over.
        of: the story world. Default: the English one.

    Raises:
        InputError: for a tokenizer without an end-of-text token.
    """

    def __init__(self, tokenizer: Tokenizer, of: World | None = None) -> None:
        if tokenizer.end_of_text is None:
            raise InputError("this tokenizer has no end-of-text token, so no token says where a story is over")
        self.tokenizer, self.world = tokenizer, of or world()
        self.end = tokenizer.end_of_text
        self._cut = cutter(tokenizer)
        plots = list(self.world.plots)
        self.ways = self._until_next([Way(1 / len(plots), (), "", {}, plot) for plot in plots])

    def probabilities(self) -> dict[int, float]:
        """Of each token that can come next, in the order of the ids. They sum to 1; after the end there are none."""
        total = sum(way.weight for way in self.ways)
        found: dict[int, float] = {}
        for way in self.ways:
            found[way.queue[0]] = found.get(way.queue[0], 0.0) + way.weight
        return {token: weight / total for token, weight in sorted(found.items())}

    def read(self, token: int) -> float:
        """Take the next token, and return the probability that it had.

        Raises:
            InputError: if no story goes on with it.
        """
        agreeing = [way for way in self.ways if way.queue[0] == token]
        if not agreeing:
            options = [repr(self.tokenizer.decode([t])) for t in self.probabilities()]
            some = ", ".join(options[:5]) + (", …" if len(options) > 5 else "")
            raise InputError(
                f"no story goes on with token {token}; "
                + (f"what can follow is {some}" if options else "this one is over: nothing follows its end")
            )
        probability = sum(way.weight for way in agreeing) / sum(way.weight for way in self.ways)
        if token == self.end:
            self.ways = []
        else:
            self.ways = self._until_next(
                [Way(w.weight, w.queue[1:], w.ahead, w.facts, w.plot, w.step, w.variant, w.piece) for w in agreeing]
            )
        return probability

    def _until_next(self, ways: list[Way]) -> list[Way]:
        """Each way followed until its next token is certain: it splits at every die that must be thrown before."""
        ready: list[Way] = []
        while ways:
            way = ways.pop()
            if way.queue:
                ready.append(way)
                continue
            over = way.step == len(self.world.plots[way.plot])
            if over and not way.ahead:
                ready.append(Way(way.weight, (self.end,), "", way.facts, way.plot, way.step))
            elif cut := self._cut(way.ahead, over):
                ids, length = cut
                ahead = way.ahead[length:]
                ready.append(Way(way.weight, ids, ahead, way.facts, way.plot, way.step, way.variant, way.piece))
            else:
                ways += self._further(way)
        return ready

    def _further(self, way: Way) -> list[Way]:
        """The same way a little further: over one piece of its sentence, or on each side of one die."""
        name = self.world.plots[way.plot][way.step]
        variants = self.world.sentences[name]
        if way.variant is None:
            weight, ahead = way.weight / len(variants), way.ahead + (" " if way.step else "")
            return [Way(weight, (), ahead, way.facts, way.plot, way.step, v) for v in range(len(variants))]
        pieces = variants[way.variant]
        if way.piece == len(pieces):
            return [Way(way.weight, (), way.ahead, way.facts, way.plot, way.step + 1)]
        piece = pieces[way.piece]
        if not isinstance(piece, str) and piece.fact not in way.facts:
            return self._drawn(way, piece.fact)
        text = piece if isinstance(piece, str) else piece.fill(way.facts[piece.fact])
        return [Way(way.weight, (), way.ahead + text, way.facts, way.plot, way.step, way.variant, way.piece + 1)]

    def _drawn(self, way: Way, fact: str) -> list[Way]:
        """A way for each row that a fact can be; what it depends on is drawn first."""
        source, _, column = self.world.rules[fact]["from"].partition(".")
        if column and source not in way.facts:
            return self._drawn(way, source)
        rows = self.world.options(fact, way.facts)
        weight = way.weight / len(rows)
        return [
            Way(weight, (), way.ahead, way.facts | {fact: r}, way.plot, way.step, way.variant, way.piece) for r in rows
        ]


def next_tokens(tokenizer: Tokenizer, ids: Sequence[int], of: World | None = None) -> dict[int, float]:
    """The true distribution of the token after `ids`, the beginning of a story without an end-of-text token before it.

    Raises:
        InputError: as `PerfectReader` and its `read`.
    """
    reader = PerfectReader(tokenizer, of)
    for token in ids:
        reader.read(token)
    return reader.probabilities()


def true_distributions(tokenizer: Tokenizer, text: str, of: World | None = None) -> list[dict[int, float]]:
    """For each token of a story and for the end-of-text token after it: what could have come, and how probably.

    The negative logarithms (base 2) of what did come add up to the story's `bits`.

    Raises:
        InputError: as `PerfectReader` and its `read`.
    """
    reader = PerfectReader(tokenizer, of)
    found = []
    for token in [*tokenizer.encode(text), reader.end]:
        found.append(reader.probabilities())
        reader.read(token)
    return found


def divergence(log_probabilities: Tensor, truth: Sequence[dict[int, float]]) -> Tensor:
    """How many nats a model loses against the truth, in expectation, at each of T tokens (Kullback and Leibler 1951).

    Args:
        log_probabilities: (T, vocab_size), of a model.
        truth: T distributions, as `true_distributions` gives them.

    Returns:
        (T,) in float64: the sum of p ln(p / q) over the tokens that can come.

    Raises:
        InputError: when there are not as many of both.
    """
    if len(log_probabilities) != len(truth):
        raise InputError(f"{len(log_probabilities)} predictions for {len(truth)} true distributions: give as many")
    rows = log_probabilities.double()
    losses = []
    for row, options in zip(rows, truth, strict=True):
        p = torch.tensor(list(options.values()), dtype=torch.float64)
        losses.append((p * (p.log() - row[list(options)])).sum())
    return torch.stack(losses)


def impossible(log_probabilities: Tensor, truth: Sequence[dict[int, float]]) -> Tensor:
    """The probability that a model gives, at each of T tokens, to those with which no story goes on.

    The divergence falls into -ln(1 - this), and the divergence of the model's opinion about the rest.

    Args:
        log_probabilities: (T, vocab_size), of a model.
        truth: T distributions, as `true_distributions` gives them.

    Returns:
        (T,) in float64; summed over a story, how many wrong tokens the model would write beside it in expectation.

    Raises:
        InputError: when there are not as many of both.
    """
    if len(log_probabilities) != len(truth):
        raise InputError(f"{len(log_probabilities)} predictions for {len(truth)} true distributions: give as many")
    rows = log_probabilities.double().exp()
    wrong = []
    for row, options in zip(rows, truth, strict=True):
        elsewhere = row.clone()  # added up by itself: as 1 - the rest it would drown in rounding
        elsewhere[list(options)] = 0.0
        wrong.append(elsewhere.sum())
    return torch.stack(wrong)


@torch.no_grad()
def story_divergence(model: GPT, tokenizer: Tokenizer, text: str, of: World | None = None) -> Tensor:
    """`divergence` of a model at each token of a story, and at the end-of-text token after it: (T,) in nats.

    Raises:
        InputError: as `true_distributions`, and for a story that does not fit into the model's context.
    """
    truth = true_distributions(tokenizer, text, of)
    ids = [tokenizer.end_of_text, *tokenizer.encode(text)]
    training = model.training
    model.eval()
    logits = model(torch.tensor([ids], device=model.token_embedding.weight.device))[0]
    model.train(training)
    return divergence(logits[:, : model.config.vocab_size].double().log_softmax(-1).cpu(), truth)
