"""minigpt evaluate, generate and export: what can be done with a trained model."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from tyro.conf import Positional

from minigpt.commands.finding import load, load_with_data
from minigpt.commands.output import print_json, print_table, wrap
from minigpt.commands.tasks import evaluate_task
from minigpt.config import InputError

if TYPE_CHECKING:
    from minigpt.model.gpt import GPT
    from minigpt.text.tokenizer import Tokenizer


def evaluate(
    model: str = "storyteller",
    adapter: Optional[Path] = None,
    task: Optional[str] = None,
    language: Optional[Literal["en", "zh"]] = None,
    split: Optional[str] = None,
    data: Optional[str] = None,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Measure a model on its data: loss, the gap to the floor, stories that hold together, answers that are right.

    Args:
        model: a bundled model, the folder of a run or of a checkpoint, or a model that others have made.
        adapter: a file that `minigpt finetune --lora` made, for the model that it was trained beside.
        task: instead of the data that the model was trained on: a task or a file as for `minigpt finetune`, multiple
            choice (everyday, everyday-zh, or a file of such questions), or stories.
        language: of the comments of sentiment and moderation; by default that which the model has learned.
        split: val or test, of a file val or all; by default test for stories and tasks, val for a text. Of a file the
            tenth that `minigpt finetune` held out, or all of it if the model has learned something else.
        data: where the text is now, if it was moved since the model was trained on it; of a model that others have
            made (smollm2, gpt2, …), a text file to measure it on.
        samples: how many stories to generate and grade, or examples of a task to answer.
        seed: of those samples.
        device: auto, cpu, cuda, ….
        json: print one JSON object.
    """
    from minigpt import runtime
    from minigpt.evaluation.evaluate import evaluate as measure
    from minigpt.text.data import StoryData, load_data
    from minigpt.text.finetuning import is_task
    from minigpt.weights import models

    loaded, used, spec = load_with_data(model, adapter)
    foreign = models.is_foreign(model)
    if foreign and task is None and data is not None:
        return _evaluate_text(loaded.to(runtime.pick_device(device)), used, data, json)
    task = task or (spec["name"] if is_task(spec) else None)
    if task == "stories":
        spec = {"name": "stories"}
    elif task is not None:
        if data is not None:
            raise InputError("--data says where the text of a model is now; for a task's file say --task NEW_PLACE")
        loaded.to(runtime.pick_device(device))
        return evaluate_task(loaded, used, task, spec, language, split, samples, json)
    if not spec:
        more = "; --data FILE measures it on a text of yours" if foreign else ""
        raise InputError(f"{model!r} does not say what it was trained on, so there is nothing to measure it on{more}")
    length = loaded.config.context_length
    source: Any
    if spec["name"] == "stories":
        if data is not None:
            raise InputError("this model was trained on stories, which are made as needed: leave --data out")
        source = StoryData(used, length)
    else:
        name = data or spec["name"]
        try:
            source = load_data(name, length, spec["tokenizer"], used.vocab_size)
        except InputError as error:
            raise InputError(f"{error}. If the data was moved, add --data NEW_PLACE") from None
        if source.spec | {"name": ""} != spec | {"name": ""}:
            raise InputError(
                f"{name!r} is not the text that the model was trained on, or has changed since; evaluate needs the same"
            )
    report = measure(loaded.to(runtime.pick_device(device)), source, split, samples, seed)
    if json:
        print_json(report)
        return 0
    units = {
        "loss": "nats per token",
        "floor": "nats per token",
        "gap": "nats per token",
        "floor_error": "standard error",
    }
    print_table({
        name: f"{value:.4f} {units.get(name, '')}".rstrip() if isinstance(value, float) else value
        for name, value in report.items() if value is not None
    })  # fmt: skip
    return 0


def _evaluate_text(model: "GPT", tokenizer: "Tokenizer", data: str, json: bool) -> int:
    """The loss of somebody else's model on a text file."""
    from minigpt.evaluation.loss import perplexity
    from minigpt.evaluation.rolling import text_bits_per_byte

    try:
        text = Path(data).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{data!r} is no text that can be read ({problem})") from None
    bits, n_bytes = text_bits_per_byte(model, tokenizer, text), len(text.encode())
    n_tokens = len(tokenizer.encode(text))
    loss = bits * n_bytes * math.log(2) / n_tokens
    report = {"data": data, "bytes": n_bytes, "tokens": n_tokens, "loss": loss, "perplexity": perplexity(loss)}
    report["bits_per_byte"] = bits
    if json:
        print_json(report)
    else:
        units = {"loss": " nats per token"}
        print_table({k: f"{v:.4f}{units.get(k, '')}" if isinstance(v, float) else v for k, v in report.items()})
    return 0


def generate(
    prompt: Positional[str] = "",
    model: str = "storyteller",
    adapter: Optional[Path] = None,
    num: int = 1,
    max_new_tokens: Optional[int] = None,
    temperature: float = 1.0,
    top_k: Optional[int] = None,
    top_p: Optional[float] = None,
    repetition_penalty: float = 1.0,
    beams: Optional[int] = None,
    length_penalty: float = 1.0,
    seed: Optional[int] = None,
    stream: bool = False,
    weights: Literal["float32", "int8"] = "float32",
    device: str = "auto",
    json: bool = False,
) -> int:
    """Let a model continue a text.

    Args:
        prompt: the beginning; empty for a text from nothing.
        model: storyteller; smollm2; gpt2, gpt2-medium, gpt2-large, gpt2-xl; a .gguf file of a Llama; the folder of a
            run, a checkpoint, an export, or of a GPT-2 or Llama as transformers writes it.
        adapter: a file that `minigpt finetune --lora` made, for the model that it was trained beside.
        num: how many texts.
        max_new_tokens: where to cut a text that does not end by itself; by default as many as the context has left.
        temperature: 1 samples as the model was trained, lower is safer, 0 always takes the likeliest token.
        top_k: sample from this many of the likeliest tokens only.
        top_p: sample from the fewest tokens that together have this probability.
        repetition_penalty: above 1 makes tokens that the text has already less likely.
        beams: instead of sampling, search with this many beams for the likeliest texts.
        length_penalty: with --beams, divide a text's log-probability by its length to this power.
        seed: the same seed gives the same texts.
        stream: show the text while it is written.
        weights: int8 keeps the matrices in 8 bits: a quarter of the memory, nearly the same text.
        device: auto, cpu, cuda, ….
        json: print one JSON object.
    """
    from minigpt import runtime
    from minigpt.generation import generate as sampling
    from minigpt.generation.beam_search import beam_search
    from minigpt.model.int8 import to_int8
    from minigpt.text import chat

    drawn = (temperature, top_k, top_p, repetition_penalty, seed) != (1.0, None, None, 1.0, None)
    if beams is not None and num < 1:
        raise InputError(f"--num is {num}; it must be at least 1")
    if beams is not None and (drawn or num > max(1, beams)):
        raise InputError(
            f"--beams {beams} finds {beams} texts and draws nothing: leave out --temperature, --top-k, --top-p, "
            f"--repetition-penalty and --seed, and ask with --num for {beams} at most"
        )
    if stream and (json or beams is not None or num != 1):
        raise InputError("--stream shows one text while it is drawn: leave out --num, --beams and --json")
    loaded, used = load(model, adapter)
    where = runtime.pick_device(device)
    loaded.to(where)
    if weights == "int8":
        loaded = to_int8(loaded)
    elif where.type == "cuda" and runtime.has_bfloat16_units(where):
        loaded.bfloat16()  # each token waits for all weights: half the bytes, half the time
    start = [] if used.end_of_text is None else [used.end_of_text]
    ids = start + used.encode(prompt)
    if not ids:
        raise InputError("this model needs a beginning: give a prompt of at least one character")
    if max_new_tokens is None:
        max_new_tokens = max(1, loaded.config.context_length - len(ids))
    options: sampling.Options = {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "repetition_penalty": repetition_penalty,
        "stop_token": chat.stop_token(used), "seed": seed,
    }  # fmt: skip
    if stream:
        tokens = sampling.stream(loaded, ids, max_new_tokens, **options)
        print(prompt, end="", flush=True)
        for piece in sampling.stream_text(tokens, used):
            print(piece, end="", flush=True)
        print()
        return 0
    if beams is None:
        (samples,) = sampling.generate_batch(loaded, [ids], max_new_tokens, num=num, **options)
        found = [(sample.tokens, sum(sample.log_probabilities)) for sample in samples]
    else:
        best = beam_search(
            loaded, ids, max_new_tokens, beams=beams, length_penalty=length_penalty, stop_token=options["stop_token"]
        )
        found = [(beam.tokens, beam.log_probability) for beam in best[:num]]
    texts = [prompt + used.decode(new) for new, _ in found]
    if json:
        log_probabilities = [log_probability for _, log_probability in found]
        print_json({"model": model, "prompt": prompt, "texts": texts, "log_probabilities": log_probabilities})
    else:
        print("\n\n".join(map(wrap, texts)))
    return 0


def export(out: Path, model: str = "storyteller", adapter: Optional[Path] = None, json: bool = False) -> int:
    """Write a model for transformers: in the layout of Hugging Face's GPT-2 or Llama, whichever it is.

    Args:
        out: a new folder, for config.json, model.safetensors and the tokenizer.
        model: as for `minigpt generate`.
        adapter: as for `minigpt generate`; it is merged into the model.
        json: print one JSON object.
    """
    from minigpt.text.tokenizer import CharTokenizer
    from minigpt.weights import models

    loaded, used = load(model, adapter)
    layout = models.export(loaded, used, out)
    biases = "zeros, because every GPT-2 has biases" if layout == "GPT-2" else "none, as trained"
    if loaded.config.bias:
        biases = "as trained"
    report = {
        "out": str(out),
        "layout": layout,
        "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
        "biases": biases,
        "tokenizer": f"{used.vocab_size:,} tokens, the same ids"
        if not isinstance(used, CharTokenizer)
        else "left out, because transformers has none that gives each character an id",
    }
    if json:
        print_json(report)
        return 0
    print_table(report)
    print(f"\nTry in Python: transformers.AutoModelForCausalLM.from_pretrained({str(out)!r})")
    return 0
