"""One step of training: what is compiled, what is freed, how often the processor waits."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minigpt.config import IGNORE, GPTConfig, TrainConfig
from minigpt.model.gpt import GPT
from minigpt.training.step import Batch, ModelWithLoss, Stepper

SHAPE = GPTConfig(vocab_size=50, context_length=64, n_layers=3, n_heads=2, d_model=16)
CPU = torch.device("cpu")


def batch(rows: int, width: int) -> Batch:
    ids = torch.randint(SHAPE.vocab_size, (rows, width + 1), generator=torch.Generator().manual_seed(width))
    return Batch(ids[:, :-1], ids[:, 1:], rows * width)


def loss_and_gradients(network: ModelWithLoss, one: Batch) -> tuple[Tensor, list[Tensor]]:
    loss = network(one.inputs, one.targets, torch.tensor(float(one.n_targets)))
    return loss, list(torch.autograd.grad(loss, list(network.parameters())))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_only_where_a_target_counts_give_the_same_loss_and_gradients(share: float, tied: bool) -> None:
    torch.manual_seed(0)
    network = ModelWithLoss(GPT(replace(SHAPE, tie_embeddings=tied)).double(), CPU, "float32")
    one = batch(4, 30)
    one = replace(one, targets=one.targets.masked_fill(torch.rand(4, 30) >= share, IGNORE))
    loss, gradients = loss_and_gradients(network, one)
    network.counted_only = True
    fewer, alike = loss_and_gradients(network, one)
    torch.testing.assert_close(fewer, loss, rtol=1e-12, atol=0)
    for ours, theirs in zip(alike, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    logits, targets = network.outputs(one.inputs, one.targets)
    n = int((one.targets != IGNORE).sum())
    assert logits.shape[:2] == targets.shape == (1, n)
    assert logits.isfinite().sum() == n * 50


@pytest.mark.parametrize("common", [0, 20])
def test_what_neighbours_begin_with_is_read_once_and_their_log_probabilities_are_the_same(common: int) -> None:
    torch.manual_seed(0)
    network = ModelWithLoss(GPT(SHAPE).double(), CPU, "float32")
    one = batch(4, 30)
    one.inputs[1::2, :common] = one.inputs[0::2, :common]
    targets = one.targets.masked_fill(torch.rand(4, 30) < 0.2, IGNORE)
    targets[:, -1] = 0
    found: list[Tensor] = []
    read: list[torch.Size] = []
    first: Any = network.model.blocks[0]
    first.attention.qkv.register_forward_hook(lambda module, inputs, output: read.append(output.shape))
    for network.counted_only in (False, True):
        table = network.log_probabilities(one.inputs, targets)
        weights = torch.linspace(-1, 2, 120, dtype=torch.float64).view(4, 30)
        found += [table, *torch.autograd.grad((weights * table).sum(), list(network.parameters()))]
    half = len(found) // 2
    for ours, theirs in zip(found[half:], found[:half], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    assert read[1][:2] == ((2, 40) if common else (4, 30))


def test_a_run_on_a_cpu_computes_only_those_and_a_compiled_one_all() -> None:
    for compile in (False, True):
        stepper = Stepper(GPT(SHAPE), TrainConfig(compile=compile, batch_size=4), CPU, "float32")
        assert stepper.network.counted_only == (not compile or stepper.compiler_problem is not None)


TRACED = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # by torch itself


@TRACED
@pytest.mark.parametrize("positions", ["learned", "rope"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_model_and_loss_are_one_graph_and_two_translations_serve_all_widths(positions: Any, precision: Any) -> None:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=50, context_length=64, n_layers=3, n_heads=2, d_model=16, positions=positions)
    network = ModelWithLoss(GPT(config), CPU, precision)
    graphs: list[Any] = []
    torch._dynamo.reset()

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(network, backend=backend, fullgraph=True)
    for width in (40, 33, 51, 29, 64, 2):
        one = batch(4, width)
        n = torch.tensor(float(one.n_targets))
        torch.testing.assert_close(compiled(one.inputs, one.targets, n), network(one.inputs, one.targets, n))
    assert len(graphs) == 2, "one for the first width, and one for all others"


@TRACED
def test_one_translation_of_a_block_serves_all_blocks() -> None:
    torch.manual_seed(0)
    model = GPT(SHAPE)
    graphs: list[Any] = []
    torch._dynamo.reset()

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    for block in model.blocks:
        block.compile(backend=backend, fullgraph=True, dynamic=True)
    model(batch(2, 9).inputs)
    assert len(graphs) == 1


class Waits(TorchDispatchMode):
    """Counts the operations for which a processor would have to wait for its GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default", "_to_copy_cpu")
        self.count += any(name in str(func) for name in names)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_waits_once(optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stepper = Stepper(GPT(SHAPE), TrainConfig(optimizer=optimizer, accumulate=2, batch_size=4), CPU, "float32")
    stepper.network.counted_only = False  # type: ignore[assignment]  # as on a GPU
    lists: list[Tensor] = []
    to_list = Tensor.tolist

    def count(tensor: Tensor) -> Any:
        lists.append(tensor)
        return to_list(tensor)

    monkeypatch.setattr(Tensor, "tolist", count)
    stepper(batch(4, 8), 0)  # makes the optimisers' state
    lists.clear()
    with Waits() as waits:
        stepper(batch(4, 8), 1)
    assert waits.count == 0 and len(lists) == 1, "loss and norm together"


def test_the_logits_are_gone_before_the_backward_pass() -> None:
    """The one table that backward needs is the log-softmax's; logits beside it would double the largest tensor."""
    network = ModelWithLoss(GPT(SHAPE), CPU, "float32")
    one = batch(4, 16)
    alive: list[int] = []

    class Tables(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **kwargs or {})
            if isinstance(out, Tensor) and out.numel() == 4 * 16 * SHAPE.vocab_size and "view" not in str(func):
                storage = out.untyped_storage()
                if storage._cdata not in seen:
                    seen[storage._cdata] = torch.multiprocessing.reductions.StorageWeakRef(storage)
            return out

    seen: dict[int, Any] = {}
    with Tables():
        loss = network(one.inputs, one.targets, torch.tensor(64.0))
    alive.append(sum(not reference.expired() for reference in seen.values()))
    assert loss.requires_grad and alive == [1]
