"""Answers to the exercises of lesson 18, right and wrong."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.course.cases import Answers

Pairs = list[tuple[list[int], list[int], list[int]]]
Log = list[dict[str, float]]

# pair_loss


def with_torch(better: float, worse: float) -> float:
    return -F.logsigmoid(torch.tensor(better - worse, dtype=torch.float64)).item()


def with_max(better: float, worse: float) -> float:
    x = worse - better
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def turned_round(better: float, worse: float) -> float:
    return with_max(worse, better)


def probability(better: float, worse: float) -> float:
    return 1 / (1 + math.exp(worse - better))


def other_probability(better: float, worse: float) -> float:
    return 1 / (1 + math.exp(better - worse))


def without_minus(better: float, worse: float) -> float:
    return -with_max(better, worse)


def in_bits(better: float, worse: float) -> float:
    return with_max(better, worse) / math.log(2)


def base_ten(better: float, worse: float) -> float:
    return with_max(better, worse) / math.log(10)


def no_sigmoid(better: float, worse: float) -> float:
    return worse - better


def added(better: float, worse: float) -> float:
    return with_max(better, -worse)


def better_alone(better: float, worse: float) -> float:
    return with_max(better, 0.0)


def overflows(better: float, worse: float) -> float:
    return math.log1p(math.exp(worse - better))


def clamped(better: float, worse: float) -> float:
    return math.log1p(math.exp(min(worse - better, 500.0)))


def not_log1p(better: float, worse: float) -> float:
    x = worse - better
    return max(x, 0.0) + math.log(1 + math.exp(-abs(x)))


def right_when_ahead(better: float, worse: float) -> float:
    return math.log1p(math.exp(-abs(better - worse)))


# answer_log_probability


def by_loop(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    table = torch.log_softmax(logits, -1)
    total = table.new_zeros(())
    for t in range(prompt_length, len(ids)):
        total = total + table[t - 1, ids[t]]
    return total


def by_cross_entropy(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return -F.cross_entropy(logits[prompt_length - 1 : -1], ids[prompt_length:], reduction="sum")


def by_mask(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    each = logits[:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return (each * (torch.arange(1, len(ids)) >= prompt_length)).sum()


def mean_of_tokens(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, prompt_length) / (len(ids) - prompt_length)


def prompt_too(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, 1)


def first_missing(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, prompt_length + 1)


def one_too_many(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, prompt_length - 1)


def prompt_alone(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits[:prompt_length], ids[:prompt_length], 1)


def own_row(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return logits.log_softmax(-1)[prompt_length:].gather(1, ids[prompt_length:, None]).sum()


def plain_logits(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return logits[prompt_length - 1 : -1].gather(1, ids[prompt_length:, None]).sum()


def added_probabilities(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return logits.softmax(-1)[prompt_length - 1 : -1].gather(1, ids[prompt_length:, None]).sum()


def its_probability(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, prompt_length).exp()


def a_loss(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return -by_loop(logits, ids, prompt_length)


def along_time(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return logits.log_softmax(0)[prompt_length - 1 : -1].gather(1, ids[prompt_length:, None]).sum()


def last_missing(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits[:-1], ids[:-1], prompt_length)


def last_alone(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, len(ids) - 1)


def first_alone(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits[: prompt_length + 1], ids[: prompt_length + 1], prompt_length)


def each_token(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return logits.log_softmax(-1)[prompt_length - 1 : -1].gather(1, ids[prompt_length:, None])[:, 0]


def detached(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits.detach(), ids, prompt_length)


def without_shift(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return p[prompt_length - 1 : -1].gather(1, ids[prompt_length:, None]).log().sum()


def in_place(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    logits -= logits.max(-1, keepdim=True).values
    return by_loop(logits, ids, prompt_length)


def three_of_prompt(logits: Tensor, ids: Tensor, prompt_length: int) -> Tensor:
    return by_loop(logits, ids, 3)


# dpo


def said(network: nn.Module, prompt: list[int], answer: list[int]) -> Tensor:
    ids = torch.tensor([prompt + answer])
    return by_loop(network(ids)[0], ids[0], len(prompt))


def gains(model: nn.Module, reference: nn.Module, pairs: Pairs) -> Tensor:
    """(B, 2): of the better and of the worse answers."""
    with torch.no_grad():
        known = [[said(reference, p, a) for a in answers] for p, *answers in pairs]
    now = [torch.stack([said(model, p, a) for a in answers]) for p, *answers in pairs]
    return torch.stack(now) - torch.tensor(known, dtype=torch.float64)


Dpo = Callable[[nn.Module, nn.Module, Pairs, float], tuple[Tensor, list[float]]]


def in_columns(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    won = gains(model, reference, pairs)
    wins = beta * (won[:, 0] - won[:, 1])
    return -F.logsigmoid(wins).mean(), wins.tolist()


def with_softplus(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    won = beta * gains(model, reference, pairs)
    wins = won[:, 0] - won[:, 1]
    return F.softplus(-wins).mean(), [float(x) for x in wins.detach()]


def changed(change: Callable[[Tensor, float], tuple[Tensor, Tensor]], name: str) -> Dpo:
    """An answer that makes something else of the gains."""

    def wrong(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
        loss, wins = change(gains(model, reference, pairs), beta)
        return loss, wins.tolist()

    wrong.__name__ = name
    return wrong


def wins_of(won: Tensor, beta: float) -> Tensor:
    return beta * (won[:, 0] - won[:, 1])


dpo_sum = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b)).sum(), wins_of(w, b)), "dpo_sum")
dpo_of_mean = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b).mean()), wins_of(w, b)), "dpo_of_mean")
dpo_plus = changed(lambda w, b: (F.logsigmoid(wins_of(w, b)).mean(), wins_of(w, b)), "dpo_plus")
dpo_no_log = changed(lambda w, b: (wins_of(w, b).sigmoid().mean(), wins_of(w, b)), "dpo_no_log")
dpo_margin = changed(lambda w, b: (wins_of(w, b).mean(), wins_of(w, b)), "dpo_margin")
dpo_minus_margin = changed(lambda w, b: (-wins_of(w, b).mean(), wins_of(w, b)), "dpo_minus_margin")
dpo_last = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b))[-1], wins_of(w, b)), "dpo_last")
dpo_first = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b))[0], wins_of(w, b)), "dpo_first")
dpo_turned = changed(lambda w, b: (-F.logsigmoid(-wins_of(w, b)).mean(), -wins_of(w, b)), "dpo_turned")
dpo_no_beta = changed(lambda w, b: (-F.logsigmoid(wins_of(w, 1.0)).mean(), wins_of(w, 1.0)), "dpo_no_beta")
dpo_better = changed(lambda w, b: (-F.logsigmoid(b * w[:, 0]).mean(), b * w[:, 0]), "dpo_better")
dpo_added = changed(lambda w, b: (-F.logsigmoid(b * w.sum(1)).mean(), b * w.sum(1)), "dpo_added")
dpo_raw_margins = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b)).mean(), wins_of(w, 1.0)), "dpo_raw_margins")
dpo_each = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b)), wins_of(w, b)), "dpo_each")
dpo_unsafe = changed(lambda w, b: (-wins_of(w, b).sigmoid().log().mean(), wins_of(w, b)), "dpo_unsafe")
dpo_detached = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b)).mean().detach(), wins_of(w, b)), "dpo_detached")
dpo_half = changed(
    lambda w, b: (-F.logsigmoid(b * (w[:, 0] - w[:, 1].detach())).mean(), wins_of(w, b)),
    "dpo_half",
)
dpo_rounded = changed(lambda w, b: (-F.logsigmoid(wins_of(w, b)).mean(), wins_of(w, b).round()), "dpo_rounded")


def dpo_tensors(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, Tensor]:
    won = gains(model, reference, pairs)
    return -F.logsigmoid(wins_of(won, beta)).mean(), wins_of(won, beta)


def dpo_loss_alone(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> Tensor:
    return in_columns(model, reference, pairs, beta)[0]


def dpo_mean_tokens(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    lengths = torch.tensor([[len(b), len(c)] for _, b, c in pairs], dtype=torch.float64)
    wins = wins_of(gains(model, reference, pairs) / lengths, beta)
    return -F.logsigmoid(wins).mean(), wins.tolist()


def dpo_no_reference(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    wins = torch.stack([beta * (said(model, p, b) - said(model, p, c)) for p, b, c in pairs])
    return -F.logsigmoid(wins).mean(), wins.tolist()


def prompts_too(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    # the same prompt stands before both answers, so its terms cancel out
    return in_columns(model, reference, [(p[:1], p[1:] + b, p[1:] + c) for p, b, c in pairs], beta)


def dpo_late(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    def late(network: nn.Module, prompt: list[int], answer: list[int]) -> Tensor:
        ids = torch.tensor([prompt + answer])
        return by_loop(network(ids)[0], ids[0], len(prompt) + 1)

    wins = []
    for p, b, c in pairs:
        with torch.no_grad():
            known = late(reference, p, b) - late(reference, p, c)
        wins.append(beta * (late(model, p, b) - late(model, p, c) - known))
    return -F.logsigmoid(torch.stack(wins)).mean(), [x.item() for x in wins]


def dpo_trains_reference(
    model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float
) -> tuple[Tensor, list[float]]:
    wins = torch.stack(
        [
            beta * (said(model, p, b) - said(reference, p, b) - said(model, p, c) + said(reference, p, c))
            for p, b, c in pairs
        ]
    )
    return -F.logsigmoid(wins).mean(), wins.tolist()


def dpo_eats_pairs(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    result = in_columns(model, reference, pairs, beta)
    pairs.pop()
    return result


def dpo_without_batch(model: nn.Module, reference: nn.Module, pairs: Pairs, beta: float) -> tuple[Tensor, list[float]]:
    model(torch.tensor(pairs[0][0]))
    return in_columns(model, reference, pairs, beta)


# best_of_n_kl


def by_definition(wrong: float, n: int) -> tuple[float, float]:
    left = wrong**n
    first = left * math.log(left / wrong) if left else 0.0
    return first + (1 - left) * math.log((1 - left) / (1 - wrong)), math.log(n) - (n - 1) / n


def with_arrays(wrong: float, n: int) -> list[float]:
    before = torch.tensor([wrong, 1 - wrong], dtype=torch.float64)
    after = torch.tensor([wrong**n, 1 - wrong**n], dtype=torch.float64)
    exact = torch.special.xlogy(after, after / before).sum()
    return [exact.item(), math.log(n) - 1 + 1 / n]


def places_changed(wrong: float, n: int) -> tuple[float, float]:
    exact, bound = by_definition(wrong, n)
    return bound, exact


def other_direction(wrong: float, n: int) -> tuple[float, float]:
    left = wrong**n
    exact = wrong * math.log(wrong / left) + (1 - wrong) * math.log((1 - wrong) / (1 - left))
    return exact, by_definition(wrong, n)[1]


def right_alone(wrong: float, n: int) -> tuple[float, float]:
    left = wrong**n
    return (1 - left) * math.log((1 - left) / (1 - wrong)), by_definition(wrong, n)[1]


def wrong_alone(wrong: float, n: int) -> tuple[float, float]:
    return wrong**n * (n - 1) * math.log(wrong), by_definition(wrong, n)[1]


def nothing_left(wrong: float, n: int) -> tuple[float, float]:
    return -math.log(1 - wrong), by_definition(wrong, n)[1]


def upside_down(wrong: float, n: int) -> tuple[float, float]:
    exact, bound = by_definition(wrong, n)
    return -exact, bound


def kl_in_bits(wrong: float, n: int) -> tuple[float, float]:
    exact, bound = by_definition(wrong, n)
    return exact / math.log(2), bound


def bound_is_log(wrong: float, n: int) -> tuple[float, float]:
    return by_definition(wrong, n)[0], math.log(n)


def bound_off(wrong: float, n: int) -> tuple[float, float]:
    return by_definition(wrong, n)[0], math.log(n) - 1


def bound_twice(wrong: float, n: int) -> float:
    return by_definition(wrong, n)[1]


def underflows(wrong: float, n: int) -> tuple[float, float]:
    left = wrong**n
    exact = left * math.log(left / wrong) + (1 - left) * math.log((1 - left) / (1 - wrong))
    return exact, math.log(n) - (n - 1) / n


def linear(wrong: float, n: int) -> tuple[float, float]:
    left = wrong / n
    exact = left * math.log(left / wrong) + (1 - left) * math.log((1 - left) / (1 - wrong))
    return exact, math.log(n) - (n - 1) / n


def cubed(wrong: float, n: int) -> tuple[float, float]:
    return by_definition(wrong, 3 if n > 1 else 1)[0], math.log(n) - (n - 1) / n


def zero_for_many(wrong: float, n: int) -> tuple[float, float]:
    return by_definition(wrong, n) if n < 500 else (0.0, 0.0)


# why_it_stays


def by_any(log: Log) -> str:
    if all(line["gradient"] < 1e-9 for line in log):
        return "equal answers"
    if not any(line["moved"] >= 1e-5 for line in log):
        return "tiny steps"
    return "it learns" if any(abs(line["margin"]) > 1e-9 for line in log) else "its own reference"


def by_last_line(log: Log) -> str:
    gradient, moved, margins = log[0]["gradient"], log[-1]["moved"], [abs(line["margin"]) for line in log]
    if gradient <= 1e-9:
        return "equal answers"
    if moved < 1e-5:
        return "tiny steps"
    return "its own reference" if sum(margins) <= 1e-9 else "it learns"


def margin_first(log: Log) -> str:
    if all(abs(line["margin"]) < 1e-9 for line in log):
        return "its own reference"
    return by_any(log)


def signed(log: Log) -> str:
    if all(line["gradient"] < 1e-9 for line in log):
        return "equal answers"
    if log[-1]["moved"] < 1e-5:
        return "tiny steps"
    return "its own reference" if max(line["margin"] for line in log) < 1e-9 else "it learns"


def by_loss(log: Log) -> str:
    return "it learns" if abs(log[-1]["loss"] - math.log(2)) > 1e-3 else by_any(log)


def other_words(log: Log) -> str:
    return "tiny" if by_any(log) == "tiny steps" else by_any(log)


def always(log: Log) -> str:
    return "equal answers"


def pops(log: Log) -> str:
    log.pop()
    return by_any(log)


ANSWERS = {
    "pair_loss": Answers(
        right=[with_torch, with_max],
        wrong={
            turned_round: "which reward is taken from which",
            probability: "That is the probability itself",
            other_probability: "the probability that the worse one wins",
            without_minus: "a loss is minus that",
            in_bits: "in bits",
            base_ten: "base 10",
            no_sigmoid: "Where is the sigmoid",
            added: "The rewards are added",
            better_alone: "has no say here",
            overflows: "so that no exponent is",
            clamped: "nearly",
            not_log1p: "what does log1p do",
            right_when_ahead: "Right where the better answer is ahead",
        },
    ),
    "answer_log_probability": Answers(
        right=[by_loop, by_cross_entropy, by_mask],
        wrong={
            mean_of_tokens: "the mean over the answer's tokens",
            prompt_too: "The prompt's tokens are in it",
            first_missing: "last row of the prompt",
            one_too_many: "One token too many",
            prompt_alone: "Those are the prompt's tokens",
            own_row: "asked for the token at t",
            plain_logits: "Those are logits",
            added_probabilities: "probabilities, added",
            its_probability: "That is the probability. Its logarithm",
            a_loss: "minus the sum",
            along_time: "goes along the vocabulary",
            last_missing: "The last token of the answer is missing",
            last_alone: "the last token alone",
            first_alone: "the first token of the answer alone",
            each_token: "A sum is a scalar",
            detached: "is something detached",
            without_shift: "With logits near 1,000",
            in_place: "only given to read",
            three_of_prompt: "Right for a prompt of 3 ids",
        },
    ),
    "dpo": Answers(
        right=[in_columns, with_softplus, prompts_too],
        wrong={
            dpo_mean_tokens: "divided by the number of tokens",
            dpo_late: "The first token of each answer is missing",
            dpo_no_reference: "Where is the reference",
            dpo_turned: "have changed places",
            dpo_better: "The worse answer has no say",
            dpo_added: "Gains of better and worse are added",
            dpo_no_beta: "Where does beta come in",
            dpo_sum: "That is the sum of the losses",
            dpo_of_mean: "of the mean margin",
            dpo_plus: "*minus* the logarithm",
            dpo_no_log: "Where is the logarithm",
            dpo_margin: "That is the mean of the margins",
            dpo_minus_margin: "minus the mean of the margins",
            dpo_last: "the last pair alone",
            dpo_first: "the first pair alone",
            dpo_each: "a scalar tensor",
            dpo_loss_alone: "two things are asked for",
            dpo_tensors: "plain floats",
            dpo_raw_margins: "Your margins lack beta",
            dpo_rounded: "Of the three pairs' margins",
            dpo_unsafe: "Right for small margins",
            dpo_detached: "no gradient gets through",
            dpo_half: "the model's gradient is not",
            dpo_trains_reference: "The reference has got a gradient",
            dpo_eats_pairs: "changed the pairs",
            dpo_without_batch: "ids of the shape (1, T)",
        },
    ),
    "best_of_n_kl": Answers(
        right=[by_definition, with_arrays],
        wrong={
            places_changed: "They have changed places",
            other_direction: "the other direction",
            right_alone: "The wrong answers are missing",
            wrong_alone: "The right answers are missing",
            nothing_left: "if nothing wrong were left",
            upside_down: "never negative",
            kl_in_bits: "in bits",
            bound_is_log: "The bound is not ln n",
            bound_off: "The bound is ln 3",
            bound_twice: "Two numbers are asked for",
            underflows: "0.05^1000 is 0",
            linear: "After 3 tries",
            cubed: "Right for 0.25 and 3",
            zero_for_many: "the best of 1,000 you return",
        },
    ),
    "why_it_stays": Answers(
        right=[by_any, by_last_line],
        wrong={
            margin_first: "no gradient to speak of",
            signed: "the wrong way",
            by_loss: "1e-6 a step",
            other_words: "Asked for is one of",
            always: "no margin at all",
            pops: "changed the log",
        },
    ),
}
