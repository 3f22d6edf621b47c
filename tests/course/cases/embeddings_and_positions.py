"""Answers to the exercises of lesson 3."""

import cmath
import math
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minigpt.config import IGNORE
from tests.course.cases import Answers

Rows = list[list[int]]


def filled(rows: Rows, filler: int, length: int) -> Rows:
    """Rows padded at their ends."""
    return [row + [filler] * (length - len(row)) for row in rows]


def longest(rows: Rows) -> int:
    return max(map(len, rows))


def pack_in_torch(rows: Rows, end: int) -> tuple[Tensor, Tensor]:
    tensors = [torch.tensor(row) for row in rows]
    inputs = pad_sequence([row[:-1] for row in tensors], batch_first=True, padding_value=end)
    return inputs, pad_sequence([row[1:] for row in tensors], batch_first=True, padding_value=IGNORE)


def pack_by_columns(rows: Rows, end: int) -> tuple[Rows, Rows]:
    columns = zip_longest(*(row[:-1] for row in rows), fillvalue=end)
    answers = zip_longest(*(row[1:] for row in rows), fillvalue=IGNORE)
    return [list(row) for row in zip(*columns, strict=True)], [list(row) for row in zip(*answers, strict=True)]


def not_padded(rows: Rows, end: int) -> tuple[Rows, Rows]:
    return [row[:-1] for row in rows], [row[1:] for row in rows]


def one_place_too_long(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows)
    return filled(rows, end, length), filled([row[1:] for row in rows], IGNORE, length)


def cut_to_the_shortest(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = min(map(len, rows)) - 1
    return [row[:length] for row in rows], [row[1 : length + 1] for row in rows]


def targets_not_shifted(rows: Rows, end: int) -> tuple[Rows, Rows]:
    inputs = filled([row[:-1] for row in rows], end, longest(rows) - 1)
    return inputs, inputs


def ignore_in_the_inputs(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    return filled([row[:-1] for row in rows], IGNORE, length), filled([row[1:] for row in rows], IGNORE, length)


def padded_in_front(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    inputs = [[end] * (length + 1 - len(row)) + row[:-1] for row in rows]
    return inputs, [[IGNORE] * (length + 1 - len(row)) + row[1:] for row in rows]


def end_as_target_of_the_padding(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    return filled([row[:-1] for row in rows], end, length), filled([row[1:] for row in rows], end, length)


def every_end_ignored(rows: Rows, end: int) -> tuple[Rows, Rows]:
    inputs, targets = end_as_target_of_the_padding(rows, end)
    return inputs, [[IGNORE if target == end else target for target in row] for row in targets]


def two_places_ahead(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    return filled([row[:-1] for row in rows], end, length), filled([row[2:] for row in rows], IGNORE, length)


def zero_for_every_end(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    return filled([row[:-1] for row in rows], 0, length), filled([row[1:] for row in rows], IGNORE, length)


def changes_the_rows(rows: Rows, end: int) -> tuple[Rows, Rows]:
    inputs, targets = pack_by_columns(rows, end)
    for row in rows:
        row.pop()
    return inputs, targets


def by_one_hot(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return F.one_hot(ids, vocab_size).to(upstream.dtype).T @ upstream


def by_index_add(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype).index_add(0, ids, upstream)


def by_autograd(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    table = torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(table[ids], table, upstream)
    return gradient


def indices_with_plus(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    gradient = torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype)
    for i, vector in zip(ids.tolist(), upstream, strict=True):  # what gradient[ids] += upstream does
        gradient[i] = vector
    return gradient


def first_place_only(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    gradient = torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype)
    for i in set(ids.tolist()):
        gradient[i] = upstream[ids.tolist().index(i)]
    return gradient


def mean_over_the_places(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    counts = torch.bincount(ids, minlength=vocab_size).clamp(min=1)
    return by_one_hot(ids, upstream, vocab_size) / counts[:, None]


def divided_by_the_length(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream, vocab_size) / len(ids)


def counted(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, torch.ones_like(upstream), vocab_size)


def transposed(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream, vocab_size).T


def rows_read_only(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream, vocab_size)[ids.unique()]


def row_for_each_place(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream, vocab_size)[ids]


def in_order_of_appearance(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    gradient = torch.zeros(vocab_size, upstream.size(1), dtype=upstream.dtype)
    gradient[: len(ids)] = upstream
    return gradient


def at_most_twice(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    first, last = (
        first_place_only(ids, upstream, vocab_size),
        indices_with_plus(ids, upstream, vocab_size),
    )
    return first + last * (torch.bincount(ids, minlength=vocab_size) > 1)[:, None]


def waves(position: float, d_model: int) -> list[float]:
    angles = [position / 10000 ** (2 * i / d_model) for i in range(d_model // 2)]
    return [number for angle in angles for number in (math.sin(angle), math.cos(angle))]


def by_complex_numbers(vector: list[float], k: int) -> list[float]:
    result: list[float] = []
    for i in range(0, len(vector), 2):
        hand = complex(vector[i + 1], vector[i]) * cmath.exp(1j * k / 10000 ** (i / len(vector)))
        result += [hand.imag, hand.real]
    return result


def by_reading_each_clock(vector: list[float], k: int) -> list[float]:
    result: list[float] = []
    for i in range(0, len(vector), 2):
        angle = math.atan2(vector[i], vector[i + 1]) + k / 10000 ** (i / len(vector))
        result += [math.sin(angle), math.cos(angle)]
    return result


def by_a_matrix(vector: list[float], k: int) -> Tensor:
    angles = [torch.tensor(k / 10000 ** (i / len(vector)), dtype=torch.float64) for i in range(0, len(vector), 2)]
    blocks = [torch.stack([torch.stack([a.cos(), a.sin()]), torch.stack([-a.sin(), a.cos()])]) for a in angles]
    return torch.block_diag(*blocks) @ torch.tensor(vector, dtype=torch.float64)


def turns_back(vector: list[float], k: int) -> list[float]:
    return by_complex_numbers(vector, -k)


def one_speed_for_all(vector: list[float], k: int) -> list[float]:
    result: list[float] = []
    for i in range(0, len(vector), 2):
        s, c = vector[i], vector[i + 1]
        result += [s * math.cos(k) + c * math.sin(k), c * math.cos(k) - s * math.sin(k)]
    return result


def half_the_exponent(vector: list[float], k: int) -> list[float]:
    result: list[float] = []
    for i in range(len(vector) // 2):
        s, c, a = vector[2 * i], vector[2 * i + 1], k / 10000 ** (i / len(vector))
        result += [s * math.cos(a) + c * math.sin(a), c * math.cos(a) - s * math.sin(a)]
    return result


def adds_the_step(vector: list[float], k: int) -> list[float]:
    return [a + b for a, b in zip(vector, waves(k, len(vector)), strict=True)]


def forgets_the_vector(vector: list[float], k: int) -> list[float]:
    return waves(k, len(vector))


def sines_first(vector: list[float], k: int) -> list[float]:
    size = len(vector) // 2
    angles = [k / 10000 ** (2 * i / len(vector)) for i in range(size)]
    sines = [vector[i] * math.cos(a) + vector[size + i] * math.sin(a) for i, a in enumerate(angles)]
    return sines + [vector[size + i] * math.cos(a) - vector[i] * math.sin(a) for i, a in enumerate(angles)]


def cosine_before_sine(vector: list[float], k: int) -> list[float]:
    right = by_complex_numbers(vector, k)
    return [right[i + 1 - 2 * (i % 2)] for i in range(len(right))]


def stays(vector: list[float], k: int) -> list[float]:
    return list(vector)


def minus_forgotten(vector: list[float], k: int) -> list[float]:
    result: list[float] = []
    for i in range(0, len(vector), 2):
        s, c, a = vector[i], vector[i + 1], k / 10000 ** (i / len(vector))
        result += [s * math.cos(a) + c * math.sin(a), c * math.cos(a) + s * math.sin(a)]
    return result


def sines_only(vector: list[float], k: int) -> list[float]:
    return by_complex_numbers(vector, k)[::2]


def place_from_the_first_clock(vector: list[float], k: int) -> list[float]:
    position = round(math.atan2(vector[0], vector[1]) % math.tau)  # right for places 0 to 6
    return waves(position + k, len(vector))


def through_cosine_similarity(table: Tensor, row: int, k: int) -> list[int]:
    similarity = F.cosine_similarity(table, table[row], dim=1)
    return [i for i in similarity.argsort(descending=True).tolist() if i != row][:k]


def in_plain_python(table: Tensor, row: int, k: int) -> list[int]:
    rows = table.tolist()

    def cosine(i: int) -> float:
        return sum(a * b for a, b in zip(rows[i], rows[row], strict=True)) / (
            math.hypot(*rows[i]) * math.hypot(*rows[row])
        )

    return sorted((i for i in range(len(rows)) if i != row), key=cosine, reverse=True)[:k]


def first_of_the_best_left_out(table: Tensor, row: int, k: int) -> Tensor:
    directions = F.normalize(table, dim=1)
    return (directions @ directions[row]).topk(k + 1).indices[1:]


def by_a_mask(table: Tensor, row: int, k: int) -> list[int]:
    cosine = F.cosine_similarity(table, table[row], dim=1)
    others = [i for i in range(len(table)) if i != row]
    return torch.tensor(others)[cosine[others].argsort(descending=True)[:k]].tolist()


def with_itself(table: Tensor, row: int, k: int) -> list[int]:
    return F.cosine_similarity(table, table[row], dim=1).topk(k).indices.tolist()


def dot_product(table: Tensor, row: int, k: int) -> list[int]:
    scores = table @ table[row]
    scores[row] = -math.inf
    return scores.topk(k).indices.tolist()


def distance_of_the_tips(table: Tensor, row: int, k: int) -> list[int]:
    distances = (table - table[row]).norm(dim=1)
    distances[row] = math.inf
    return distances.topk(k, largest=False).indices.tolist()


def farthest_first(table: Tensor, row: int, k: int) -> list[int]:
    return F.cosine_similarity(table, table[row], dim=1).argsort()[:k].tolist()


def sign_lost(table: Tensor, row: int, k: int) -> list[int]:
    similarity = F.cosine_similarity(table, table[row], dim=1).abs()
    similarity[row] = -1
    return similarity.topk(k).indices.tolist()


def from_the_back(table: Tensor, row: int, k: int) -> list[int]:
    return through_cosine_similarity(table, row, k)[::-1]


def the_cosines(table: Tensor, row: int, k: int) -> list[float]:
    return F.cosine_similarity(table, table[row], dim=1).sort(descending=True).values[1 : k + 1].tolist()


def itself_set_to_zero(table: Tensor, row: int, k: int) -> list[int]:
    similarity = F.cosine_similarity(table, table[row], dim=1)
    similarity[row] = 0
    return similarity.topk(k).indices.tolist()


def always_three(table: Tensor, row: int, k: int) -> list[int]:
    return through_cosine_similarity(table, row, 99)[: k + 1]


def divided_by_the_squared_length(table: Tensor, row: int, k: int) -> list[int]:
    scores = table @ table[row] / (table**2).sum(dim=1)
    scores[row] = -math.inf
    return scores.topk(k).indices.tolist()


def row_zero(table: Tensor, row: int, k: int) -> list[int]:
    return through_cosine_similarity(table, 0, k)


def changes_the_table(table: Tensor, row: int, k: int) -> list[int]:
    table /= table.norm(dim=1, keepdim=True)
    return dot_product(table, row, k)


def whole_rows_as_inputs(rows: Rows, end: int) -> tuple[Rows, Rows]:
    return filled(rows, end, longest(rows)), filled([row[1:] for row in rows], IGNORE, longest(rows) - 1)


def minus_one_for_ignore(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = longest(rows) - 1
    return filled([row[:-1] for row in rows], end, length), filled([row[1:] for row in rows], -1, length)


def targets_first(rows: Rows, end: int) -> tuple[Rows, Rows]:
    inputs, targets = pack_by_columns(rows, end)
    return targets, inputs


def pair_by_pair(rows: Rows, end: int) -> list[tuple[list[int], list[int]]]:
    return list(zip(*pack_by_columns(rows, end), strict=True))


def filled_before_cut(rows: Rows, end: int) -> tuple[Rows, Rows]:
    rows = filled(rows, IGNORE, longest(rows))
    return [row[:-1] for row in rows], [row[1:] for row in rows]


def column_for_pair(vector: list[float], k: int) -> list[float]:
    d_model = len(vector)
    result: list[float] = []
    for column in range(0, d_model, 2):
        angle = k / 10000 ** (2 * column / d_model)
        sine, cosine = vector[column : column + 2]
        result.append(sine * math.cos(angle) + cosine * math.sin(angle))
        result.append(cosine * math.cos(angle) - sine * math.sin(angle))
    return result


def row_taken_out_first(table: Tensor, row: int, k: int) -> list[int]:
    cosine = F.cosine_similarity(table, table[row : row + 1])
    return torch.cat([cosine[:row], cosine[row + 1 :]]).topk(k).indices.tolist()


def all_of_topk(table: Tensor, row: int, k: int) -> tuple[Tensor, Tensor]:
    cosine = F.cosine_similarity(table, table[row : row + 1])
    cosine[row] = -math.inf
    return cosine.topk(k)


def padded_always(rows: Rows, end: int) -> tuple[Rows, Rows]:
    length = max(3, longest(rows) - 1)
    return filled([row[:-1] for row in rows], end, length), filled([row[1:] for row in rows], IGNORE, length)


def ten_positions(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids[:10], upstream[:10], vocab_size)


def half_the_digits(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream.float(), vocab_size)


def upstream_in_place(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    gradient = by_one_hot(ids, upstream, vocab_size)
    upstream *= 0
    return gradient


def no_text_no_rows(ids: Tensor, upstream: Tensor, vocab_size: int) -> Tensor:
    return by_one_hot(ids, upstream, vocab_size) if len(ids) else upstream


def turned_by(vector: list[float], angles: list[float]) -> list[float]:
    result: list[float] = []
    for s, c, a in zip(vector[::2], vector[1::2], angles, strict=True):
        result += [s * math.cos(a) + c * math.sin(a), c * math.cos(a) - s * math.sin(a)]
    return result


def in_degrees(vector: list[float], k: int) -> list[float]:
    return turned_by(vector, [math.radians(k / 10000 ** (i / len(vector))) for i in range(0, len(vector), 2)])


def out_of_radians(vector: list[float], k: int) -> list[float]:
    return turned_by(vector, [math.degrees(k / 10000 ** (i / len(vector))) for i in range(0, len(vector), 2)])


def rounded(vector: list[float], k: int) -> list[float]:
    return [round(number, 3) for number in by_complex_numbers(vector, k)]


def turns_in_place(vector: list[float], k: int) -> list[float]:
    vector[:] = by_complex_numbers(vector, k)
    return vector


def every_twin_left_out(table: Tensor, row: int, k: int) -> list[int]:
    cosine = F.cosine_similarity(table, table[row], dim=1)
    cosine[cosine > 1 - 1e-9] = -math.inf
    return cosine.topk(k).indices.tolist()


def centred_first(table: Tensor, row: int, k: int) -> list[int]:
    return through_cosine_similarity(table - table.mean(dim=0), row, k)


def two_numbers_only(table: Tensor, row: int, k: int) -> list[int]:
    return through_cosine_similarity(table[:, :2], row, k)


ANSWERS = {
    "pack": Answers(
        right=[pack_in_torch, pack_by_columns],
        wrong={
            not_padded: "What fills the end of the short one?",
            one_place_too_long: "asks only 3 questions",
            cut_to_the_shortest: "Which of the rows decides the length?",
            targets_not_shifted: "copy what it reads",
            ignore_in_the_inputs: "no row -100",
            padded_in_front: "You pad in front",
            end_as_target_of_the_padding: "asks for another end",
            every_end_ignored: "How would the model learn to stop?",
            two_places_ahead: "Write [0, 7, 0] on paper",
            zero_for_every_end: "Right for two rows and end 0",
            changes_the_rows: "Can you leave them alone?",
            whole_rows_as_inputs: "differ in length",
            minus_one_for_ignore: "What will it make of -1?",
            targets_first: "in the other order",
            pair_by_pair: "a pair for each row",
            filled_before_cut: "Has the embedding table a row -100?",
            padded_always: "where nothing is to be padded",
        },
    ),
    "embedding_gradient": Answers(
        right=[by_one_hot, by_index_add, by_autograd],
        wrong={
            indices_with_plus: "only its last gradient is left",
            first_place_only: "only its first gradient counts",
            mean_over_the_places: "the mean of its two gradients",
            divided_by_the_length: "the number of positions",
            counted: "how often the token comes",
            transposed: "2 rows and 5 columns",
            rows_read_only: "only the rows that were read",
            row_for_each_place: "a row for each position of the text",
            in_order_of_appearance: "Row by row: which positions read it?",
            at_most_twice: "For the ids [1, 1, 1]",
            ten_positions: "For 50 ids below 7",
            half_the_digits: "Which dtype has your table of zeros?",
            upstream_in_place: "the ids or gradients that came in have changed",
            no_text_no_rows: "no tokens nothing was read",
        },
    ),
    "moved_on": Answers(
        right=[by_complex_numbers, by_reading_each_clock, by_a_matrix],
        wrong={
            turns_back: "you come to position 3",
            one_speed_for_all: "every hand turns by 2 radians",
            half_the_exponent: "i or 2i?",
            adds_the_step: "Is sin(a + b) = sin a + sin b?",
            forgets_the_vector: "does not depend on where you were",
            sines_first: "the first three numbers for sines",
            cosine_before_sine: "have changed places",
            stays: "nothing moves",
            minus_forgotten: "Write out sin(θ + 2)",
            sines_only: "you return 3 numbers",
            place_from_the_first_clock: "Right for position 5 and k = 2",
            column_for_pair: "the first pair is right and another is not",
            in_degrees: "the hands hardly move",
            out_of_radians: "the hands race",
            rounded: "Where do you round?",
            turns_in_place: "the vector that came in has changed",
        },
    ),
    "nearest": Answers(
        right=[through_cosine_similarity, in_plain_python, by_a_mask],
        wrong={
            with_itself: "The nearest to row 0 is row 0 itself",
            dot_product: "wins by its length",
            distance_of_the_tips: "how far apart the tips are",
            farthest_first: "the one with the smallest cosine?",
            sign_lost: "Is a cosine of nearly -1 near?",
            from_the_back: "which of them is the nearest?",
            the_cosines: "no rows but how near they are",
            itself_set_to_zero: "all cosines are below 0",
            always_three: "Asked were k = 3 rows",
            divided_by_the_squared_length: "The cosines of row 0 with rows 1 to 6 are",
            row_zero: "Which row does your function compare?",
            changes_the_table: "Can you work on a copy?",
            row_taken_out_first: "You took row 0 out",
            all_of_topk: "all that topk gives",
            first_of_the_best_left_out: "How do you tell which one?",
            every_twin_left_out: "and another that counts",
            centred_first: "You shift the rows first",
            two_numbers_only: "For 20 rows of five numbers",
        },
    ),
}
