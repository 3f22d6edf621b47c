"""A cell may be run twice, or again after a later one: what it shows does not change, because a name means one thing.

A learner goes back to a cell, changes a number and runs it again. That works only where the names which the cell reads
still hold what they held. So no lesson gives a name a second meaning that an earlier cell would read, and no cell makes
its own input unusable for the next time.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from notebooks.build import lesson_from, parsed, read_source, tags
from tests.course.test_notebooks import each_source

MAKERS = {"Generator", "default_rng"}  # torch's and numpy's


class Names(ast.NodeVisitor):
    """The names of one cell: what it binds, what it reads before it binds it, and what it gives a new value to.

    A function reads when it is called, so what stands in its body counts as read unless the cell binds it anywhere.
    """

    def __init__(self, tree: ast.AST) -> None:
        self.bound: set[str] = set()
        self.imported: set[str] = set()
        self.generators: set[str] = set()  # of random numbers: every draw changes them
        self.read: set[str] = set()
        self.later: set[str] = set()  # read in the body of a function
        self.visit(tree)
        self.read |= self.later - self.bound

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.read.add(node.id)

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return  # it only tells a type
        assert node.value is not None
        self.visit(node.value)  # before the target, although it stands behind it
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.visit(target)
            if isinstance(target, ast.Name) and _makes_a_generator(node.value):
                self.generators.add(target.id)

    visit_AnnAssign = visit_Assign

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.visit(ast.Name(node.target.id, ast.Load()))
        self.visit(node.target)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_alias(self, node: ast.alias) -> None:
        name = (node.asname or node.name).partition(".")[0]
        self.bound.add(name)
        self.imported.add(name)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        inner = Names(ast.Module([*([ast.Expr(node.type)] if node.type else []), *node.body], []))
        self._inside(inner, {node.name} if node.name else set())  # the name is gone after the handler
        self.bound |= inner.bound

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)
        self.bound.add(node.name)
        self._function(node.args, ast.Module(node.body, []))

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node.args, node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases):
            self.visit(part)
        self.bound.add(node.name)
        inside = Names(ast.Module(node.body, []))
        self.later |= inside.read

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        parts: list[ast.AST] = []
        for loop in node.generators:
            parts += [loop.iter, loop.target, *loop.ifs]
        parts += [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        inner = Names(ast.Pass())
        for part in parts:
            inner.visit(part)
        self._inside(inner, set())
        walrus = [part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        self.bound |= set(walrus)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp

    def _inside(self, inner: "Names", own: set[str]) -> None:
        """Take over what a part with names of its own reads from outside."""
        self.read |= inner.read - own - self.bound
        self.later |= inner.later - own - inner.bound

    def _function(self, arguments: ast.arguments, body: ast.AST) -> None:
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        inside = Names(body)
        self.later |= inside.read - {argument.arg for argument in every if argument} - inside.bound


def _makes_a_generator(value: ast.expr) -> bool:
    """Whether an expression is ``torch.Generator().manual_seed(1)`` or the like."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
        return False
    return value.func.attr in MAKERS or (value.func.attr == "manual_seed" and _makes_a_generator(value.func.value))


def changed_meanings(names: dict[str, Names]) -> Iterator[str]:
    """What would go wrong where a cell is run again, in sentences.

    Args:
        names: of each code cell, in order.
    """
    order = list(names)
    for cell, own in names.items():
        before = [names[other] for other in order[: order.index(cell)]]
        for name in sorted(own.read):
            if name in own.bound - own.imported and any(name in other.bound for other in before):
                yield (
                    f"{cell} reads `{name}` and gives it another value: run twice, it begins with what it left. "
                    "Give the result a name of its own"
                )
            elif any(name in other.generators for other in before):
                yield (
                    f"{cell} draws from `{name}`, which another cell seeded: run twice, it draws other numbers. "
                    "Seed one of its own"
                )
    for name in sorted({name for own in names.values() for name in own.bound}):
        binders = [cell for cell, own in names.items() if name in own.bound]
        for first, second in zip(binders, binders[1:], strict=False):
            if name in names[second].imported:
                continue  # the package's part in place of the lesson's own: the same code
            between = order[order.index(first) + 1 : order.index(second)]
            readers = [cell for cell in between if name in names[cell].read]
            if readers:
                yield (
                    f"`{name}` is bound in {first} and again in {second}, and in between {readers[0]} reads it: run "
                    "again after the second, it would see another value. Give one of them another name"
                )


@each_source
def test_a_cell_run_again_shows_the_same(path: Path) -> None:
    names = {}
    for cell in lesson_from(read_source(path)).cells:  # with stubs: what a reader writes there is hers
        if cell.cell_type == "code":
            own = Names(parsed(cell))
            if any(tag.startswith("package:") for tag in tags(cell)):
                own.imported |= own.bound  # the same code as the package's, says another test
            names[f"cell {cell.id.rpartition('-')[2]} ({cell.source.strip().splitlines()[0][:40]})"] = own
    problems = list(changed_meanings(names))
    assert not problems, f"{path.stem}:\n" + "\n".join(problems)


def names_of(*sources: str) -> dict[str, Names]:
    """The names of cells that are called cell 1, cell 2 and so on."""
    return {f"cell {i}": Names(ast.parse(source)) for i, source in enumerate(sources, start=1)}


FINE = {
    "read after each is bound": ["x = 1", "print(x)", "y = 2", "print(y)"],
    "bound again, and nobody reads it in between": ["x = 1\nprint(x)", "y = 3", "x = 2\nprint(x)"],
    "a loop's own variable": ["for x in [1]:\n    print(x)", "for x in [2]:\n    print(x)", "x = [x for x in [3]]"],
    "an argument, a local, a comprehension": [
        "x = 1",
        "def f(x: int) -> int:\n    return x",
        "def g() -> int:\n    x = 3\n    return x",
        "[x for x in range(3)]",
        "f = lambda x: x",
        "x = 2",
    ],
    "the package's part in place of the lesson's own": ["class A: pass", "A()", "from minigpt.parts import A", "A()"],
    "a sum begun and ended in one cell": ["n = 0\nfor i in range(3):\n    n += i", "print(n)"],
    "the name of an exception": ["try:\n    f()\nexcept E as x:\n    print(x)", "print(1)", "x = 2"],
    "a function that reads what its own cell binds": ["def f():\n    return n\nn = 2", "print(f())"],
    "a generator of its own": ["g = torch.Generator()\ntorch.randn(2, generator=g)"],
    "what a generator drew": ["x = torch.randn(2, generator=torch.Generator().manual_seed(1))", "print(x)"],
    "only a type is told": ["x: int", "x = 1", "print(x)"],
}
WRONG = {
    "another meaning": (["x = 1", "print(x)", "x = 2"], "in between cell 2 reads it"),
    "a function in between": (["x = 1", "def f():\n    return x", "x = 2"], "in between cell 2 reads it"),
    "a lambda in between": (["x = 1", "f = lambda y: x + y", "x = 2"], "in between cell 2 reads it"),
    "a method in between": (["x = 1", "class A:\n    def f(self): return x", "x = 2"], "in between cell 2 reads it"),
    "a comprehension in between": (["x = 1", "[x + i for i in [2]]", "x = 2"], "in between cell 2 reads it"),
    "a loop in between": (["x = [1]", "for i in x:\n    print(i)", "x = 2"], "in between cell 2 reads it"),
    "the loop is the second binding": (["x = 1", "print(x)", "for x in [1]:\n    pass"], "again in cell 3"),
    "a third meaning": (["x = 1", "x = 2", "print(x)", "x = 3"], "bound in cell 2 and again in cell 4"),
    "a function defined twice": (["def f(): pass", "f()", "def f(): return 1"], "`f` is bound in cell 1"),
    "its own input": (["x = 1", "x = x + 1"], "cell 2 reads `x` and gives it another value"),
    "its own input, in short": (["x = 1", "x += 1"], "cell 2 reads `x` and gives it another value"),
    "read first, bound later in the cell": (["x = 1", "print(x)\nx = 5"], "cell 2 reads `x`"),
    "a tuple": (["a, b = 1, 2", "print(b)", "(b, c) = 2, 3"], "`b` is bound in cell 1"),
    "with": (["x = 1", "print(x)", "with f() as x:\n    pass"], "`x` is bound in cell 1"),
    "a walrus": (["x = 1", "print(x)", "[y for i in [1] if (x := i)]"], "`x` is bound in cell 1"),
    "a generator": (["g = torch.Generator().manual_seed(1)", "torch.randn(2, generator=g)"], "cell 2 draws from `g`"),
    "a generator of numpy": (["g = np.random.default_rng(1)", "def f():\n    g.normal()"], "cell 2 draws from `g`"),
    "read in an exception's handler": (
        ["x = 1", "try:\n    f()\nexcept E:\n    print(x)", "x = 2"],
        "in between cell 2 reads it",
    ),
}


@pytest.mark.parametrize("cells", FINE.values(), ids=FINE)
def test_what_is_fine_is_let_pass(cells: list[str]) -> None:
    assert not list(changed_meanings(names_of(*cells)))


@pytest.mark.parametrize(("cells", "words"), WRONG.values(), ids=WRONG)
def test_what_changes_is_told(cells: list[str], words: str) -> None:
    (problem,) = changed_meanings(names_of(*cells))
    assert words in problem
