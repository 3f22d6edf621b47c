# %% [markdown]
# # Appendix · Torch and slopes
#
# For you, if PyTorch is new, or if school was the last place where you took a derivative. This page has the torch and the
# calculus that lessons 1 to 9 use, and no more. Each lesson's «Builds on» names the sections that it needs, so you can
# also come back for one of them.
#
# **You will be able to**
# - read a shape, and say which shape a line of torch returns,
# - sum, divide and multiply tables without mixing up their rows and columns,
# - find a slope in three ways: by a nudge, by a rule, and with `backward`,
# - read a training loop line by line.
#
# **Time** 50 min
#
# **Builds on** Python: lists, functions, classes. [Start here](00_start_here.ipynb) shows how a page and its exercises work.
#
# ![The GPT in grey; below it a blue arrow runs from left to right past the shapes of its tensors, from (T) to (T, V), and a red arrow runs back: slopes](../figures/where_torch_and_slopes.svg)

# %% tags=["setup"]
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.course import check, start_lesson

start_lesson()

# %% [markdown]
# Two programmers turn a table of counts into shares. Each row should sum to 1. Their lines differ in one word:

# %%
counts = torch.tensor([[6.0, 2.0], [1.0, 3.0]], dtype=torch.float64)
first = counts / counts.sum(dim=1, keepdim=True)
second = counts / counts.sum(dim=1)
print(first, second, sep="\n")
print("sums of the rows:", first.sum(dim=1).tolist(), second.sum(dim=1).tolist())

# %% [markdown]
# Both lines run. Nobody complains. The second is wrong in two of four numbers. Many mistakes in torch are like this: no
# error, wrong numbers. What protects you is to know the shape of everything. By section 4 you will see what the second
# line did.

# %% [markdown]
# ## 1 · Shapes
#
# A **tensor** is a table of numbers in any number of dimensions. Its **shape** says how long each dimension is. Take two
# texts of three tokens each, with two numbers for each token. As a list of lists of lists:

# %%
nested = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]
print("by hand:", (len(nested), len(nested[0]), len(nested[0][0])))

batch = torch.tensor(nested, dtype=torch.float64)  # (B, T, d_model)
assert batch.shape == (2, 3, 2)

# %% [markdown]
# Read the shape from the outside in: 2 texts, 3 tokens in each, 2 numbers for each. The lessons write it as a comment,
# `# (B, T, d_model)`: *B* texts, *T* tokens.
#
# An index takes a dimension away; a slice keeps it. Say each shape before you run the cell:

# %%
print("batch[0]      ", tuple(batch[0].shape))  # the first text
print("batch[:, -1]  ", tuple(batch[:, -1].shape))  # the last token of each text
print("batch[:, -1:] ", tuple(batch[:, -1:].shape))  # the same, a dimension more
print("batch[0, 1, 0]", tuple(batch[0, 1, 0].shape))  # one number, still a tensor
assert batch[0, 1, 0].item() == nested[0][1][0] == 3  # item() makes a Python number

# %% [markdown]
# A tensor of ids as an index fetches rows. A GPT begins with exactly that (lesson 3). And two functions join tensors: `cat`
# makes a dimension longer, `stack` makes a new one.

# %%
rows_of_table = [[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]
table = torch.tensor(rows_of_table, dtype=torch.float64)  # (V, d)
ids = torch.tensor([2, 0, 2])  # (T,), whole numbers: torch.int64
print(table[ids])
assert table[ids].tolist() == [table[i].tolist() for i in (2, 0, 2)]
assert torch.cat([table, table]).shape == (6, 2)
assert torch.stack([table, table]).shape == (2, 3, 2)

# %% [markdown]
# Every number of a tensor has the same **dtype**. Fractions are float32 unless you say otherwise: seven digits. Where our
# lessons show digits, they mostly compute in float64, sixteen of them, so that every computer shows the same.

# %% [markdown]
# ## 2 · Along a dimension
#
# How do you sum a table? By rows, by columns, or all of it. In torch `dim` names the dimension *that goes away*:

# %%
x = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.float64)  # (2, 3)
rows = [sum(row) for row in x.tolist()]
columns = [sum(column) for column in zip(*x.tolist(), strict=True)]
print("by hand:", rows, columns)
assert x.sum(dim=1).tolist() == rows  # dimension 1, the three columns, is gone: (2,)
assert x.sum(dim=0).tolist() == columns  # dimension 0, the two rows, is gone: (3,)
assert x.sum(dim=-1).tolist() == rows  # -1 is the last dimension

# %% [markdown]
# `mean`, `max`, `argmax` and `var` take `dim` too. Softmax (lesson 4) does not take the dimension away: it makes the
# numbers *along* it sum to 1. `keepdim=True` leaves the dimension there, with length 1. (numpy says `axis` and `keepdims`.)

# %%
print("without keepdim:", tuple(x.sum(dim=1).shape))
print("with keepdim:   ", tuple(x.sum(dim=1, keepdim=True).shape))
assert torch.allclose(x.softmax(dim=1).sum(dim=1), torch.ones(2, dtype=torch.float64))

# %% [markdown]
# `torch.allclose` compares up to rounding. The lessons use it to say «these two are the same».
#
# ### Exercise 1 · shares (★☆☆, 3 min)
#
# Divide each row of a table by its sum. The table may have more dimensions before the last two: a «row» is always along the
# last one. Every sum is positive. Leave the table as it is.


# %% tags=["exercise"]
def row_shares(counts: Tensor) -> Tensor:
    """Counts of any shape, divided by their sums along the last dimension."""
    ### BEGIN SOLUTION
    return counts / counts.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %%
check.row_shares(row_shares)

# %% [markdown]
# ## 3 · View, transpose, contiguous
#
# In memory there are no rows. The numbers lie in one line, row after row. `view` reads the same line with other lengths,
# and `T` exchanges rows and columns. From a (2, 3) table both make (3, 2):

# %%
print(x.view(3, 2), x.T, sep="\n")
line = [number for row in x.tolist() for number in row]
assert x.view(3, 2).tolist() == [line[0:2], line[2:4], line[4:6]]
assert x.T.tolist() == [list(column) for column in zip(*x.tolist(), strict=True)]

# %% [markdown]
# Same shape, other table. **`view` never turns anything.** Whoever needs the columns and takes `view` gets no error.
#
# `flatten` makes one dimension of several, `unflatten` several of one, `-1` lets torch work out a length.
# `transpose(1, 2)` exchanges two dimensions, here 1 and 2. Here is a trick of lesson 1. Number every pair of ids, count the numbers
# with `bincount`, and view the counts as a table:

# %%
V = 3
text = torch.tensor([2, 0, 2, 0, 1])
pairs = text[:-1] * V + text[1:]  # 2 then 0 is number 2 · 3 + 0 = 6
pair_counts = torch.bincount(pairs, minlength=V * V).view(V, V)
print(pairs.tolist(), pair_counts.tolist())
assert pair_counts[2, 0] == 2 and pair_counts[0, 2] == pair_counts[0, 1] == 1

# %% [markdown]
# A view holds no numbers of its own. Write into it, and the original changes. `clone` makes a copy:

# %%
original = torch.zeros(4, dtype=torch.float64)
seen_as_table, copied = original.view(2, 2), original.clone()
seen_as_table[0, 1] = 7
print("original:", original.tolist(), "copy:", copied.tolist())

# %% [markdown]
# `T` moves nothing in memory either. It only notes other steps: in `x` the next row begins 3 numbers further on, in `x.T` it
# begins 1 further on. Such a tensor is not **contiguous**, its rows do not lie one after the other, and `view`
# refuses it. Then `contiguous()` first makes a copy in order. `reshape` does both at once.

# %%
print("steps (stride):", x.stride(), x.T.stride(), "contiguous:", x.T.is_contiguous())
try:
    x.T.view(6)
except RuntimeError:
    print("view refuses x.T")
assert x.T.contiguous().view(6).tolist() == [1, 4, 2, 5, 3, 6]
assert torch.equal(x.T.reshape(6), x.T.contiguous().view(6))

# %% [markdown]
# ### Exercise 2 · read by columns (★★☆, 4 min)
#
# A line of numbers was written row by row into a table of `n_rows` rows. Return the same numbers, read column by column. For
# `[1, 2, 3, 4, 5, 6]` and 2 rows that is `[1, 4, 2, 5, 3, 6]`.


# %% tags=["exercise"]
def by_columns(numbers: Tensor, n_rows: int) -> Tensor:
    """(n,) to (n,): a table of n_rows rows, given row by row, column by column."""
    ### BEGIN SOLUTION
    return numbers.view(n_rows, -1).T.flatten()
    ### END SOLUTION


# %%
check.by_columns(by_columns)

# %% [markdown]
# ## 4 · Broadcasting
#
# What is a (2, 3) table plus a list of 3? Torch writes the two shapes below each other, *aligned at the right*. Lengths
# fit if they are equal, or if one is 1, or missing: then it is repeated. This is **broadcasting**.

# %%
bias = torch.tensor([10, 20, 30], dtype=torch.float64)  # (3,): repeated in each row
by_hand = [[x[i, j].item() + bias[j].item() for j in range(3)] for i in range(2)]
assert (x + bias).tolist() == by_hand
column = torch.tensor([[100], [200]], dtype=torch.float64)  # (2, 1): in each column
print((x + column).tolist())

# %% [markdown]
# Back to the two programmers. `counts` is (2, 2). With `keepdim` the sums are (2, 1), one for each row: right. Without it
# they are (2,), and aligned at the right these are the *columns*. Column 2 was divided by the sum of row 2. Had the table
# not been square, torch would have told them:

# %%
divisors = torch.tensor([[8.0, 4.0], [8.0, 4.0]], dtype=torch.float64)
assert torch.equal(second, counts / divisors)
try:
    x / x.sum(dim=1)  # (2, 3) and (2,): 3 against 2
except RuntimeError as error:
    print(str(error).partition(" at ")[0])

# %% [markdown]
# So try your code on shapes in which no two lengths are equal.

# %% [markdown]
# ## 5 · Matrix products
#
# The **dot product** of two lists multiplies them number by number and adds up. `[1, 2]` and `[3, 4]` give 1·3 + 2·4 = 11.
# A **linear map** from $d_{in}$ to $d_{out}$ numbers is $d_{out}$ dot products with $d_{out}$ lists of weights. Torch keeps
# these lists as the *rows* of a matrix W of shape (d_out, d_in).

# %%
lists_of_weights = [[1, 0], [0, 1], [1, 1], [2, -1]]
W = torch.tensor(lists_of_weights, dtype=torch.float64)  # (d_out, d_in)
tokens = torch.tensor([[1, 2], [3, 4], [5, 6]], dtype=torch.float64)  # (T, d_in)


def dot(a: list[float], b: list[float]) -> float:
    """The sum of the products."""
    return sum(a_i * b_i for a_i, b_i in zip(a, b, strict=True))


products = [[dot(token, row) for row in W.tolist()] for token in tokens.tolist()]
print(products)

# %% [markdown]
# `A @ B` takes each *row* of A with each *column* of B. We want rows with rows, so W is turned: `x @ W.T`. On paper: (T,
# d_in) times (d_in, d_out) is (T, d_out); the inner lengths must be equal, and they go away.

# %%
mapped = tokens @ W.T  # (T, d_out)
assert mapped.shape == (3, 4) and mapped.tolist() == products
assert torch.equal(mapped, F.linear(tokens, W))

# %% [markdown]
# Nearly every weight matrix in this course is multiplied like this. With more dimensions in front, (B, T, d_in), each (T, d_in)
# table is multiplied on its own: `x @ W.T` has shape (B, T, d_out).
#
# ### Exercise 3 · a linear map (★☆☆, 3 min)
#
# Write the map with its bias, without `F.linear`: W has a row of weights for each output, and b a number for each output.


# %% tags=["exercise"]
def linear_map(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """(…, d_in) to (…, d_out), with W of (d_out, d_in) and b of (d_out,)."""
    ### BEGIN SOLUTION
    return x @ W.T + b
    ### END SOLUTION


# %%
check.linear_map(linear_map)

# %% [markdown]
# ## 6 · Modules and parameters
#
# A model is a tree of parts. A part is an `nn.Module`: it holds its **parameters**, the numbers that training will adjust,
# and says in `forward` what it computes. `nn.Linear` is one, and `nn.Embedding` is another: the table of section 1, with
# lookup. Here is a module made of both:


# %%
class Tiny(nn.Module):
    """Looks up each id, then maps what it finds."""

    def __init__(self) -> None:
        super().__init__()  # first of all: it sets up the lists of parts and parameters
        self.embedding = nn.Embedding(3, 2)  # 3 ids, 2 numbers each
        self.map = nn.Linear(2, 4)  # d_in, d_out: and its weight is (4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.map(self.embedding(ids))  # (T,) to (T, 2) to (T, 4)


tiny = Tiny().double()  # all parameters in float64
for name, parameter in tiny.named_parameters():
    print(f"{name:<16} {tuple(parameter.shape)!s:<7} {parameter.numel()} numbers")

# %% [markdown]
# The parameters begin as random numbers. `load_state_dict` puts others in their place, by name, and `state_dict` hands them
# out. You call the model like a function, `tiny(ids)`, and torch calls `forward`. Check the first number of the output
# on paper: id 2 has the row [2, 2.1], and output 1 is its dot product with [1, 0], plus 0.5.

# %%
shift = torch.tensor([0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
tiny.load_state_dict({"embedding.weight": table, "map.weight": W, "map.bias": shift})
assert torch.allclose(tiny(ids), table[ids] @ W.T + shift)
for row in tiny(ids).tolist():
    print([f"{number:.4f}" for number in row])

# %% [markdown]
# Some lessons look into a model while it works. A **hook** is a function that a module calls each time it has computed
# something. It stays until you remove it.

# %%
caught: list[Tensor] = []
handle = tiny.embedding.register_forward_hook(
    lambda module, inputs, output: caught.append(output)
)
tiny(ids)
handle.remove()
tiny(ids)  # nobody listens any more
assert len(caught) == 1 and torch.equal(caught[0], table[ids])

# %% [markdown]
# ## 7 · Slopes
#
# How fast does $f(x) = x^2$ grow at $x = 3$? Nudge $x$ by a small $h$ and see by how many times as much $f$ changes:

# %%
for h in (0.1, 0.01, 0.001):
    growth = (3 + h) ** 2 - 3**2
    print(f"h = {h:<5}: f grows by {growth:.6f}, which is {growth / h:.3f} times h")

# %% [markdown]
# On paper: $(3 + h)^2 - 9 = 6h + h^2$, which is $6 + h$ times $h$. As $h$ shrinks, 6 is left. This is the **slope** of $f$
# at 3, also called its derivative, $f'(3) = 6$ or $df/dx = 6$. At any $x$ it is $2x$. A nudge to both sides comes closer
# with the same $h$, because the errors cancel:


# %%
def nudged_slope(f: Callable[[float], float], x: float, h: float = 1e-5) -> float:
    """The slope of f at x, measured."""
    return (f(x + h) - f(x - h)) / (2 * h)


print(f"{nudged_slope(lambda x: x**2, 3.0):.4f}")

# %% [markdown]
# A function of several numbers has a slope in each of them, with the others held still. One writes a round ∂ for that:
# $f(a, b) = a^2 b$ has $\partial f / \partial a = 2ab$ and $\partial f / \partial b = a^2$. The list of all slopes is the
# **gradient**.
#
# Torch finds them without nudging. It notes every operation on a tensor with `requires_grad` (this is **autograd**), and
# `backward()` walks back through its notes. The slopes are then in `.grad`:

# %%
a = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
b = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
(a**2 * b).backward()
assert a.grad is not None and b.grad is not None
print("by hand:", 2 * 3 * 5, 3**2, " torch:", a.grad.item(), b.grad.item())
assert math.isclose(a.grad.item(), nudged_slope(lambda a: a**2 * 5, 3.0), rel_tol=1e-8)

# %% [markdown]
# Two habits of autograd surprise everybody once. First, `backward` *adds* to `.grad`, and does not replace it. Second,
# taking notes costs memory. Where no slopes are wanted, `torch.no_grad()` or `torch.inference_mode()` switches that off,
# and `detach()` gives the same numbers without their past.

# %%
(a**2 * b).backward()  # once more
print("a.grad is now", a.grad.item())
with torch.no_grad():
    assert not (a * b).requires_grad
assert not (a * b).detach().requires_grad

# %% [markdown]
# ## 8 · Rules for slopes
#
# Nobody nudges on paper. Four rules, and two slopes in section 9, are enough for lessons 1 to 9. Let $u$ and $v$ depend on $x$:
#
# | rule | slope | why |
# | --- | --- | --- |
# | sum | $(u + v)' = u' + v'$ | both changes arrive |
# | product | $(uv)' = u'v + uv'$ | each changes while the other holds still |
# | quotient | $(u / v)' = (u'v - uv') / v^2$ | a larger divisor makes less |
# | chain | $f(u(x))' = f'(u) \cdot u'$ | a nudge is stretched twice in a row |
#
# Try them at $x = 2$ with $u = x^2$ and $v = 3x + 1$. Then $u = 4$, $u' = 4$, $v = 7$, $v' = 3$. Write down the four
# slopes before you run the cell; the last one is for $v^2$.

# %%
functions: dict[str, tuple[float, Callable[[float], float]]] = {
    "u + v": (4 + 3, lambda x: x**2 + (3 * x + 1)),
    "u · v": (4 * 7 + 4 * 3, lambda x: x**2 * (3 * x + 1)),
    "u / v": ((4 * 7 - 4 * 3) / 7**2, lambda x: x**2 / (3 * x + 1)),
    "v²": (2 * 7 * 3, lambda x: (3 * x + 1) ** 2),
}
for name, (rule, f) in functions.items():
    print(f"{name:<6} by its rule {rule:8.4f}, nudged {nudged_slope(f, 2.0):8.4f}")
    assert math.isclose(rule, nudged_slope(f, 2.0), rel_tol=1e-8)

# %% [markdown]
# The **chain rule** is the one that training lives on. A model is a long chain, $x \to u \to v \to \ldots \to$ loss, and
# along a chain slopes multiply. Where $x$ reaches the loss on two paths, the slopes of the paths add: that is the sum rule.

# %% [markdown]
# ## 9 · Logarithms and exponentials
#
# $e^x$ makes a positive number of any number; $\ln$ undoes it. Both turn one kind of arithmetic into another:
# $e^{a+b} = e^a \cdot e^b$, and so $\ln(pq) = \ln p + \ln q$. Hence $\ln(1/p) = -\ln p$.
#
# Why do language models need that? The probability of a text is a product of one number for each token. Try 400 tokens with
# 0.1 each:

# %%
print("product:", 0.1**400)
print(f"sum of the logarithms: {400 * math.log(0.1):.4f}")

# %% [markdown]
# The smallest number a float64 can hold is about $5 \cdot 10^{-324}$, so the product is lost. The sum is fine. At the other
# end, $e^x$ overflows soon after $x = 709$: Python raises an error, and torch says `inf` and goes on.

# %%
assert torch.tensor(710.0, dtype=torch.float64).exp() == math.inf
try:
    math.exp(710)
except OverflowError:
    print("e^710 is too large")

# %% [markdown]
# Their slopes are the simplest there are: **the slope of $e^x$ is $e^x$, and the slope of $\ln x$ is $1/x$**. By the chain
# rule, the slope of $\ln u(x)$ is $u' / u$.

# %%
assert math.isclose(nudged_slope(math.exp, 1.5), math.exp(1.5), rel_tol=1e-8)
assert math.isclose(nudged_slope(math.log, 4.0), 1 / 4, rel_tol=1e-8)
print(
    f"ln(1 + x²) at 3: {2 * 3 / (1 + 3**2):.4f}",
    f"nudged {nudged_slope(lambda x: math.log(1 + x**2), 3.0):.4f}",
)

# %% [markdown]
# The natural logarithm counts in nats, the logarithm to base 2 in bits: $\log_2 x = \ln x / \ln 2$.
#
# ### Exercise 4 · a slope that does not overflow (★★☆, 5 min)
#
# Find the slope of $f(x) = \ln(1 + e^x)$ with the rules, on paper. Then write it as a Python function of one number. It
# should be right for *every* number, 1000 and −1000 included: which exponentials are small enough to compute?


# %% tags=["exercise"]
def softplus_slope(x: float) -> float:
    """The slope of ln(1 + e^x) at x."""
    ### BEGIN SOLUTION
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
    ### END SOLUTION


# %%
check.softplus_slope(softplus_slope)

# %% [markdown]
# ## 10 · A training loop
#
# Three points, (0, 1), (1, 3) and (2, 5). Which line $wx + b$ goes through them? You see it at once; a program starts at
# $w = b = 0$ and walks downhill. Its loss is the mean of the squared errors.
#
# The first step by hand: the line says 0 everywhere, so the errors are −1, −3, −5. Each squared error has the slope
# $2 \cdot \text{error} \cdot x$ in $w$, and $2 \cdot \text{error}$ in $b$ (chain rule). The means are −26/3 and −6. Both
# are negative: more $w$ and more $b$ make the loss smaller. So subtract the slopes, times a small **learning rate** of 0.1:
# $w = 0.8667$, $b = 0.6$.

# %%
inputs = torch.tensor([[0], [1], [2]], dtype=torch.float64)  # (3, 1): three examples
targets = torch.tensor([[1], [3], [5]], dtype=torch.float64)
line_model = nn.Linear(1, 1).double()
line_model.load_state_dict({"weight": torch.zeros(1, 1), "bias": torch.zeros(1)})
# SGD subtracts the slope, times the learning rate.
optimiser = torch.optim.SGD(line_model.parameters(), lr=0.1)

loss = F.mse_loss(line_model(inputs), targets)  # forward: how bad is what it says?
optimiser.zero_grad()  # forget the slopes of the step before
loss.backward()  # the slopes of all parameters
optimiser.step()  # move them
w_1, b_1 = line_model.weight.item(), line_model.bias.item()
print(f"loss {loss.item():.4f}, then w = {w_1:.4f}, b = {b_1:.4f}")
assert math.isclose(w_1, 0.1 * 26 / 3) and math.isclose(b_1, 0.1 * 6)

# %% [markdown]
# These four lines, forward, `zero_grad`, `backward`, `step`, train every model in this course. Only the model, the loss and
# the optimiser change. (The next cell goes on from where the model is. For the same numbers once more,
# run the cell above first.)

# %%
for step in range(1, 301):
    loss = F.mse_loss(line_model(inputs), targets)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step in (1, 10, 100, 300):
        w_b = [parameter.item() for parameter in line_model.parameters()]
        print(f"{step:>3} more: w = {w_b[0]:.4f}, b = {w_b[1]:.4f}")

# %% [markdown]
# <div class="alert alert-warning">
# <b>You may have read</b> that <code>loss.backward()</code> updates the model.
# It changes no parameter. It writes slopes into <code>.grad</code>, and adds to what is there already. The move is
# <code>optimiser.step()</code>; and without <code>zero_grad</code> each step moves by the sum of all slopes since the start.
# </div>

# %%
weight = line_model.weight.clone()
line_model.zero_grad()
for times in (1, 2):
    F.mse_loss(line_model(inputs), targets + 1).backward()
    assert line_model.bias.grad is not None
    print(f"after {times} × backward: slope in b {line_model.bias.grad.item():.4f}")
print("the weight has changed:", not torch.equal(weight, line_model.weight))

# %% [markdown]
# ### Exercise 5 · fit a line (★★☆, 7 min)
#
# Write the loop yourself, with slopes from your own formulas or from torch. Start at $w = b = 0$, take `steps` steps down
# the slope of the mean squared error, and return $w$ and $b$. Move both at once: the slope in $b$ is taken before $w$ moves.


# %% tags=["exercise"]
def fit_line(
    x: list[float], y: list[float], steps: int, learning_rate: float
) -> tuple[float, float]:
    """The w and b of wx + b after some steps of gradient descent."""
    ### BEGIN SOLUTION
    w = b = 0.0
    for _ in range(steps):
        errors = [w * x_i + b - y_i for x_i, y_i in zip(x, y, strict=True)]
        slope_w = sum(
            2 * error * x_i for error, x_i in zip(errors, x, strict=True)
        ) / len(x)
        slope_b = sum(2 * error for error in errors) / len(x)
        w, b = w - learning_rate * slope_w, b - learning_rate * slope_b
    return w, b
    ### END SOLUTION


# %%
check.fit_line(fit_line)

# %% [markdown]
# ## What to remember
#
# 1. `dim` names the dimension that goes away; `keepdim=True` leaves it with length 1, so that rows stay rows.
# 2. `view` reads the same numbers with other lengths; to turn a table takes `T` or `transpose`.
# 3. Shapes are aligned at the right; what is 1 or missing is repeated, without a word.
# 4. A linear map is `x @ W.T`, with a row of W for each output.
# 5. Slopes multiply along a chain and add where paths meet; `backward` computes them, and `step` moves the parameters.

# %% [markdown]
# ## Primary sources
#
# - PyTorch, Broadcasting semantics (https://docs.pytorch.org/docs/stable/notes/broadcasting.html)
# - PyTorch, Tensor views (https://docs.pytorch.org/docs/stable/tensor_view.html)
# - PyTorch, Autograd mechanics (https://docs.pytorch.org/docs/stable/notes/autograd.html)
# - PyTorch, torch.nn.Linear (https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html)
# - Paszke et al. 2019, PyTorch: An Imperative Style, High-Performance Deep Learning Library (https://arxiv.org/abs/1912.01703)
# - Baydin et al. 2018, Automatic Differentiation in Machine Learning: a Survey (https://arxiv.org/abs/1502.05767)
#
# **Next** · [Lesson 1 · The next-token game](01_next_token_game.ipynb): what a GPT is, end to end.
