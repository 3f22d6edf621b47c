# %% [markdown]
# # Start here
#
# In this course you build a GPT: a program that continues a text, one token at a time. This page shows you how a lesson
# works, what this machine can do, and where to begin.
#
# **You will be able to**
# - run a lesson from top to bottom, and start it again when something is odd,
# - try an exercise, and read what its check says,
# - choose your first lesson.
#
# **Time** 10 min
#
# **Builds on** nothing. You should be able to read a Python function. JupyterLab may be new to you.
#
# ![The GPT as a loop: the first sentence of a story, cut into numbered tokens, becomes token plus position embeddings; in each Transformer block, attention and feed-forward add to the residual stream; a last LayerNorm and the output head turn it into bars for the tokens that may come next; one is drawn and appended to the text](../figures/gpt.svg)

# %% [markdown]
# ## How a page works
#
# A page is a list of **cells**: text like this one, and code like the next one. Click into the code and press
# **Shift+Enter**. The cell runs, its output appears below it, and the next cell is chosen.
#
# The first code cell of every lesson imports what the lesson needs. Run it first.

# %% tags=["setup"]
from minigpt.commands.machine import doctor
from minigpt.course import check, start_lesson

start_lesson()

# %% [markdown]
# The number in brackets to the left of a cell counts what you run: `[1]`, `[2]`, … While a cell works, it shows `[*]`.
# Outputs that you have not made yourself are those that we stored. They are what you should see, too.
#
# Cells share their variables, in the order in which **you** run them. So when something is odd, start afresh: in the menu,
# **Run › Restart Kernel and Run All Cells…** This runs the whole page from top to bottom. In a lesson it takes about a
# minute; in lesson 10, which trains a model, some minutes.
#
# You may change any code and run it again. Your changes are saved into the page itself, answers included. If you would like
# to keep the page as it was, make a copy first: in the list of files on the left, right-click it and choose *Duplicate*.
#
# To have one page back as we made it, type in a terminal, in the folder of the course,
# `git restore notebooks/04_attention_by_hand.ipynb` (here for lesson 4). **This deletes what you wrote on that page, without
# asking, and nothing brings it back.**

# %% [markdown]
# ## What this machine can do
#
# The next cell looks at the machine. Run it: what you see before that is the machine on which we built this page.

# %% tags=["nbval-ignore-output"]
_ = doctor()

# %% [markdown]
# A few of the lines say how the lessons will go:
#
# | line | what it means |
# | --- | --- |
# | `device` | `cpu` is enough for every lesson. With a GPU, lesson 11 measures yours, too |
# | `best threads` | how many CPU threads train a small model fastest here; more are not always faster |
# | `bfloat16 units` | `yes`: this processor computes on short numbers faster, and training uses that |
# | `offline: …` | `yes`: works without a network |
#
# No lesson needs a network. Where one shows something from it, such as GPT-2's own weights, it goes on without.

# %% [markdown]
# ## How an exercise works
#
# Every exercise is a function without a body, the **stub**, and a cell that checks it. There is one here to try it on.
#
# 1. Run both cells as they are. The check says ○, *not attempted yet*.
# 2. In place of the line `raise NotImplementedError("your turn")` write `return sum(values)`. Run both cells again. The
#    check says ✗, and what it saw.
# 3. Correct it, and run both cells once more, until you see ✓.
#
# ### Exercise 1 · the mean of a list (★☆☆, 2 min)
#
# Return the arithmetic mean of some numbers. A list of one number is its own mean.


# %% tags=["exercise"]
def mean(values: list[float]) -> float:
    """The arithmetic mean of at least one number."""
    ### BEGIN SOLUTION
    return sum(values) / len(values)
    ### END SOLUTION


# %%
check.mean(mean)

# %% [markdown]
# Stars say how hard an exercise is, from ★☆☆ to ★★★. A check knows the usual mistakes and answers with a hint, not with
# the solution. Nothing depends on your answer, right or wrong: later cells use the finished package `minigpt`, so you can skip
# an exercise and come back. Solutions stand in the folder [solutions](solutions), one page for each lesson.

# %% [markdown]
# ## The lessons
#
# The course takes about 39 hours. A lesson is one sitting. Where a heading ends in «(optional)», nothing later needs that
# section, and its minutes are not counted.
#
# | | lesson | you will understand | time |
# | --- | --- | --- | --- |
# | 01 | [The next-token game](01_next_token_game.ipynb) | what a GPT is, end to end; counting models; loss, perplexity, the entropy floor | 75 min |
# | 02 | [Tokenization](02_tokenization.ipynb) | from text to bytes to byte pairs; why models cannot spell | 100 min |
# | 03 | [Embeddings and positions](03_embeddings_and_positions.ipynb) | shifted targets, lookup, order | 95 min |
# | 04 | [Attention by hand](04_attention_by_hand.ipynb) | queries, keys, values, every number | 95 min |
# | 05 | [Multi-head attention](05_multi_head_attention.ipynb) | the causal mask, heads, fused attention | 95 min |
# | 06 | [Feed-forward](06_feed_forward.ipynb) | the other two thirds of the parameters | 95 min |
# | 07 | [The Transformer block](07_transformer_block.ipynb) | residual stream, LayerNorm, depth | 90 min |
# | 08 | [The full GPT](08_full_gpt.ipynb) | assembly to 124,439,808 parameters | 95 min |
# | 09 | [Loss, backprop, AdamW](09_loss_backprop_adamw.ipynb) | one training step traced by hand | 100 min |
# | 10 | [Training on a CPU](10_training_on_a_cpu.ipynb) | how to train, and how to distrust a training run | 90 min |
# | 11 | [Training on a GPU](11_training_on_a_gpu.ipynb) | precision, compilation, where the time goes | 100 min |
# | 12 | [Many GPUs](12_many_gpus.ipynb) | data parallelism, rehearsed on CPU processes | 100 min |
# | 13 | [Generation](13_generation.ipynb) | sampling, the KV cache | 95 min |
# | 14 | [GPT-2's weights](14_gpt2_weights.ipynb) | load and export them | 95 min |
# | 15 | [Classification](15_classification.ipynb) | a head for labels; what pre-training is worth; decisions and their cost | 95 min |
# | 16 | [Instructions](16_instructions.ipynb) | from continuing to answering: template, mask, end; what mistakes cost | 95 min |
# | 17 | [LoRA](17_lora.ipynb) | small matrices beside large ones: what they save, and what not | 95 min |
# | 18 | [Preferences](18_preferences.ipynb) | which of two answers is better: DPO by hand, what it gains and what it breaks | 95 min |
# | 19 | [Verified rewards](19_verified_rewards.ipynb) | policy gradients and GRPO against an exact verifier; reward hacking | 95 min |
# | 20 | [A modern GPT](20_modern_gpt.ipynb) | four changes since GPT-2, each by hand; a real chat model in your code | 95 min |
# | 21 | [Small numbers](21_small_numbers.ipynb) | 4 and 8 bits by hand; what they cost and save; a small model guesses, a large one checks | 95 min |
# | 22 | [Evaluation](22_evaluation.ipynb) | what can be compared, and how sure a number is: tokenizers, choices, intervals, contamination, judges | 95 min |
# | 23 | [Scaling laws](23_scaling_laws.ipynb) | loss against size, length and compute, where the floor is known; what small models foretell | 95 min |
# | 24 | [Inside the model](24_inside_the_model.ipynb) | where a fact is kept and who fetches it: lens, induction, patching, probes, steering, and what each shows | 95 min |
# | 25 | [Limits](25_limits.ipynb) | what it keeps by heart, invents, prefers, costs and obeys, measured; what the law asks | 95 min |
#
# **Where to begin?** With lesson 1, if in doubt. If you have never used torch, or slopes and logarithms are long ago, read
# [Torch and slopes](00b_torch_and_slopes.ipynb) first; each lesson says which of its sections it needs. Each lesson stands
# alone, so you may also
#
# - begin with [lesson 4](04_attention_by_hand.ipynb), if you came for attention,
# - begin with [lesson 10](10_training_on_a_cpu.ipynb), if you want to train a model today,
# - begin with [lesson 11](11_training_on_a_gpu.ipynb), if you have a GPU.
#
# To open another page later, use the list of files on the left, or name it: `minigpt lab 4`.
#
# **Next** · [Lesson 1 · The next-token game](01_next_token_game.ipynb): what a GPT is, end to end.
