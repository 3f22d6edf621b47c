"""What a run is made of: the shape of the model, how it is trained, and named presets of both."""

import math
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from numbers import Integral
from typing import Any, Literal, get_args

IGNORE = -100
"""Target of a position that does not count, such as padding; what torch's cross_entropy ignores by default."""


class InputError(ValueError):
    """Bad input. The message names the value, the limit and the remedy; the command line prints it and exits with 2."""


def _raise_all(what: str, problems: list[str]) -> None:
    """One message for everything that is wrong, so that nobody fixes a config one error at a time."""
    if problems:
        raise InputError(f"{what} cannot work:\n" + "\n".join(f"  - {problem}" for problem in problems))


Positions = Literal["learned", "rope"]
Norm = Literal["layernorm", "rmsnorm"]
Activation = Literal["gelu", "swiglu"]

MOST_LAYERS = 1000
"""As deep as DeepNet (Wang et al. 2022). A damaged file that asks for a billion would build for ever."""


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2's smallest model (Radford et al. 2019, table 2).

    Raises:
        InputError: listing every problem at once.
    """

    vocab_size: int = 50257
    """Number of different tokens."""
    context_length: int = 1024
    """Longest sequence in tokens."""
    n_layers: int = 12
    """Number of Transformer blocks."""
    n_heads: int = 12
    """Attention heads in each block; must divide d_model."""
    d_model: int = 768
    """Width of the residual stream: the length of the vector that stands for one token."""
    d_ff: int = 0
    """Width inside the feed-forward network; 0 means 4 * d_model, as in the papers, with swiglu two thirds of it."""
    dropout: float = 0.0
    """Share of activations set to zero while training."""
    bias: bool = True
    """Whether linear layers and LayerNorms have a bias, as in GPT-2."""
    tie_embeddings: bool = True
    """Whether the output layer reuses the token embedding's matrix (Press and Wolf 2017), as in GPT-2."""
    positions: Positions = "learned"
    """learned: a vector for each place, as in GPT-2; rope: queries and keys turned by their place (Su et al. 2021)."""
    rope_base: float = 10000.0
    """With positions rope: pair i of a head turns by rope_base^(-2 i / head size) radians from place to place."""
    n_kv_heads: int = 0
    """Heads of keys and values; each serves equally many heads of queries (Ainslie et al. 2023). 0 means n_heads."""
    norm: Norm = "layernorm"
    """layernorm, as in GPT-2; rmsnorm: takes off no mean and has no bias (Zhang and Sennrich 2019)."""
    norm_epsilon: float = 1e-5
    """Added to the mean square, by whose root a norm divides, so that this is never 0."""
    feed_forward: Activation = "gelu"
    """gelu, as in GPT-2; swiglu: one more matrix, whose output is a gate for that of the first (Shazeer 2020)."""
    pad_vocab: int = 1
    """Round the embedding up to a multiple of this (64: faster on a GPU); what is to spare is never drawn."""
    n_labels: int = 0
    """Of a classifier, how many labels its output head tells apart, in place of tokens; 0: a language model."""

    def __post_init__(self) -> None:
        sizes = {
            name: getattr(self, name)
            for name in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model", "pad_vocab")
        }
        problems = [f"{name} is {size}; it must be at least 1" for name, size in sizes.items() if size < 1]
        if self.n_layers > MOST_LAYERS:
            problems.append(f"n_layers is {self.n_layers}; it must be at most {MOST_LAYERS}")
        others = {name: getattr(self, name) for name in ("d_ff", "n_kv_heads", "n_labels")}
        for name, size in (sizes | others).items():
            if not isinstance(size, Integral) or isinstance(size, bool):
                problems.append(f"{name} is {size!r}; it must be a whole number")
        for name in ("bias", "tie_embeddings"):
            if not isinstance(getattr(self, name), bool):
                problems.append(f"{name} is {getattr(self, name)!r}; it must be true or false")
        if self.n_heads >= 1 and self.d_model >= 1 and self.d_model % self.n_heads:
            divisors = [h for h in range(1, self.d_model + 1) if self.d_model % h == 0]
            fitting = sorted(sorted(divisors, key=lambda h: abs(h - self.n_heads))[:3])
            problems.append(
                f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}: the heads share d_model equally. "
                f"Choose n_heads from {fitting} or d_model as a multiple of {self.n_heads}"
            )
        if self.d_ff < 0:
            problems.append(f"d_ff is {self.d_ff}; it must be at least 1, or 0 for 4 * d_model (swiglu: 8/3)")
        if self.n_kv_heads < 0:
            problems.append(f"n_kv_heads is {self.n_kv_heads}; it must be at least 1, or 0 for as many as n_heads")
        elif self.n_heads >= 1 and self.n_kv_heads and self.n_heads % self.n_kv_heads:
            divisors = [h for h in range(1, self.n_heads + 1) if self.n_heads % h == 0]
            problems.append(
                f"n_heads {self.n_heads} is not divisible by n_kv_heads {self.n_kv_heads}: each head of keys and "
                f"values serves equally many heads of queries. Choose n_kv_heads from {divisors}"
            )
        if self.n_labels < 0 or self.n_labels == 1:
            problems.append(f"n_labels is {self.n_labels}; it must be at least 2, or 0 for a language model")
        elif self.n_labels and self.tie_embeddings:
            problems.append(
                f"n_labels is {self.n_labels}, and tie_embeddings shares the output head with the tokens: a classifier "
                "needs tie_embeddings off"
            )
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}; it must be at least 0 and below 1")
        for name in ("rope_base", "norm_epsilon"):
            if not 0 < getattr(self, name) < math.inf:
                problems.append(f"{name} is {getattr(self, name)}; it must be above 0 and finite")
        for name, choices in (("positions", Positions), ("norm", Norm), ("feed_forward", Activation)):
            if getattr(self, name) not in get_args(choices):
                problems.append(f"{name} is {getattr(self, name)!r}; choose from {', '.join(get_args(choices))}")
        if self.positions == "rope" and not problems and self.head_size % 2:
            problems.append(
                f"a head has {self.head_size} numbers (d_model / n_heads), and positions 'rope' turns pairs of them: "
                f"choose d_model as a multiple of {2 * self.n_heads}, or positions 'learned'"
            )
        _raise_all("this model", problems)

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the token embedding: vocab_size, and those that stand for no token."""
        return -(-self.vocab_size // self.pad_vocab) * self.pad_vocab

    @property
    def n_outputs(self) -> int:
        """Rows of the output head: as many as the token embedding has, or a classifier's labels."""
        return self.n_labels or self.padded_vocab_size

    @property
    def feed_forward_size(self) -> int:
        """Width inside the feed-forward network, with its default filled in.

        Three matrices of swiglu then hold as much as the two of gelu (Shazeer 2020, section 2).
        """
        return self.d_ff or (8 * self.d_model // 3 if self.feed_forward == "swiglu" else 4 * self.d_model)

    @property
    def head_size(self) -> int:
        """Width of one head, d_k in the papers."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values, with its default filled in."""
        return self.n_kv_heads or self.n_heads


Optimizer = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
LoRAMatrix = Literal["qkv", "output", "up", "gate", "down", "head"]
"""A kind of matrix that can have a low-rank adapter: attention's two, the feed-forward network's, the output head."""
Trained = Literal["all", "last", "head"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Every field is a flag of `minigpt train`.

    Raises:
        InputError: listing every problem at once.
    """

    max_steps: int = 1000
    """Number of optimiser steps in the whole run; the learning rate's schedule ends here."""
    batch_size: int = 32
    """Sequences in the global batch of one step."""
    accumulate: int = 1
    """Parts the batch is cut into to save memory; the gradient is the same."""
    optimizer: Optimizer = "adamw"
    """adamw for everything, or muon for the matrices inside the blocks and adamw for the rest."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon (only used with --optimizer muon)."""
    warmup_steps: int = 100
    """Steps in which the learning rate rises from 0 to its peak."""
    min_learning_rate: float = 0.0
    """Where the cosine ends, as a fraction of the peak."""
    weight_decay: float = 0.1
    """Decoupled weight decay (Loshchilov and Hutter 2019); on matrices, not on biases and LayerNorms."""
    beta1: float = 0.9
    """AdamW: how slowly the mean of the gradients moves."""
    beta2: float = 0.95
    """AdamW: how slowly the mean of the squared gradients moves."""
    grad_clip: float = 1.0
    """Longest gradient, as its norm over all parameters; longer ones are scaled down. 0 switches this off."""
    lora: int | None = None
    """Train low-rank adapters of this rank, and leave the model itself as it is (Hu et al. 2021)."""
    lora_alpha: float = 16.0
    """An adapter's output is scaled by lora_alpha / lora."""
    lora_on: tuple[LoRAMatrix, ...] = ()
    """Kinds of matrices that get an adapter: qkv, output, up, gate (swiglu), down, head. None: all but the head."""
    log_every: int = 10
    """Steps between two updates of the progress bar; metrics.jsonl holds every step."""
    eval_every: int = 0
    """Steps between two measurements on the validation split; 0 means only at the end."""
    save_every: int = 0
    """Steps between two checkpoints; 0 means only at the end."""
    seed: int = 0
    """Seed of the weights, the order of the data and dropout."""
    trained: Trained = "all"
    """Which parameters learn: all, the last block with final norm and output head, or the head alone."""
    precision: Precision = "auto"
    """Arithmetic of the matrix products; auto: bfloat16 where this machine has units for it, float16 on older GPUs."""
    tf32: bool = False
    """On a GPU: let float32 products round their inputs to 10 bits (TensorFloat-32), faster and less exact."""
    compile: bool = False
    """Translate the model with torch.compile: a minute at the start, faster steps. The default on a GPU."""
    shard: bool = False
    """Divide parameters, gradients and optimiser state among the processes, for models larger than one GPU's memory."""
    max_minutes: float = 0.0
    """Stop after this time with a checkpoint, to go on later with --resume; 0 means no limit."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard as well (pip install tensorboard)."""
    threads: int = 0
    """CPU threads; 0: a short trial picks the fastest number (OMP_NUM_THREADS is the most). Kept on resume."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}; it must be at least {least}"
            for name, least in (("max_steps", 1), ("batch_size", 1), ("accumulate", 1), ("warmup_steps", 0),
                                ("log_every", 1), ("eval_every", 0), ("save_every", 0), ("seed", 0), ("threads", 0),
                                ("lora", 1))
            if (value := getattr(self, name)) is not None and value < least
        ]  # fmt: skip
        for name, limit in (("seed", 2**63), ("threads", 1025)):  # what torch's generator and any machine can take
            if getattr(self, name) >= limit:
                problems.append(f"{name} is {getattr(self, name)}; it must be below {limit}")
        if self.accumulate > 1 and self.batch_size % self.accumulate:
            problems.append(
                f"batch_size {self.batch_size} cannot be cut into {self.accumulate} equal parts (accumulate): "
                f"choose a batch_size that is a multiple of {self.accumulate}"
            )
        for name in ("learning_rate", "muon_learning_rate"):
            if not getattr(self, name) > 0:
                problems.append(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if not 0 <= self.min_learning_rate <= 1:
            problems.append(f"min_learning_rate is {self.min_learning_rate}; it is a fraction between 0 and 1")
        object.__setattr__(self, "lora_on", tuple(self.lora_on))  # JSON knows lists only
        if unknown := [matrix for matrix in self.lora_on if matrix not in get_args(LoRAMatrix)]:
            problems.append(f"lora_on names {unknown[0]!r}; choose from {', '.join(get_args(LoRAMatrix))}")
        if self.lora_on and self.lora is None:
            problems.append(f"lora_on is {', '.join(map(str, self.lora_on))}, without lora: adapters need a rank")
        if self.lora is not None and self.trained != "all":
            problems.append(f"trained is {self.trained!r} with adapters (lora), which train no weight: choose one")
        if not 0 < self.lora_alpha < math.inf:
            problems.append(f"lora_alpha is {self.lora_alpha}; it must be above 0 and finite")
        for name in ("weight_decay", "grad_clip", "max_minutes"):
            if not getattr(self, name) >= 0:
                problems.append(f"{name} is {getattr(self, name)}; it must not be negative")
        for name, choices in (
            ("optimizer", get_args(Optimizer)), ("precision", get_args(Precision)), ("trained", get_args(Trained)),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                problems.append(f"{name} is {getattr(self, name)!r}; choose from {', '.join(choices)}")
        _raise_all("this training run", problems)


@dataclass(frozen=True)
class Preset:
    """A data set with a model and a training recipe that fit it; vocab_size is set by the data's tokenizer."""

    data: str
    model: GPTConfig
    train: TrainConfig
    tokenizer: Literal["auto", "char", "bpe"] = "auto"


_CHARACTERS = GPTConfig(
    vocab_size=65, context_length=128, n_layers=4, n_heads=4, d_model=128, d_ff=256, bias=False, positions="rope"
)
_GPT2 = TrainConfig(
    max_steps=19073, batch_size=512, accumulate=32, learning_rate=6e-4, warmup_steps=700, min_learning_rate=0.1,
    eval_every=1000, save_every=1000,
)  # fmt: skip

PRESETS: dict[str, Preset] = {
    # The bundled model: a million parameters for the story world, trained on a CPU. No weight decay: it guards
    # against learning by heart, and here no story comes twice.
    "storyteller": Preset(
        data="stories",
        model=GPTConfig(vocab_size=2048, context_length=192, n_layers=3, n_heads=4, d_model=144),
        train=TrainConfig(
            max_steps=11500,
            batch_size=16,
            optimizer="muon",
            learning_rate=8e-3,
            muon_learning_rate=0.02,
            weight_decay=0.0,
            eval_every=1000,
            save_every=1000,
        ),
    ),
    # Lesson 10's run: minutes on one thread of an old processor. Rotary positions learn to look back much sooner.
    "storyteller-fast": Preset(
        data="stories",
        model=GPTConfig(
            vocab_size=2048, context_length=192, n_layers=2, n_heads=4, d_model=128, d_ff=256, positions="rope"
        ),
        train=TrainConfig(
            max_steps=1700,
            batch_size=8,
            optimizer="muon",
            learning_rate=2e-2,
            muon_learning_rate=0.03,
            warmup_steps=50,
            weight_decay=0.0,
            eval_every=500,
            save_every=500,
        ),
    ),
    # Seconds, not minutes: for a first look and for tests.
    "tiny": Preset(
        data="stories",
        model=GPTConfig(vocab_size=1024, context_length=192, n_layers=2, n_heads=2, d_model=32),
        train=TrainConfig(max_steps=200, batch_size=8, learning_rate=3e-3, warmup_steps=20),
    ),
    # nanoGPT's recipe for a laptop (its readme, «I only have a macbook»), on real text: loss 1.9.
    "shakespeare-char": Preset(
        data="shakespeare",
        model=GPTConfig(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128, bias=False),
        train=TrainConfig(
            max_steps=2000, batch_size=12, learning_rate=1e-3, min_learning_rate=0.1, beta2=0.99, eval_every=500
        ),
        tokenizer="char",
    ),
    # As long on a CPU and far better: Muon, rotary positions, twice the context, and a leaner feed-forward network.
    "shakespeare-char-fast": Preset(
        data="shakespeare",
        model=_CHARACTERS,
        train=TrainConfig(max_steps=1900, batch_size=8, optimizer="muon", learning_rate=8e-3),
        tokenizer="char",
    ),
    # Four times as long: wider, and twice the context again. Loss below 1.47, which nanoGPT needs a GPU for.
    "shakespeare-char-long": Preset(
        data="shakespeare",
        model=replace(_CHARACTERS, context_length=256, n_heads=6, d_model=192, d_ff=384),
        train=TrainConfig(max_steps=2600, batch_size=8, optimizer="muon", learning_rate=8e-3, eval_every=500),
        tokenizer="char",
    ),
    # nanoGPT's config/train_shakespeare_char.py, ten million parameters; for a GPU.
    "shakespeare-char-gpu": Preset(
        data="shakespeare",
        model=GPTConfig(vocab_size=65, context_length=256, n_layers=6, n_heads=6, d_model=384, dropout=0.2, bias=False),
        train=TrainConfig(
            max_steps=5000, batch_size=64, learning_rate=1e-3, min_learning_rate=0.1, beta2=0.99, eval_every=250
        ),
        tokenizer="char",
    ),
    # GPT-2's smallest model on ten billion tokens, half a million a step; for one large GPU, 16 sequences at a time.
    "gpt2": Preset(data="fineweb-edu", model=GPTConfig(), train=_GPT2),
    # The same for eight: torchrun --nproc-per-node 8 -m minigpt train --preset gpt2-8
    "gpt2-8": Preset(data="fineweb-edu", model=GPTConfig(), train=replace(_GPT2, accumulate=4)),
    # Its larger sisters (Radford et al. 2019, table 2) on eight GPUs, in shards. In training a parameter takes 16 bytes
    # (weight, gradient, two means of AdamW): 5.7, 12.4 and 24.9 GB, an eighth of it on each GPU. Activations come on
    # top: they are why fewer sequences go through at a time. The learning rates are GPT-3's for these sizes (Brown et
    # al. 2020, table 2.1).
    "gpt2-medium": Preset(
        data="fineweb-edu",
        model=GPTConfig(n_layers=24, n_heads=16, d_model=1024),
        train=replace(_GPT2, accumulate=8, learning_rate=3e-4, shard=True),
    ),
    "gpt2-large": Preset(
        data="fineweb-edu",
        model=GPTConfig(n_layers=36, n_heads=20, d_model=1280),
        train=replace(_GPT2, accumulate=16, learning_rate=2.5e-4, shard=True),
    ),
    "gpt2-xl": Preset(
        data="fineweb-edu",
        model=GPTConfig(n_layers=48, n_heads=25, d_model=1600),
        train=replace(_GPT2, accumulate=16, learning_rate=2e-4, shard=True),
    ),
}

FINETUNING: dict[str, TrainConfig] = {
    # Answers, at the storyteller's size. The bundled helper was made so in more steps, of all tasks and a tenth of
    # stories: see its model card. No weight decay: it would pull at what the model knows already.
    "chats": TrainConfig(
        max_steps=1200, batch_size=16, optimizer="muon", learning_rate=8e-3, muon_learning_rate=0.02, warmup_steps=75,
        weight_decay=0.0, eval_every=400, save_every=400,
    ),
    "labels": TrainConfig(max_steps=300, batch_size=16, learning_rate=1e-3, warmup_steps=15, weight_decay=0.0),
}  # fmt: skip
"""How a trained model is taught what `minigpt.text.example_files.format_of` tells apart."""


TUNING: dict[str, TrainConfig] = {
    # In float32: a log-probability that was rounded when it was drawn and otherwise when it is learned from misleads.
    "rewards": TrainConfig(
        max_steps=60, batch_size=128, learning_rate=1e-3, warmup_steps=5, min_learning_rate=0.1, weight_decay=0.0,
        precision="float32", log_every=1, save_every=20,
    ),
    "preferences": TrainConfig(
        max_steps=60, batch_size=16, learning_rate=1e-4, warmup_steps=5, min_learning_rate=0.1, weight_decay=0.0,
        precision="float32", log_every=1, save_every=20,
    ),
}  # fmt: skip
"""How a trained model is made better than its examples; batch_size counts answers, or pairs."""


def nearest(name: str, valid: list[str]) -> str:
    """« did you mean …» for a mistyped name, or the whole list when nothing is near."""
    close = get_close_matches(name, valid, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}? Valid names: {', '.join(valid)}" if close else f"choose from {', '.join(valid)}"


def fit_vocabulary(config: GPTConfig, tokenizer_size: int) -> GPTConfig:
    """The same model for a tokenizer with this many tokens: rows that it has beyond them are padding.

    Raises:
        InputError: when the tokenizer has more tokens than the model has rows.
    """
    rows = config.padded_vocab_size
    if tokenizer_size > rows:
        raise InputError(
            f"the tokenizer has {tokenizer_size} tokens, but the model's vocab_size is {rows}: they do not belong "
            f"together, or set vocab_size to {tokenizer_size}"
        )
    if tokenizer_size == config.vocab_size:
        return config
    return replace(config, vocab_size=tokenizer_size, pad_vocab=rows)


def preset(name: str) -> Preset:
    """The preset of this name.

    Raises:
        InputError: for an unknown name, with the nearest valid one.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}; {nearest(name, list(PRESETS))}")
    return PRESETS[name]


def to_json(config: GPTConfig | TrainConfig) -> dict[str, Any]:
    """The config as a dictionary that JSON can hold."""
    return asdict(config)


def model_config_from_json(fields: dict[str, Any], vocab_size: int | None = None) -> GPTConfig:
    """The model config that `to_json` wrote.

    Raises:
        InputError: for a field that GPTConfig does not have.
    """
    unknown = sorted(set(fields) - set(GPTConfig.__dataclass_fields__))
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r} in a model config; "
            + nearest(unknown[0], list(GPTConfig.__dataclass_fields__))
        )
    config = GPTConfig(**fields)
    return config if vocab_size is None else replace(config, vocab_size=vocab_size)
