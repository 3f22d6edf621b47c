"""minigpt evaluate --task: how many of a model's answers, of its labels, or of its choices are right."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.commands.output import print_json, print_table
from minigpt.config import InputError

if TYPE_CHECKING:
    from minigpt.model.gpt import GPT
    from minigpt.text.tokenizer import Tokenizer


def evaluate_task(
    model: "GPT",
    tokenizer: "Tokenizer",
    task: str,
    learned: dict[str, Any],
    language: str | None,
    split: str | None,
    samples: int,
    json: bool,
) -> int:
    """Measure a model on a task and print the report.

    Args:
        model: on its device.
        tokenizer: of the model.
        task: its name, or the path of a file.
        learned: the data that the model was trained on, as its run says; {} where that is not known.
        language: of comments; default: that which the model has learned.
        split: default: test; of a file the tenth that this very model has not learned from, else all of it.
        samples: examples of a task; a file is measured whole.
        json: print one JSON object.
    """
    from minigpt.text.choices import is_multiple_choice
    from minigpt.text.comments import COMMENT_TASKS
    from minigpt.text.example_files import file_sha256, format_of

    if samples < 1:
        raise InputError(f"samples is {samples}; a task needs at least 1")
    if language is not None and task not in COMMENT_TASKS:
        raise InputError(f"--language is for the comments of {' and '.join(COMMENT_TASKS)}: leave it out")
    if is_multiple_choice(task):
        return _print_choices(model, tokenizer, task, split, samples, json)
    kind = format_of(task)
    language = language or learned.get("language", "en")
    is_file = Path(task).exists()
    own = is_file and learned.get("sha256") == file_sha256(Path(task))  # the file that it was trained on
    if split is None:
        split = "test" if not is_file else "val" if own else "all"
    skip_bad = own and learned["skip_bad"]
    if kind == "chats":
        report = _score_answers(model, tokenizer, task, split, samples, skip_bad)
    else:
        report = _score_labels(model, tokenizer, task, split, samples, skip_bad, learned.get("labels"), own, language)
    report = {"task": task, "split": split} | report
    if json:
        print_json(report)
        return 0
    low, high, kinds = (report.pop(name) for name in ("low", "high", "by_kind"))
    report["share"] = f"{report['share']:.3f} (95% confidence: {low:.3f} to {high:.3f})"
    print_table({name: f"{value:.3f}" if isinstance(value, float) else value for name, value in report.items()})
    if len(kinds) > 1:
        print()
        print_table({kind: f"{right} of {number} right" for kind, (right, number) in kinds.items()})
    return 0


def _print_choices(model: "GPT", tokenizer: "Tokenizer", task: str, split: str | None, samples: int, json: bool) -> int:
    from minigpt.evaluation.choices import WAYS, score_choices
    from minigpt.evaluation.intervals import wilson
    from minigpt.text.choices import load_questions

    if split not in (None, "all"):
        raise InputError(f"multiple choice has no split {split!r}: all of it is there to measure; leave --split out")
    score = score_choices(model, tokenizer, load_questions(task)[:samples])
    count = len(score.answered)
    shares = {}
    for way in (*WAYS, "alone"):
        right = score.right(way)
        low, high = wilson(right, count)
        shares[way] = {"right": right, "share": right / count, "low": low, "high": high}
    if json:
        print_json({
            "task": task, "examples": count, "too_long": len(score.too_long), "baseline": score.chance, "ways": shares
        })  # fmt: skip
        return 0
    names = {
        "sum": "likelihood",
        "per token": "likelihood per token",
        "per byte": "likelihood per byte",
        "against alone": "against the answer alone",
        "alone": "the answer alone",
    }
    table = {"task": task, "examples": count, "too long, left out": len(score.too_long)}
    print_table(
        table
        | {
            names[way]: f"{share['share']:.3f} (95% confidence: {share['low']:.3f} to {share['high']:.3f})"
            for way, share in shares.items()
        }
        | {"guessing": f"{score.chance:.3f}"}
    )
    return 0


def _score_answers(
    model: "GPT", tokenizer: "Tokenizer", task: str, split: str, samples: int, skip_bad: bool
) -> dict[str, Any]:
    from minigpt.evaluation.loss import mean_loss
    from minigpt.evaluation.tasks import score_task
    from minigpt.text.chat import can_chat
    from minigpt.text.finetuning import ChatData

    if model.config.n_labels:
        raise InputError(
            f"this model tells {model.config.n_labels} labels apart and writes no answers: --task sentiment, "
            "moderation or a file with labels, or another --model"
        )
    if problem := can_chat(tokenizer):
        raise InputError(f"{problem}: first `minigpt finetune --task {task} --model …`, then evaluate the run it makes")
    data = ChatData(task, tokenizer, model.config.context_length, held_out=samples, skip_bad=skip_bad)
    score = score_task(model, data, split)
    return {
        "examples": score.count,
        "right": score.right,
        "share": score.share,
        "low": score.interval[0],
        "high": score.interval[1],
        "baseline": score.baseline,
        "always": score.baseline_answer,
        "loss": mean_loss(model, data, split),
        "by_kind": score.by_kind,
    }


def _score_labels(
    model: "GPT",
    tokenizer: "Tokenizer",
    task: str,
    split: str,
    samples: int,
    skip_bad: bool,
    known: list[str] | None,
    own: bool,
    language: str,
) -> dict[str, Any]:
    from minigpt.evaluation.labels import accuracy, commonest, label_logits
    from minigpt.text.comments import COMMENT_TASKS, best_accuracy, comment_world
    from minigpt.text.example_files import label_file_data
    from minigpt.text.labels import comment_data

    if not model.config.n_labels or not known:
        raise InputError(
            f"this model writes text and tells no labels apart: first `minigpt finetune --task {task} --model …`, then "
            "evaluate the run that this makes"
        )
    length = model.config.context_length
    if task in COMMENT_TASKS:
        if comment_world(task).labels != known:
            raise InputError(
                f"this model tells {', '.join(known)}; the labels of {task} are "
                f"{', '.join(comment_world(task).labels)}: take a model that was fine-tuned on {task}"
            )
        data = comment_data(task, tokenizer, length, train=1000, held_out=samples, language=language)
    else:
        data = label_file_data(task, tokenizer, length, labels=None if own else known, skip_bad=skip_bad)
    predicted, labels = label_logits(model, data, split).argmax(-1), data.targets(split)
    found = accuracy(predicted, labels)
    always = commonest(data.targets("train" if "train" in data.splits else split))
    right = {
        label: (int(((predicted == i) & (labels == i)).sum()), int((labels == i).sum()))
        for i, label in enumerate(known)
    }
    return {
        "examples": len(labels),
        "right": int((predicted == labels).sum()),
        "share": found.value,
        "low": found.low,
        "high": found.high,
        "baseline": int((labels == always).sum()) / len(labels),
        "always": known[always],
        **({"best possible": best_accuracy(task)} if task in COMMENT_TASKS else {}),
        "by_kind": right,
    }
