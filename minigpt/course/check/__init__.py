"""The checks of all exercises: ``from minigpt.course import check``, then ``check.<exercise>(your_function)``.

One module for each lesson, and one line here for each module.
"""

from minigpt.course.check.next_token_game import bigram_probabilities, draw, perplexity_of
from minigpt.course.check.training_on_a_cpu import clip, inputs_and_targets, warmup_stable_decay
