"""The checks of lesson 3, embeddings and positions."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minigpt.config import IGNORE
from minigpt.course.exercise import Exercise, close

Rows = list[list[int]]


@Exercise
def pack(answer: Callable[[Rows, int], tuple[Rows, Rows]]) -> str | None:
    """Inputs and targets of rows of unequal length."""
    rows = [[0, 5, 8, 0], [0, 7, 0]]
    inputs, targets = map(_lists, answer([row[:] for row in rows], 0))
    came = f"For {rows} the inputs are {inputs} and the targets {targets}."
    if [len(row) for row in inputs] == [3, 2] or [len(row) for row in targets] == [3, 2]:
        return f"{came} A tensor needs rows of one length. What fills the end of the short one?"
    if {len(row) for row in inputs + targets} == {4}:
        return f"{came} That is 4 positions, but [0, 5, 8, 0] asks only 3 questions. What follows its last token?"
    if {len(row) for row in inputs + targets} == {2}:
        return f"{came} The row [0, 5, 8, 0] is cut short. Which of the rows decides the length?"
    if (inputs, targets) == ([[0, 5, 8], [5, 8, 0]], [[0, 7, 0], [7, 0, IGNORE]]):
        return f"{came} You return a pair for each row. Asked are all inputs, and then all targets."
    if (inputs, targets) == ([[5, 8, 0], [7, 0, IGNORE]], [[0, 5, 8], [0, 7, 0]]):
        return f"{came} Both are there, in the other order. What does the model read, and what should it answer?"
    if len(inputs[0]) != len(targets[0]):
        return (
            f"{came} Inputs and targets differ in length. Which token of [0, 5, 8, 0] is never read to guess another?"
        )
    if inputs == targets:
        return f"{came} The model would learn to copy what it reads. Which token comes after 5?"
    if any(IGNORE in row for row in inputs):
        return f"{came} The embedding table has no row {IGNORE}. With what are the inputs padded?"
    if inputs == [[0, 5, 8], [0, 0, 7]]:
        return f"{came} You pad in front. Where would the token 7 stand then, and where should it?"
    if targets == [[5, 8, 0], [7, 0, 0]]:
        return f"{came} After its end the second row asks for another end. How do you say that nothing is asked there?"
    if targets[0] == [5, 8, 0] and targets[1][:2] == [7, 0] and targets[1][2] < 0 and targets[1][2] != IGNORE:
        return f"{came} The loss skips {IGNORE} alone, by the name IGNORE. What will it make of {targets[1][2]}?"
    if targets == [[5, 8, IGNORE], [7, IGNORE, IGNORE]]:
        return f"{came} No target is the end token 0. How would the model learn to stop?"
    if (inputs, targets) != ([[0, 5, 8], [0, 7, 0]], [[5, 8, 0], [7, 0, IGNORE]]):
        return f"{came} Write [0, 7, 0] on paper: which two questions does it ask, and what are their answers?"

    rows = [[9, 4, 9], [9, 9], [9, 1, 2, 3, 9]]
    expected = ([[9, 4, 9, 9], [9, 9, 9, 9], [9, 1, 2, 3]], [[4, 9, -100, -100], [9, -100, -100, -100], [1, 2, 3, 9]])
    inputs, targets = map(_lists, answer([row[:] for row in rows], 9))
    if any(IGNORE in row for row in inputs):
        return f"Right for two rows. For {rows} the inputs are {inputs}. Has the embedding table a row {IGNORE}?"
    if (inputs, targets) != expected:
        return f"Right for two rows and end 0. For {rows} and end 9 the inputs are {inputs} and the targets {targets}."
    for rows_of_one_length in ([[0, 5, 8, 0]], [[0, 5, 0], [0, 6, 0], [0, 7, 0]]):
        got = tuple(map(_lists, answer([row[:] for row in rows_of_one_length], 0)))
        if got != ([row[:-1] for row in rows_of_one_length], [row[1:] for row in rows_of_one_length]):
            return f"For {rows_of_one_length}, where nothing is to be padded, you return {got}."
    given = [row[:] for row in rows]
    answer(given, 9)
    if given != rows:
        return (
            f"The result is right, but the rows {rows} that came in are {given} afterwards. Can you leave them alone?"
        )
    return None


def _lists(rows: Any) -> Rows:
    """Rows as lists of plain numbers, whatever holds them."""
    return [row.tolist() if isinstance(row, Tensor) else [int(i) for i in row] for row in rows]


@Exercise
def embedding_gradient(answer: Callable[[Tensor, Tensor, int], Tensor]) -> str | None:
    """The gradient of the table from the ids and the gradients of the vectors that were looked up."""
    ids = torch.tensor([3, 0, 3])
    upstream = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]], dtype=torch.float64)
    got = torch.as_tensor(answer(ids.clone(), upstream.clone(), 5), dtype=torch.float64)
    what = "For the ids [3, 0, 3], the gradients [1, 2], [3, 4], [5, 7] and 5 tokens,"
    if got.shape == (2, 5):
        return f"{what} you return a matrix of 2 rows and 5 columns. Which of the two belongs to the tokens?"
    if got.shape == (3, 2):
        return f"{what} you return a row for each position of the text. How many rows has the table?"
    if got.shape == (2, 2):
        return f"{what} you return only the rows that were read. What is the gradient of the others?"
    if got.shape != (5, 2):
        return f"{what} the shape of your result is {tuple(got.shape)}. Which shape has the table?"
    came = f"{what} row 3 is {_shown(got[3])}."
    for wrong, hint in (
        ([5, 7], "Token 3 comes twice, and only its last gradient is left. What must happen to the first?"),
        ([1, 2], "Token 3 comes twice, and only its first gradient counts. What must happen to the second?"),
        ([3, 4.5], "That is the mean of its two gradients. If the row grows, do the two effects share or add?"),
        (
            [2, 3],
            "These are [6, 9] divided by 3, the number of positions. Has `upstream` not told each effect already?",
        ),
        ([2, 2], "That is how often the token comes. Where does `upstream` enter?"),
    ):
        if close(got[3], wrong):
            return f"{came} {hint}"
    expected = [[3, 4], [0, 0], [0, 0], [6, 9], [0, 0]]
    if not close(got, expected):
        return f"{what} you return [{', '.join(map(_shown, got))}]. Row by row: which positions read it? Add up those."
    if not close(answer(torch.tensor([1, 1, 1]), upstream, 3), [[0, 0], [9, 13], [0, 0]]):
        return "Right for [3, 0, 3]. For the ids [1, 1, 1] row 1 should be the sum of all three gradients. What is it?"
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(7, (50,), generator=generator)
    upstream = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    given_ids, given_upstream = ids.clone(), upstream.clone()
    got = answer(given_ids, given_upstream, 8)
    if not close(got, torch.zeros(8, 3, dtype=torch.float64).index_add(0, ids, upstream), 1e-5):
        return "Right for short texts. For 50 ids below 7, vectors of 3 numbers and 8 tokens some rows are wrong."
    if not close(got, torch.zeros(8, 3, dtype=torch.float64).index_add(0, ids, upstream), 1e-9):
        return "Right to seven digits. `upstream` has float64. Which dtype has your table of zeros?"
    if not (torch.equal(given_ids, ids) and torch.equal(given_upstream, upstream)):
        return "The gradient is right, but the ids or gradients that came in have changed. Can you leave them alone?"
    if not close(answer(ids[:0], upstream[:0], 4), torch.zeros(4, 3)):
        return "For a text of no tokens nothing was read. Which gradient have the 4 rows then?"
    return None


def _shown(vector: Tensor) -> str:
    return "[" + ", ".join(f"{number:.4g}" for number in vector.tolist()) + "]"


def _sinusoid(position: int, d_model: int) -> list[float]:
    angles = [position / 10000 ** (2 * i / d_model) for i in range(d_model // 2)]
    return [wave(angle) for angle in angles for wave in (math.sin, math.cos)]


@Exercise
def moved_on(answer: Callable[[list[float], int], list[float]]) -> str | None:
    """The sinusoid of position pos + k, from that of position pos."""

    def moved(position: int, k: int, d_model: int = 6) -> Any:
        return answer(_sinusoid(position, d_model), k)

    def halves(vector: list[float], forward: int) -> list[float]:
        """What comes of taking the first half for sines and the second for cosines."""
        size = len(vector) // 2
        angles = [forward / 10000 ** (2 * i / len(vector)) for i in range(size)]
        pairs = [(s, c, a) for s, c, a in zip(vector[:size], vector[size:], angles, strict=True)]
        sines = [s * math.cos(a) + c * math.sin(a) for s, c, a in pairs]
        return sines + [c * math.cos(a) - s * math.sin(a) for s, c, a in pairs]

    def turned(vector: list[float], angles: list[float]) -> list[float]:
        """What comes of other angles."""
        result: list[float] = []
        for s, c, a in zip(vector[::2], vector[1::2], angles, strict=True):
            result += [s * math.cos(a) + c * math.sin(a), c * math.cos(a) - s * math.sin(a)]
        return result

    start, target, step = _sinusoid(5, 6), _sinusoid(7, 6), _sinusoid(2, 6)
    got = moved(5, 2)
    if close(got, target, 1e-6):
        given = start[:]
        answer(given, 2)
        if given != start:
            return "The result is right, but the vector that came in has changed. Can you leave it alone?"
        for position, k, d_model in ((0, 3, 8), (40, -15, 4), (7, 0, 2), (3, 900, 10)):
            if not close(got := moved(position, k, d_model), _sinusoid(position + k, d_model), 1e-6):
                return (
                    f"Right for position 5 and k = 2. From position {position}, with k = {k} and {d_model} columns, "
                    f"you do not reach position {position + k}. Does it count on position 5, or on six columns?"
                )
        return None
    what = "From position 5 with k = 2 and six columns,"
    if close(got, target, 1e-2):
        return f"{what} you are right to two digits. Where do you round?"
    right = [2.0 / 10000 ** (2 * i / 6) for i in range(3)]
    fast = [2.0 / 10000 ** (i / 6) for i in range(3)]
    for wrong, hint in (
        (_sinusoid(3, 6), "you come to position 3. Which sign changes when a hand turns the other way?"),
        (turned(start, [2.0] * 3), "every hand turns by 2 radians. Which hands are slower, and by how much?"),
        (turned(start, [math.radians(a) for a in right]), "the hands hardly move. Are the angles degrees or radians?"),
        (turned(start, [math.degrees(a) for a in right]), "the hands race. Are the angles degrees or radians?"),
        (turned(start, fast), "the second hand turns too fast. What stands above d_model in its exponent: i or 2i?"),
        (
            [a + b for a, b in zip(start, step, strict=True)],
            "you add the vector of position 2. Is sin(a + b) = sin a + sin b?",
        ),
        (step, "you come to position 2: your result does not depend on where you were. Where does `vector` enter?"),
        (halves(start, 2), "you take the first three numbers for sines. In which order do sines and cosines stand?"),
        (start, "nothing moves. By which angle does the first hand turn?"),
        (
            [number for pair in zip(target[1::2], target[::2], strict=True) for number in pair],
            "sine and cosine have changed places. Which comes first in a pair?",
        ),
    ):
        if close(got, wrong, 1e-6):
            return f"{what} {hint}"
    if not close(len(got), 6):
        return f"{what} you return {len(got)} numbers. Each pair gives two: how many is that?"
    if not close(got[:2], target[:2], 1e-6):
        return (
            f"{what} the first pair is [{float(got[0]):.4f}, {float(got[1]):.4f}] instead of "
            f"[{target[0]:.4f}, {target[1]:.4f}]. Write out sin(θ + 2) and cos(θ + 2) with sin θ = {start[0]:.4f} and "
            f"cos θ = {start[1]:.4f}."
        )
    return (
        f"{what} the first pair is right and another is not. Pair 1 should turn by 2 / 10000^(2/6) = "
        f"{2 / 10000 ** (2 / 6):.4f} radians. By how much does yours?"
    )


@Exercise
def nearest(answer: Callable[[Tensor, int, int], list[int]]) -> str | None:
    """The k rows nearest to a row by cosine, without the row itself."""
    rows = [[1, 0], [10, 8], [0.9, -0.1], [-1, 0.05], [0.1, 0.01], [1, 0.5], [0.1, 0.09]]
    table = torch.tensor(rows, dtype=torch.float64)
    found = answer(table.clone(), 0, 3)
    if hasattr(found, "indices") and not isinstance(found, Tensor):
        return (
            "You return all that topk gives: the largest values, and where they stand. Which of the two is asked for?"
        )
    got = [float(value) for value in found]
    which = f"For the table {rows} and row 0 you return [{', '.join(f'{value:.4g}' for value in got)}]."
    if not all(value.is_integer() for value in got):
        return f"{which} These are no rows but how near they are. Where in the table do they stand?"
    around = torch.tensor([[1.0, 0.0], [0.8, 0.0], [4.0, 0.5], [-2.2, -0.5]], dtype=torch.float64)  # around [0.9, 0]
    if got == [2, 5, 4] and [int(i) for i in answer(around, 0, 1)] == [2]:
        return (
            f"{which} You shift the rows first, so that their mean is 0. The cosine asks where they point as they are."
        )
    for wrong, hint in (
        ([0, 4, 2], "The nearest to row 0 is row 0 itself. How do you leave it out?"),
        ([1, 5, 2], "Row 1, [10, 8], wins by its length. How do you make lengths not count?"),
        (
            [2, 5, 4],
            "Row 4, [0.1, 0.01], points nearly the way of row 0, but you measure how far apart the tips are.",
        ),
        ([3, 6, 1], "Row 3 points the other way and comes first. Is the nearest the one with the smallest cosine?"),
        ([3, 4, 2], "Row 3, [-1, 0.05], points the other way. Is a cosine of nearly -1 near?"),
        ([3, 1, 4], "You took row 0 out of the list first. By how much have the others moved?"),
        ([5, 2, 4], "These three are right, but which of them is the nearest?"),
    ):
        if got == wrong:
            return f"{which} {hint}"
    if len(got) != 3:
        return f"{which} Asked were k = 3 rows."
    if got != [4, 2, 5]:
        return f"{which} The cosines of row 0 with rows 1 to 6 are 0.78, 0.99, -1.00, 1.00, 0.89 and 0.74."
    table = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, 0.5]], dtype=torch.float64)
    if (got := [int(i) for i in answer(table.clone(), 0, 2)]) != [2, 1]:
        return (
            f"For [[1, 0], [-1, 0.1], [-1, 0.5]] and row 0 you return {got}. Here all cosines are below 0: "
            "which number keeps the row itself out?"
        )
    if [int(i) for i in answer(table.clone(), 2, 1)] != [1]:
        return (
            "Right for row 0. In the same table, the nearest of row 2 is row 1. Which row does your function compare?"
        )
    twins = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    for row in (0, 1):
        if (got := [int(i) for i in answer(twins.clone(), row, 1)]) != [1 - row]:
            came = f"For [[1, 0], [2, 0], [0, 1]] and row {row} you return {got}. Two rows have the cosine 1 with it"
            if row in got:
                return f"{came}, one of them the row itself. How do you tell which one?"
            return f"{came}: itself, and another that counts. Which rows do you leave out?"
    many = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity(many, many[7], dim=1)
    if [int(i) for i in answer(many.clone(), 7, 19)] != [i for i in cosine.argsort(descending=True).tolist() if i != 7]:
        return (
            "Right for rows of two numbers. For 20 rows of five numbers the order of the neighbours of row 7 is wrong."
        )
    given = table.clone()
    answer(given, 0, 1)
    if not torch.equal(given, table):
        return "The result is right, but the table that came in has changed. Can you work on a copy?"
    return None
