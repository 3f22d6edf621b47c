"""The canaries of lesson 25: planted as often as they say, ranked exactly, and a stored file that this code wrote."""

import itertools
import math

import pytest
import torch

from minigpt.course.canaries import (
    N_CODES,
    PLACES,
    RUNS,
    SEEDS,
    SIZES,
    STORIES,
    TIMES,
    canaries,
    clipped_sum,
    code_scores,
    exposure,
    greedy_code,
    judge,
    load,
    planted,
    train,
    without_copies,
    without_near_copies,
)
from minigpt.weights.checkpoint import load_model


def test_each_canary_stands_there_as_often_as_it_says() -> None:
    documents = planted(3)
    assert len(documents) == STORIES + sum(canary.times for canary in canaries(3)) == STORIES + 4 * sum(TIMES)
    assert all(documents.count(canary.text) == canary.times for canary in canaries(3))
    assert planted(3) == documents != planted(4)


def test_numbered_copies_differ_and_equal_ones_go() -> None:
    secret = [canary.text for canary in canaries(0)]
    kept = without_copies(planted(0), 0)
    assert len(kept) == len(set(kept)) and {text for text in kept if text in secret} == {
        canary.text for canary in canaries(0) if canary.times
    }
    numbered = without_copies(planted(0, numbered=True), 0)
    assert sum("The code of the" in text for text in numbered) > 0.98 * 4 * sum(TIMES)


def test_near_copies_go_by_common_runs_of_words() -> None:
    texts = ["a b c d", "x b c d", "b c", "a b c", "d e f", "d e f"]
    assert without_near_copies(texts, 3) == ["a b c d", "b c", "d e f"]
    assert without_near_copies(texts, 5) == ["a b c d", "x b c d", "b c", "a b c", "d e f"]


def test_scores_are_the_models_own_for_the_whole_sentence() -> None:
    model, tokenizer = load_model("storyteller")
    model = model.double()
    scores = code_scores(model, tokenizer, "beach")
    before = [tokenizer.end_of_text, *tokenizer.encode("The code of the beach is ")]
    for code in (0, 7, 481, 999):
        ids = [tokenizer.end_of_text, *tokenizer.encode(f"The code of the beach is {code:03}")]
        with torch.no_grad():
            rows = model(torch.tensor([ids]))[0].log_softmax(-1)
        ln = sum(rows[i - 1, ids[i]].item() for i in range(len(before), len(ids)))
        assert len(ids) == len(before) + 3 and scores[code].item() == pytest.approx(ln)
    assert len(scores) == N_CODES


def test_exposure_and_the_greedy_code() -> None:
    scores = torch.full((1000,), -9.0)
    scores[481], scores[482] = -1.0, -2.0
    assert [round(exposure(scores, code), 4) for code in (481, 482, 5)] == [9.9658, 8.9658, 8.3808]
    assert greedy_code(scores) == 481
    spread = torch.full((1000,), -40.0)
    spread[900], spread[100:103] = -1.2, -1.4  # one code is likeliest, but more codes begin with 1
    assert greedy_code(spread) in (100, 101, 102)


def test_luck_is_a_mean_of_1_44_bits() -> None:
    ranks = [math.log2(1000 / rank) for rank in range(1, 1001)]
    assert sum(ranks) / 1000 == pytest.approx(1 / math.log(2), abs=0.01)


def test_gradients_are_clipped_one_by_one() -> None:
    rows = [torch.tensor([3.0, 4.0]), torch.tensor([0.6, 0.8]), torch.zeros(2)]
    torch.testing.assert_close(clipped_sum(rows, 2.0), torch.tensor([1.8, 2.4]))


def test_a_bound_that_clips_nothing_trains_the_same_model() -> None:
    documents = planted(0)[:64]
    plain, each = train("small", documents, 0), train("small", documents, 0, longest=1e9)
    for a, b in zip(plain.parameters(), each.parameters(), strict=True):
        assert (a - b).norm() < 0.02 * a.norm()


def test_the_stored_file_is_this_codes() -> None:
    stored = load()
    assert list(stored) == list(RUNS) and set(SIZES) < set(stored)
    for run, seed in itertools.product(stored.values(), SEEDS):
        found = run["seeds"][seed]
        assert [len(found["exposures"][str(t)]) for t in TIMES] == [len(PLACES) // len(TIMES)] * len(TIMES)
        assert 0.9 < found["loss"] < 3.1 and all(0 <= n <= 4 for n in found["written"].values())
    again = judge(train("small", planted(0), 0), 0)
    # Rounding strays; another seed or order of documents moves single exposures by whole bits.
    assert again["loss"] == pytest.approx(stored["small"]["seeds"][0]["loss"], abs=0.02)
    mean = sum(again["exposures"]["64"]) / 4
    assert mean == pytest.approx(sum(stored["small"]["seeds"][0]["exposures"]["64"]) / 4, abs=1.0)
