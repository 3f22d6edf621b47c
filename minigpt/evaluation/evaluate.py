"""How good a model is: loss over a split, distance to the entropy floor, and its stories, graded."""

from minigpt.config import InputError
from minigpt.evaluation.floor import floor
from minigpt.evaluation.loss import bits_per_byte, mean_loss, perplexity
from minigpt.evaluation.stories import grade, sample_stories
from minigpt.model.gpt import GPT
from minigpt.text.data import Data, StoryData


def evaluate(
    model: GPT, data: Data, split: str | None = None, samples: int = 1000, seed: int = 0
) -> dict[str, float | str | None]:
    """Everything that `minigpt evaluate` reports.

    Args:
        model: the model.
        data: stories or a text.
        split: default: test for stories, val for a text.
        samples: stories to generate and grade; only for a model of stories.
        seed: of those samples.

    Returns:
        data, split, loss (nats per token), perplexity, bits_per_byte, floor, gap (loss − floor on the same stories),
        floor_error (standard error of the gap's floor), grammatical, consistent; None where it has no meaning.

    Raises:
        InputError: for a split that the data does not have, or a negative number of samples.
    """
    if samples < 0:
        raise InputError(f"samples is {samples}; it must be at least 0")
    split = split or ("test" if isinstance(data, StoryData) else "val")
    loss = mean_loss(model, data, split)
    result: dict[str, float | str | None] = {
        "data": data.spec["name"], "split": split, "loss": loss, "perplexity": perplexity(loss),
        "bits_per_byte": bits_per_byte(loss, data, split),
        "floor": None, "floor_error": None, "gap": None, "grammatical": None, "consistent": None,
    }  # fmt: skip
    if isinstance(data, StoryData):
        bound = floor(data, split)
        result |= {"floor": bound.split_loss, "floor_error": bound.standard_error, "gap": loss - bound.split_loss}
        if samples:
            grades = grade(sample_stories(model, data.tokenizer, samples, seed))
            result |= {"grammatical": grades.grammatical, "consistent": grades.consistent}
    return result
