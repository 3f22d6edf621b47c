"""Speculative decoding: the distribution of the model, by enumeration of all draws; the rest against `generate`."""

from itertools import product

import pytest
import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.generate import distribution, generate
from minigpt.generation.speculative import Reader, Speculation, accept, speculate
from tests.generation.test_generate import CONFIG, follows, writer

# Of three tokens. All thresholds are quarters: p / q is 4, 2 (never refused), 1/2 or 0, and p - q shares as 3 to 1.
P = torch.tensor([[4, 4, 2, 0], [2, 4, 4, 0], [1, 2, 3, 4]], dtype=torch.float64) / 10
Q = torch.tensor([[1, 3, 4, 2], [4, 1, 3, 2]], dtype=torch.float64) / 10
QUARTERS = torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64)
FINE = (torch.arange(20, dtype=torch.float64) + 0.5) / 20


def law(p: Tensor, q: Tensor, n: int, last: Tensor) -> Tensor:
    """The distribution of the first n tokens that come of `accept`, over all guesses and all random numbers.

    A token that a pass does not reach is the model's own, by its row of p.
    """
    V, K = p.size(1), len(q)
    found = torch.zeros((V,) * n, dtype=torch.float64)
    for guesses in product(range(V), repeat=K):
        weight = torch.stack([q[i, guess] for i, guess in enumerate(guesses)]).prod() if K else torch.ones(())
        draws = list(product(*[QUARTERS] * K, last))
        for draw in draws if weight else []:
            tokens = accept(p, q, list(guesses), torch.stack(draw))
            part = weight / len(draws)
            for rest in product(range(V), repeat=max(0, n - len(tokens))):
                share = torch.stack([p[len(tokens) + i, token] for i, token in enumerate(rest)]).prod() if rest else 1.0
                found[(*tokens, *rest)[:n]] += part * share
    return found


def test_one_guess_leaves_the_models_distribution() -> None:
    torch.testing.assert_close(law(P[:2], Q[:1], 1, QUARTERS), P[0], rtol=0, atol=1e-12)


def test_two_guesses_leave_the_models_distribution_of_three_tokens() -> None:
    expected = torch.einsum("a,b,c->abc", *P)
    torch.testing.assert_close(law(P, Q, 3, FINE), expected, rtol=0, atol=1e-12)


def test_by_hand() -> None:
    def kept(*uniform: float) -> list[int]:
        return accept(P, Q, [2, 0], torch.tensor(uniform, dtype=torch.float64))

    assert kept(0.49, 0.49, 0.05) == [2, 0, 0], "2 / 4 and 2 / 4: both accepted, and one more from the last row"
    assert kept(0.49, 0.51, 0.1) == [2, 1], "the second refused: 3 more at token 1, 1 more at token 2"
    assert kept(0.49, 0.51, 0.9) == [2, 2]
    assert kept(0.51, 0.49, 0.7) == [0], "the first refused: what was guessed behind it is gone"
    assert kept(0.5, 0.0, 0.8) == [1], "at p / q itself it is refused, because 0 may be drawn"
    assert accept(P, Q, [3, 0], torch.zeros(3, dtype=torch.float64)) == [0], "the model never says 3"


def table(ids: list[int]) -> Tensor:
    """A draft that knows only the last token, and gives some of the others nothing."""
    row = torch.tensor([3.0, 1, 0, 2, 1, 0, 1, 2], dtype=torch.float64).roll(ids[-1])
    return row / row.sum()


def test_texts_follow_the_models_distribution() -> None:
    model, prompt = writer(), [3, 1]
    with torch.inference_mode():
        first = distribution(model(torch.tensor([prompt]))[:, -1])[0]  # (V,)
        after = distribution(model(torch.tensor([[*prompt, a] for a in range(8)]))[:, -1])  # (V, V)
    texts = torch.tensor([speculate(model, table, prompt, 2, guesses=3, seed=seed).tokens for seed in range(1000)])
    assert follows(texts[:, 0], first) and follows(texts[:, 1], first @ after)


def test_greedily_it_writes_what_generate_writes() -> None:
    model, prompt = writer(), [1, 2, 3]
    for guesses in (0, 1, 5):
        told = speculate(model, table, prompt, 12, guesses=guesses, temperature=0)
        assert told.tokens == generate(model, prompt, 12, temperature=0)[0]
        assert len(told.tokens) <= told.passes + told.accepted
    assert speculate(model, table, prompt, 12, guesses=0).passes == 12


def test_a_draft_that_is_the_model_is_always_right() -> None:
    model, options = writer(), {"temperature": 0.7, "top_k": 3}
    draft = Reader(model, 0.7, 3).next
    told = speculate(model, draft, [5], 13, guesses=4, **options)  # type: ignore[arg-type]
    assert told.passes == 3 and told.accepted == told.judged == 10 and told.overlap == pytest.approx(10)
    assert len(told.tokens) == 13


def test_the_share_of_accepted_guesses_is_the_overlap() -> None:
    model = writer()
    told = [speculate(model, table, [2], 15, guesses=3, seed=seed) for seed in range(150)]
    accepted, judged, overlap = (sum(getattr(t, name) for t in told) for name in ("accepted", "judged", "overlap"))
    assert abs(accepted - overlap) < 4 * judged**0.5 / 2 < 0.15 * judged  # four deviations of a coin, at most


def test_a_reader_reads_only_what_is_new() -> None:
    model = writer()
    reader, lengths = Reader(model), []
    hook = model.token_embedding.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].size(1)))
    for ids, n, new in (([1, 2, 3], 1, 3), ([1, 2, 3, 4, 5], 3, 3), ([1, 2, 7], 1, 1), ([1, 2, 7], 2, 2)):
        with torch.inference_mode():
            expected = distribution(model(torch.tensor([ids]))[0, -n:])
        lengths.clear()
        torch.testing.assert_close(reader.last(ids, n), expected, rtol=0, atol=1e-9)
        assert lengths == [new]
    hook.remove()


def test_it_ends_at_the_stop_token() -> None:
    model = writer()
    for seed in range(20):
        told = speculate(model, Reader(model).next, [4, 4], 14, guesses=4, stop_token=4, seed=seed)
        assert 4 not in told.tokens and len(told.tokens) <= 14
    assert speculate(model, table, [4], 0) == Speculation([], 0, 0, 0, 0.0)


def test_what_cannot_be_written_is_said() -> None:
    model = writer()
    with pytest.raises(InputError, match="context holds 16: ask for fewer"):
        speculate(model, table, [1], CONFIG.context_length)
    with pytest.raises(InputError, match="guesses is -1"):
        speculate(model, table, [1], 2, guesses=-1)
    with pytest.raises(InputError, match="the prompt is empty"):
        speculate(model, table, [], 2)
