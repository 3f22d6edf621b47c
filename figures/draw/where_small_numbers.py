"""Lesson 21 in the GPT: its matrices in 4 bits, block by block; and a text of which a draft guesses the next tokens.

Alt text: The GPT in one row, attention, feed-forward and the arrow back to the text in colour; below on the left twenty
boxes in a row, two for a scale d, two for a smallest number m, sixteen each cut into two halves, and below them a ruler
of sixteen marks with thirty-two dots on it; on the right five tokens that a draft guessed, of which three stay, one is
struck out and has another below it, and the last is pale.

The block is the first of SmolLM2's file. The target is the bundled model, the draft a table of two tokens.
"""

from collections import Counter
from functools import cache

import torch
from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, arrow, box, chip, one_row, path, write
from minigpt.generation.speculative import Reader, accept
from minigpt.text.stories import story_at
from minigpt.weights.checkpoint import load_model

BLOCK = bytes.fromhex("0f30d8b9458765406f65164b677664502267655a")
K = 5


def draw() -> Figure:
    figure, axes = one_row({"attention", "feed-forward", "sampling"}, height=5.7)
    box(axes, 0.15, 2.75, 4.95, 2.8, "", INK)
    write(axes, 2.62, 2.95, "32 weights in 20 bytes", weight="bold")
    for i in range(20):
        x, colour = 0.33 + 0.23 * i, PURPLE if i < 2 else BLUE if i < 4 else ORANGE
        box(axes, x, 3.3, 0.21, 0.3, "", colour)
        if i >= 4:
            path(axes, (x + 0.105, 3.3), (x + 0.105, 3.6), zorder=3, linewidth=0.8)
    for x, text in ((0.55, "scale d"), (1.12, "m"), (3.05, "32 whole numbers q, 4 bits each")):
        write(axes, x, 3.78, text)
    whole = [byte & 15 for byte in BLOCK[4:]] + [byte >> 4 for byte in BLOCK[4:]]
    arrow(axes, (2.62, 3.93), (2.62, 4.25))
    write(axes, 2.75, 4.08, "w = d q + m", ha="left")
    left, step, bottom = 0.6, 0.27, 5.1
    path(axes, (left, bottom), (left + 15 * step, bottom))
    for q in range(16):
        path(axes, (left + q * step, bottom - 0.05), (left + q * step, bottom + 0.05))
        for i in range(Counter(whole)[q]):
            axes.plot(left + q * step, bottom - 0.14 - 0.1 * i, "o", color=ORANGE, markeredgecolor=INK, markersize=5)
    write(axes, left, 5.32, "m")
    write(axes, left + 15 * step, 5.32, "m + 15 d")
    write(axes, left + 7.5 * step, 5.32, "sixteen values, fifteen steps")

    guessed, kept, new = one_pass()
    box(axes, 5.3, 2.75, 4.15, 2.8, "", INK)
    write(axes, 7.37, 2.95, "guess five tokens, check them in one pass", weight="bold")
    write(axes, 5.45, 3.45, "the draft guesses", ha="left")
    write(axes, 5.45, 4.25, "the model judges", ha="left")
    write(axes, 5.45, 5.05, "the text goes on", ha="left")
    x = 6.72
    for i, token in enumerate(guessed):
        end = chip(axes, x, 3.31, token, GREEN if i <= kept else MUTED)
        middle = (x + end) / 2
        if i < kept:
            write(axes, middle, 4.25, "stays", size=7.5)
            arrow(axes, (middle, 3.62), (middle, 4.1))
            chip(axes, x, 4.91, token, GREEN)
            arrow(axes, (middle, 4.4), (middle, 4.87))
        elif i == kept:
            path(axes, (x - 0.03, 3.61), (end + 0.03, 3.28), zorder=5, linewidth=1.8)
            write(axes, middle, 4.25, "goes", size=7.5)
            arrow(axes, (middle, 3.62), (middle, 4.1))
            chip(axes, x, 4.91, new, BLUE)
            write(axes, middle, 5.36, "drawn from\nwhat p has more", size=7)
        x = end + 0.08
    return figure


@cache
def one_pass() -> tuple[list[str], int, str]:
    """Guesses of a table, how many of them stay, and the token in the place of the first that does not."""
    model, tokenizer = load_model("storyteller")
    followers: dict[tuple[int, int], Counter[int]] = {}
    for i in range(100):
        ids = [tokenizer.end_of_text or 0, *tokenizer.encode(story_at("train", i).text)]
        for a, b, c in zip(ids, ids[1:], ids[2:], strict=False):
            followers.setdefault((a, b), Counter())[c] += 1
    ids = [tokenizer.end_of_text or 0, *tokenizer.encode("Once upon a time,")]
    draft = torch.zeros(K, model.config.vocab_size, dtype=torch.float64)
    guesses: list[int] = []
    for i in range(K):
        counts = followers[(ids + guesses)[-2], (ids + guesses)[-1]]
        for token, count in counts.items():
            draft[i, token] = count / counts.total()
        guesses.append(min(counts, key=lambda token: (-counts[token], token)))
    p = Reader(model.double()).last(ids + guesses, K + 1)
    found = accept(p, draft, guesses, torch.full((K + 1,), 0.5, dtype=torch.float64))
    names = [tokenizer.decode([token]).replace(" ", "␣") for token in guesses]
    return names, len(found) - 1, tokenizer.decode(found[-1:]).replace(" ", "␣")
