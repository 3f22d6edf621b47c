"""One step of training: the gradient of a global batch, clipped, and one update of every parameter."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minigpt import runtime
from minigpt.config import IGNORE, GPTConfig, InputError, TrainConfig
from minigpt.model.counted import Pairs, hidden_states_at, hidden_states_of_pairs, logits_of
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.runtime import rank, world_size
from minigpt.text.tokenizer import Tokenizer
from minigpt.training.muon import Muon
from minigpt.training.optim import learning_rate_at, make_optimizers, set_learning_rate
from minigpt.training.parts import Part, Sums, added, backward_in_threads, in_parts, shortest_first
from minigpt.training.shard import shard, whole

MAX_SKIPPED = 10
"""So many steps in a row without a finite gradient end a run."""


@dataclass(frozen=True)
class Batch:
    """This process's rows of a global batch, and how large the whole is."""

    inputs: Tensor
    """(B, T)."""
    targets: Tensor
    """(B, T)."""
    n_targets: int
    """Targets that count, in the global batch."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """What an objective's loss needs besides: tensors (B, …), a row for each of inputs."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What was measured while an objective made the global batch."""


class Objective(Protocol):
    """What a run lowers in place of the loss of the next token, and the batches that this is computed from.

    The model is then trained without dropout: its log-probabilities are compared with those that it was sampled with,
    and with a reference's.
    """

    spec: dict[str, Any]
    """What a run writes down, so that it goes on with the same objective; its "options" may change on the way."""
    kept: dict[str, Tensor]
    """What a checkpoint keeps of it besides the weights; the same on every process."""

    def check_fit(self, model: GPTConfig, config: TrainConfig, tokenizer: Tokenizer) -> None:
        """Raise InputError where it cannot work with this model, recipe and tokenizer."""

    def batch(self, model: GPT, step: int, config: TrainConfig) -> Batch:
        """The global batch of a step, the same on every process; a function of the step and the weights.

        Where its n_targets is 0 there is nothing to learn from, and the step changes nothing.
        """

    def loss(self, log_probabilities: Tensor, extra: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar, and measures (scalars), of some rows of a batch; those of all rows add up to the batch's.

        Args:
            log_probabilities: (B, T), of the targets; 0 where a target does not count.
            extra: these rows of the batch's.
        """

    def check(self, measures: Mapping[str, float], step: int) -> None:
        """Raise InputError when the run must end before this step (0 is the first) changes anything."""


@dataclass(frozen=True)
class Update:
    """What a step did."""

    loss: float
    """Mean over the global batch, before the update."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    """Fraction of the peak."""
    done: bool
    """False when the gradient was not finite, or there was nothing to learn from, so that nothing changed."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What an objective measured."""


class ModelWithLoss(nn.Module):
    """The model and its loss as one module: compiled as a whole, it never holds the logits longer than it must.

    With `counted_only` it computes logits only where a target counts and, where these are few, most of the last block:
    of a chat that is a twentieth, and in a small model the two are half of the work. The loss is the same. For an
    objective, which knows no dropout, it reads what neighbouring rows begin with only once.
    """

    def __init__(self, model: GPT, device: torch.device, precision: runtime.Precision) -> None:
        super().__init__()
        self.model, self.device, self.precision = model, device, precision
        self.loss = next_token_loss
        self.counted_only = False

    def forward(self, inputs: Tensor, targets: Tensor, n_targets: Tensor) -> Tensor:
        """The sum of the losses at `targets` (B, T), divided by n_targets (a scalar): a scalar."""
        return self.loss(*self.outputs(inputs, targets), n_targets)

    def outputs(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their targets: (B, T, V) and (B, T), or with `counted_only` (1, n, V or more) and (1, n)."""
        with runtime.autocast(self.device, self.precision):
            if not self.counted_only:
                return self.model(inputs), targets
            counted = targets != IGNORE
            places = counted.flatten().nonzero().squeeze(1)
            if 0 < 2 * len(places) < counted.numel():
                hidden = hidden_states_at(self.model, inputs, counted)
            else:
                hidden = self.model.hidden_states(inputs).flatten(0, 1).index_select(0, places)
            return logits_of(self.model, hidden)[None], targets.flatten()[None, places]

    def log_probabilities(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Of each target, in nats: (B, T); 0 where a target does not count."""
        asked = targets != IGNORE
        if self.counted_only and len(inputs) % 2 == 0 and (pairs := Pairs.of(inputs, asked)).save_much():
            with runtime.autocast(self.device, self.precision):
                hidden, index = hidden_states_of_pairs(self.model, inputs, asked, pairs)
                logits = logits_of(self.model, hidden)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            found = logits.log_softmax(dim=-1)[index, targets[asked]]
            return found.new_zeros(targets.shape).masked_scatter(asked, found)
        logits, counted = self.outputs(inputs, targets)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        found = -F.cross_entropy(logits.flatten(0, 1), counted.flatten(), ignore_index=IGNORE, reduction="none")
        if self.counted_only:
            found = found.new_zeros(targets.shape).masked_scatter(asked, found)
        return found.view(targets.shape)


class ModelWithObjective(ModelWithLoss):
    """The model and an objective as one module."""

    def __init__(self, model: GPT, device: torch.device, precision: runtime.Precision, objective: Objective) -> None:
        super().__init__(model, device, precision)
        self.objective = objective

    def forward(  # type: ignore[override]
        self, inputs: Tensor, targets: Tensor, extra: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What `Objective.loss` gives."""
        return self.objective.loss(self.log_probabilities(inputs, targets), extra)


class Stepper:
    """Takes the steps of a run. What a checkpoint keeps of it: `optimizers`, `loss_scale`, `good_steps`, `skipped`.

    Args:
        model: on `device`.
        config: the recipe.
        device: where this process computes.
        precision: of the matrix products.
        objective: in place of the loss of the next token.
    """

    def __init__(
        self,
        model: GPT,
        config: TrainConfig,
        device: torch.device,
        precision: runtime.Precision,
        objective: Objective | None = None,
    ) -> None:
        self.model, self.config, self.device, self.precision = model, config, device, precision
        # float16 has no numbers below 6e-8, so gradients are taken of a larger loss (Micikevicius et al. 2018, 3.2).
        self.loss_scale = 2.0**16 if precision == "float16" else 1.0
        self.good_steps = 0  # since that scale last had to be halved
        self.skipped = 0  # steps in a row
        self.objective = objective
        self.sharded = config.shard and world_size() > 1
        # What a step calls; it has the model's own parameters.
        network = ModelWithLoss(model, device, precision)
        if objective is not None:
            network = ModelWithObjective(model, device, precision, objective)
        # Not every machine has what torch.compile needs, and nobody should lose a run over that.
        self.compiler_problem = runtime.compiler_problem(device) if config.compile else None
        compile = config.compile and not self.compiler_problem
        self.network: nn.Module = self._compiled(network) if compile else network
        # A GPU would wait to learn how many count, and shards are gathered only for the model's whole forward pass.
        network.counted_only = device.type == "cpu" and not compile and not self.sharded
        self.with_loss = network
        if self.sharded:
            shard(model)
        self.optimizers = make_optimizers(model, config, device)
        if world_size() > 1 and not self.sharded:
            # Views of the buckets: otherwise every gradient is copied once more.
            self.network = DistributedDataParallel(self.network, gradient_as_bucket_view=True)

    def _compiled(self, network: ModelWithLoss) -> nn.Module:
        """Translated whole; for several processes block by block, so that gradients leave while others are made."""
        if world_size() == 1:
            return torch.compile(network)  # type: ignore[return-value]
        for block in self.model.blocks:
            block.compile()
        network.loss = torch.compile(network.loss)
        return network

    @property
    def muon_precision(self) -> str | None:
        """The arithmetic of Muon's orthogonalisation; None without Muon."""
        muon = self.optimizers.get("muon")
        return str(muon.dtype).removeprefix("torch.") if isinstance(muon, Muon) else None

    @muon_precision.setter
    def muon_precision(self, name: str) -> None:
        if isinstance(muon := self.optimizers.get("muon"), Muon):
            muon.dtype = getattr(torch, name)

    def __call__(self, batch: Batch, step: int) -> Update:
        """Take step number `step` (0 is the first).

        Raises:
            InputError: when the GPU's memory does not suffice, training diverges, or an objective ends it.
        """
        fraction = learning_rate_at(step, self.config)
        set_learning_rate(self.optimizers, fraction)
        if not batch.n_targets:
            if self.objective is not None:
                self.objective.check(batch.measures, step)
            return Update(0.0, 0.0, fraction, False, batch.measures)
        try:
            sums = self.backward(batch, step)
        except RuntimeError as error:
            if not runtime.is_out_of_memory(error):
                raise
            rows, parts = batch.inputs.size(0) // self.config.accumulate, 2 * self.config.accumulate
            smaller = f"--accumulate {parts} takes {rows // 2} at a time and gives the same gradient"
            raise InputError(
                f"{rows} sequences at a time do not fit into the memory of {self.device}: "
                + (smaller if rows % 2 == 0 else "choose a smaller model, batch_size or context_length")
            ) from None
        parameters = list(self.model.parameters())
        # Across processes torch takes the mean of their gradients, and the whole's is the sum.
        if (factor := world_size() / self.loss_scale) != 1:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)
        norm = whole(nn.utils.clip_grad_norm_(parameters, self.config.grad_clip or math.inf))
        # The one time in a step that the processor waits for the GPU.
        summed = runtime.sum_over_processes(torch.stack(list(sums.values())))
        norm, *values = torch.cat([norm.double()[None], summed]).tolist()
        measures = dict(zip(sums, values, strict=True))
        loss = measures.pop("loss")
        measures = {**batch.measures, **measures}
        if self.objective is not None:
            self.objective.check(measures, step)
        done = math.isfinite(norm) and math.isfinite(loss)  # the same on every process, which all hold the sums
        for optimizer in self.optimizers.values():
            if done:  # otherwise no weight, and so no checkpoint, is ever spoiled
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._count_skipped(done, step, loss, norm)
        return Update(loss, norm, fraction, done, measures)

    def backward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave the global batch's gradient in every parameter.

        Returns:
            this process's part of the loss, as "loss", and of what an objective measures: scalars in float64.
        """
        self.model.train(self.objective is None)
        # Dropout, too, is a function of the step: nothing about it needs to be saved.
        seeds = np.random.SeedSequence((self.config.seed, step, rank())).generate_state(1, np.uint64)
        torch.manual_seed(int(seeds[0]))
        n_targets = torch.tensor(float(batch.n_targets), device=self.device)  # a plain number would be compiled in
        everything, rows = (batch.inputs, batch.targets, *batch.extra.values()), len(batch.inputs)

        def loss_of(part: Part) -> tuple[Tensor, Sums]:
            x, y, *others = (tensor.to(self.device, non_blocking=True) for tensor in part)
            # Divided by the targets of the whole global batch: the parts' gradients then add up to its gradient.
            if self.objective is None:
                loss, measures = self.network(x, y, n_targets), {}
            else:
                loss, measures = self.network(x, y, dict(zip(batch.extra, others, strict=True)))
            found = {"loss": loss, **measures}
            return loss * self.loss_scale, {name: value.detach().double() for name, value in found.items()}

        if self.with_loss.counted_only:
            if self.objective is None:
                everything = shortest_first(everything)
            parts = in_parts(everything, rows // self.config.accumulate, self.sharing_threads)
        else:
            parts = list(zip(*(column.chunk(self.config.accumulate) for column in everything), strict=True))
        if self.sharing_threads > 1 and len(parts) > 1:
            learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            return backward_in_threads(loss_of, parts, learned, self.sharing_threads)
        sums: Sums = {}
        for number, part in enumerate(parts, start=1):
            with contextlib.ExitStack() as stack:
                if isinstance(self.network, DistributedDataParallel) and number < len(parts):
                    stack.enter_context(self.network.no_sync())  # the processes exchange gradients once a step
                loss, more = loss_of(part)
                loss.backward()
            sums = added(sums, more)
        return sums

    @property
    def sharing_threads(self) -> int:
        """How many share a batch: those of one process on a CPU, where nothing is drawn on the way."""
        alone = self.with_loss.counted_only and world_size() == 1
        return torch.get_num_threads() if alone and (self.objective or not self.model.config.dropout) else 1

    def _count_skipped(self, done: bool, step: int, loss: float, norm: float) -> None:
        """Adapt the scale of float16's loss, and give up after too many steps without a finite gradient."""
        # A step that only found the scale too large says nothing about the model.
        self.skipped = 0 if done else self.skipped + (self.loss_scale <= 1)
        if self.precision == "float16":
            self.good_steps = self.good_steps + 1 if done else 0
            if not done:
                self.loss_scale /= 2
            elif self.good_steps % 2000 == 0:
                self.loss_scale *= 2
        if self.skipped == MAX_SKIPPED:
            first = step + 1 - MAX_SKIPPED
            raise InputError(
                f"training diverged: the loss or the gradient was not finite in steps {first + 1} to {step + 1} "
                f"(batches {first} to {step} of seed {self.config.seed}; now loss {loss:.4g}, gradient norm "
                f"{norm:.4g}), and none of them changed the model. Choose a smaller learning_rate, a longer warm-up or "
                "another precision: in a new run, or with --resume from the newest checkpoint. If that diverges at "
                "once, its weights are spoiled already: delete its folder, and --resume takes the one before"
            )
