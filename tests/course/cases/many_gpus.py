"""Answers to the exercises of lesson 12."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from tests.course.cases import Answers

Held = list[list[float]]


def by_chunk(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch.chunk(world_size)[rank]


def by_view(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch.view(world_size, -1, batch.size(1))[rank]


def by_a_mask(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[torch.arange(len(batch)) * world_size // len(batch) == rank]


def whole_batch(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch


def columns(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch.chunk(world_size, dim=1)[rank]


def dealt_like_cards(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[rank::world_size]


def counted_from_one(batch: Tensor, rank: int, world_size: int) -> Tensor:
    share = len(batch) // world_size
    return batch[(rank - 1) * share : rank * share]


def always_the_first(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[: len(batch) // world_size]


def as_many_as_processes(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[rank * world_size : (rank + 1) * world_size]


def one_row_too_many(batch: Tensor, rank: int, world_size: int) -> Tensor:
    share = len(batch) // world_size
    return batch[rank * share : (rank + 1) * share + 1]


def moved_by_rank(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[rank : rank + len(batch) // world_size]


def numbers_of_rows(batch: Tensor, rank: int, world_size: int) -> Any:
    share = len(batch) // world_size
    return list(range(rank * share, (rank + 1) * share))


def only_for_two_rows(batch: Tensor, rank: int, world_size: int) -> Tensor:
    return batch[2 * rank : 2 * rank + 2]


def marked(batch: Tensor, rank: int, world_size: int) -> Tensor:
    share = len(batch) // world_size
    mine = batch[rank * share : (rank + 1) * share].clone()
    batch[rank * share : (rank + 1) * share] = -1  # these are taken
    return mine


def sum_over_all(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return world_size * (mean_loss * n_mine) / n_all


def share_of_a_fair_share(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * (n_mine / (n_all / world_size))


def mean_of_means(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss


def without_ddp(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * n_mine / n_all


def divided_once_more(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * n_mine / n_all / world_size


def sum_of_costs(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * n_mine


def sum_of_costs_for_ddp(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * n_mine * world_size


def mean_taken_for_a_sum(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss / n_all * world_size


def all_count_the_same(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * world_size


def upside_down(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * n_all / n_mine * world_size


def whole_division(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return mean_loss * (n_mine // n_all) * world_size


def without_history(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    return float(mean_loss) * n_mine / n_all * world_size


def in_place_for_ddp(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    mean_loss *= n_mine / n_all * world_size
    return mean_loss


def half_of_its_history(mean_loss: float, n_mine: int, n_all: int, world_size: int) -> float:
    part = mean_loss * n_mine / n_all
    return part + float(part) * (world_size - 1)


def by_messages(held: Held, step: int) -> Held:
    n = len(held)
    messages = [((r + 1 - step) % n, held[r][(r + 1 - step) % n]) for r in range(n)]
    after = deepcopy(held)
    for r in range(n):
        chunk, value = messages[r - 1]
        after[r][chunk] = value
    return after


def by_asking_who_sends_it(held: Held, step: int) -> Held:
    n = len(held)
    return [[held[r - 1][c] if (c + step - r) % n == 0 else held[r][c] for c in range(n)] for r in range(n)]


def by_tensor(held: Held, step: int) -> Tensor:
    after = torch.tensor(held)
    n = len(held)
    senders = torch.arange(n)
    chunks = (senders + 1 - step) % n
    after[(senders + 1) % n, chunks] = torch.tensor(held)[senders, chunks]
    return after


def _sent(held: Held, step: int, start: int = 1, direction: int = 1, turn: int = -1, add: bool = False) -> Held:
    n, after = len(held), deepcopy(held)
    for r in range(n):
        chunk, to = (r + start + turn * step) % n, (r + direction) % n
        after[to][chunk] = held[r][chunk] + (held[to][chunk] if add else 0)
    return after


def added(held: Held, step: int) -> Held:
    return _sent(held, step, add=True)


def to_the_left(held: Held, step: int) -> Held:
    return _sent(held, step, direction=-1)


def own_number_first(held: Held, step: int) -> Held:
    return _sent(held, step, start=0)


def numbers_rise(held: Held, step: int) -> Held:
    return _sent(held, step, turn=1)


def always_the_same_chunk(held: Held, step: int) -> Held:
    return _sent(held, step, turn=0)


def everything_at_once(held: Held, step: int) -> Held:
    n = len(held)
    return [[held[(c - 1) % n][c] for c in range(n)] for _ in range(n)]


def in_place(held: Held, step: int) -> Held:
    n, after = len(held), list(held)
    for r in range(n):
        after[(r + 1) % n][(r + 1 - step) % n] = held[r][(r + 1 - step) % n]
    return after


def not_round(held: Held, step: int) -> Held:
    after = deepcopy(held)
    for r in range(len(held)):
        after[r + 1][r + 1 - step] = held[r][r + 1 - step]
    return after


def moved(held: Held, step: int) -> Any:
    n = len(held)
    after: list[list[float | None]] = [[*chunks] for chunks in held]
    for r in range(n):
        chunk = (r + 1 - step) % n
        after[r][chunk] = None
    for r in range(n):
        chunk = (r + 1 - step) % n
        after[(r + 1) % n][chunk] = held[r][chunk]
    return after


def nothing_arrives(held: Held, step: int) -> Held:
    return deepcopy(held)


def only_for_four(held: Held, step: int) -> Held:
    n, after = len(held), deepcopy(held)
    for r in range(n):
        after[(r + 1) % n][(r + 1 - step) % 4 % n] = held[r][(r + 1 - step) % 4 % n]
    return after


def from_a_list(parameters: float, n: int, stage: int) -> float:
    kinds = [12, 4, 2]  # in the order in which they are shared
    return parameters * (sum(kinds[:stage]) / n + sum(kinds[stage:]))


def what_is_saved(parameters: float, n: int, stage: int) -> float:
    shared = (0, 12, 16, 18)[stage]
    return parameters * 18 - parameters * shared * (n - 1) / n


def everything_divided(parameters: float, n: int, stage: int) -> float:
    return parameters * 18 / n


def all_gpus_together(parameters: float, n: int, stage: int) -> float:
    return from_a_list(parameters, n, stage) * n


def without_the_copy(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([8, 4, 2][:stage]) / n + sum([8, 4, 2][stage:]))


def short_gradients(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([12, 2, 2][:stage]) / n + sum([12, 2, 2][stage:]))


def in_gigabytes(parameters: float, n: int, stage: int) -> float:
    return from_a_list(parameters, n, stage) / 1e9


def all_from_stage_one(parameters: float, n: int, stage: int) -> float:
    return parameters * 18 / (n if stage else 1)


def averages_alone(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([8, 4, 6][:stage]) / n + sum([8, 4, 6][stage:]))


def weights_first(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([2, 4, 12][:stage]) / n + sum([2, 4, 12][stage:]))


def gradients_first(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([4, 12, 2][:stage]) / n + sum([4, 12, 2][stage:]))


def weights_second(parameters: float, n: int, stage: int) -> float:
    return parameters * (sum([12, 2, 4][:stage]) / n + sum([12, 2, 4][stage:]))


def one_kind_a_stage(parameters: float, n: int, stage: int) -> float:
    kinds = {1: 12.0, 2: 4.0, 3: 2.0}
    shared = kinds.get(stage, 0.0)
    return parameters * (18 - shared + shared / n)


def weights_never(parameters: float, n: int, stage: int) -> float:
    return from_a_list(parameters, n, min(stage, 2))


def one_stage_late(parameters: float, n: int, stage: int) -> float:
    return from_a_list(parameters, n, max(stage - 1, 0))


def always_eight(parameters: float, n: int, stage: int) -> float:
    return from_a_list(parameters, 8, stage)


def whole_gpus(parameters: float, n: int, stage: int) -> float:
    kinds = [12, 4, 2]
    return parameters * sum(kinds[:stage]) // n + parameters * sum(kinds[stage:])


ANSWERS = {
    "my_rows": Answers(
        right=[by_chunk, by_view, by_a_mask],
        wrong={
            whole_batch: "the whole batch",
            columns: "cuts every story into three pieces",
            dealt_like_cards: "like cards",
            counted_from_one: "Rank 0 gets no rows",
            always_the_first: "Where does the rank come in?",
            as_many_as_processes: "as many rows as there are processes",
            moved_by_rank: "rows [1, 2] of 6. Where do the rows of rank 0 end?",
            numbers_of_rows: "not the rows themselves",
            only_for_two_rows: "which rows are missing?",
            marked: "has changed",
        },
    ),
    "loss_for_ddp": Answers(
        right=[sum_over_all, share_of_a_fair_share],
        wrong={
            mean_of_means: "the mean of the means",
            without_ddp: "What will DDP still do",
            divided_once_more: "without being asked",
            sum_of_costs: "That is the sum of the costs",
            sum_of_costs_for_ddp: "Multiplied for DDP, and a sum of costs",
            mean_taken_for_a_sum: "5 is a mean already",
            all_count_the_same: "every process counts the same",
            upside_down: "the right way round",
            whole_division: "3 // 10 is 0",
            without_history: "without its history",
            in_place_for_ddp: "has changed with your result",
            half_of_its_history: "its slope is not",
        },
    ),
    "gather_step": Answers(
        right=[by_messages, by_asking_who_sends_it, by_tensor],
        wrong={
            added: "These sums are finished",
            to_the_left: "Who is the right neighbour",
            own_number_first: "Which chunk of process 0 is finished",
            numbers_rise: "receive from process 3 in the step before",
            always_the_same_chunk: "has had that one since step 0",
            everything_at_once: "how many can change?",
            in_place: "lists you were given have changed",
            not_round: "IndexError",
            moved: "what does the sender keep?",
            nothing_arrives: "nobody holds anything new",
            only_for_four: "somebody lacks a finished chunk",
        },
    ),
    "bytes_per_gpu": Answers(
        right=[from_a_list, what_is_saved],
        wrong={
            everything_divided: "What is shared at stage 0?",
            all_gpus_together: "what all GPUs hold together",
            without_the_copy: "what does AdamW keep in float32?",
            in_gigabytes: "In which unit",
            all_from_stage_one: "That shares everything",
            short_gradients: "if gradients are added up in float32",
            averages_alone: "That shares 8 of the 18 bytes",
            weights_first: "That shares 2 of the 18 bytes",
            gradients_first: "That shares 4 of the 18 bytes",
            weights_second: "Which of the two does stage 2 share?",
            one_kind_a_stage: "Does it give up what stage 1 has shared?",
            weights_never: "nothing is kept by all any more",
            one_stage_late: "As much as at stage 0",
            always_eight: "For 3 parameters on 3 GPUs at stage 1",
            whole_gpus: "For 3 parameters on 5 GPUs at stage 3",
        },
    ),
}
