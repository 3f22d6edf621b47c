"""A batch in parts: every row once, no pair apart, and the same gradient however many threads share them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from minigpt.config import IGNORE, GPTConfig, TrainConfig
from minigpt.model.gpt import GPT
from minigpt.training.parts import AT_ONCE, Part, Sums, added, backward_in_threads, in_parts, shares, shortest_first
from minigpt.training.step import Batch, Stepper


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows_of(lengths: list[int], width: int) -> Part:
    """Targets count up to each row's length; a third tensor has the rows' numbers."""
    targets = torch.randint(0, 9, (len(lengths), width), generator=torch.Generator().manual_seed(0))
    for row, length in enumerate(lengths):
        targets[row, length:] = IGNORE
    return torch.zeros_like(targets), targets, torch.arange(len(lengths))[:, None]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 24])
def test_parts_have_every_row_once_and_no_column_for_nothing(n: int, threads: int) -> None:
    width = AT_ONCE // 8
    lengths = [1 + (7 * i) % width for i in range(n)]
    batch = rows_of(lengths, width)
    parts = in_parts(batch, n, threads)
    assert torch.cat([numbers for *_, numbers in parts])[:, 0].tolist() == list(range(n))
    for inputs, targets, numbers in parts:
        assert inputs.shape == targets.shape == (len(numbers), max(lengths[int(i)] for i in numbers))
        assert len(numbers) <= 8 and torch.equal(targets, batch[1][numbers[:, 0], : targets.size(1)])
    assert all(len(numbers) % 2 == 0 for *_, numbers in parts[:-1] if n > 1)


def test_parts_are_as_many_for_each_thread_and_no_larger_than_asked() -> None:
    assert [len(part[0]) for part in in_parts(rows_of([5] * 24, AT_ONCE // 8), 24, 2)] == [6, 6, 6, 6]
    assert [len(part[0]) for part in in_parts(rows_of([5] * 24, 5), 24)] == [24]
    assert [len(part[0]) for part in in_parts(rows_of([5] * 24, 5), 6)] == [6, 6, 6, 6]
    assert [len(part[0]) for part in in_parts(rows_of([5] * 4, 2 * AT_ONCE), 4)] == [2, 2]
    (empty,) = in_parts(rows_of([0], 5), 1)
    assert empty[0].shape == (1, 1)


def test_rows_that_end_alike_come_together() -> None:
    inputs, targets, numbers = shortest_first(rows_of([3, 1, 0, 5, 3, 5], 5))
    assert numbers[:, 0].tolist() == [2, 1, 0, 4, 3, 5]
    assert (targets != IGNORE).sum(dim=1).tolist() == [0, 1, 3, 3, 5, 5]
    assert inputs.shape == targets.shape


def test_threads_get_every_part_once_and_as_much_to_do() -> None:
    parts: list[Part] = [(torch.full((1, 1), n),) for n in range(8)]
    numbers = [[int(part[0]) for part in share] for share in shares(parts, 2)]
    assert numbers == [[0, 4, 3, 7], [1, 5, 2, 6]]
    assert [[int(part[0]) for part in share] for share in shares(parts[:2], 3)] == [[0], [1]]


def test_threads_leave_the_sum_of_all_gradients(two_threads: None) -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    parts: list[Part] = [(torch.tensor([[float(i), 1.0]]), torch.ones(1, 2)) for i in range(5)]

    def loss_of(part: Part) -> tuple[Tensor, Sums]:
        loss = (weight.square() * part[0]).sum()
        return loss, {"loss": loss.detach(), "parts": torch.ones(())}

    sums = backward_in_threads(loss_of, parts, [weight], 2)
    assert weight.grad is not None
    assert weight.grad.tolist() == [2 * 10, 4 * 5] and sums == {"loss": 10 + 4 * 5, "parts": 5}
    assert added({}, {"a": torch.ones(())}) == {"a": 1}


def test_a_gradient_lies_in_memory_as_its_parameter_does(two_threads: None) -> None:
    weight = nn.Parameter(torch.arange(6.0).view(2, 3))

    def loss_of(part: Part) -> tuple[Tensor, Sums]:
        loss = (weight.t().contiguous() * part[0]).square().sum()
        return loss, {"loss": loss.detach()}

    backward_in_threads(loss_of, [(torch.ones(3, 2),)] * 2, [weight], 2)
    assert weight.grad is not None and weight.grad.stride() == weight.stride()
    assert torch.equal(weight.grad, 4 * weight)


def test_a_mistake_in_a_thread_is_raised(two_threads: None) -> None:
    def broken(part: Part) -> tuple[Tensor, Sums]:
        raise ValueError("of the part")

    with pytest.raises(ValueError, match="of the part"):
        backward_in_threads(broken, [(torch.ones(1, 1),)] * 2, [], 2)


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_in_threads_has_the_gradient_of_one(tied: bool, two_threads: None) -> None:
    shape = GPTConfig(vocab_size=9, context_length=AT_ONCE // 4, n_layers=2, n_heads=2, d_model=8, tie_embeddings=tied)
    inputs, targets, _ = rows_of([5, 9, 300, 12, 80, 3, 40, 200], shape.context_length)
    batch = Batch(inputs, targets, int((targets != IGNORE).sum()))
    found = []
    for threads in (1, 2, 2):
        torch.manual_seed(0)
        stepper = Stepper(GPT(shape).double(), TrainConfig(batch_size=8), torch.device("cpu"), "float32")
        torch.set_num_threads(threads)
        assert stepper.sharing_threads == threads
        sums = stepper.backward(batch, 0)
        found.append([sums["loss"], *(p.grad for p in stepper.model.parameters() if p.grad is not None)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
    assert all(map(torch.equal, found[1], found[2]))
    drops = Stepper(GPT(GPTConfig(vocab_size=9, n_heads=1, d_model=8, dropout=0.1)), TrainConfig(), CPU, "float32")
    assert drops.sharing_threads == 1


CPU = torch.device("cpu")
