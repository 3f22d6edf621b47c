"""Wrong answers made by machine: the solution of an exercise with one small change of its code.

A mutant has a name that shows the change in its statement, such as ``if u {< → <=} end``.
"""

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from notebooks.build import BEGIN, END
from tests.course.exercises import Solved

STEPS = 2_000  # rounds of all loops in one check; no solution needs 1,000
OPERATORS: dict[type[ast.operator], list[type[ast.operator]]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Div, ast.Mod],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.MatMult: [ast.Mult],
}
IN_PLACE = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_", ast.Pow: "pow_"}
COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}


class Endless(BaseException):
    """A loop of a mutant has run too often. No ``except Exception`` stops it."""


def mutants(exercise: Solved) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The name of every mutant, and what makes its answer; the same ones in the same order on every machine."""
    tree = ast.parse(exercise.cell)
    seen, names = {ast.unparse(tree)}, Counter[str]()
    for statement, node in _inside_solution(tree, exercise.cell):
        for variant in _variants(node, tree):
            memo: dict[int, Any] = {}
            changed = copy.deepcopy(tree, memo)
            after = _Replace(memo[id(node)], variant)
            changed = ast.fix_missing_locations(after.visit(changed))
            code = ast.unparse(changed)
            if code in seen:
                continue
            seen.add(code)
            new_statement = variant if statement is node else memo[id(statement)]
            name = _difference(_head(statement), _head(new_statement))
            names[name] += 1
            if names[name] > 1:
                name = f"{name} #{names[name]}"
            yield name, partial(_run_with_limit, exercise, changed)


def _run_with_limit(exercise: Solved, tree: ast.Module) -> Any:
    """The answer of a changed cell, whose loops end at the latest after so many rounds."""
    steps = 0

    def tick() -> None:
        nonlocal steps
        steps += 1
        if steps > STEPS:
            raise Endless

    for loop in [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]:
        loop.body.insert(0, ast.parse("_tick()").body[0])
    exercise = exercise._replace(names=exercise.names | {"_tick": tick})
    return exercise.run(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"))


def _inside_solution(tree: ast.Module, cell: str) -> list[tuple[ast.stmt, ast.AST]]:
    """Every node between the markers of a solution, with the statement in which it stands."""
    inside, within = set(), False
    for number, line in enumerate(cell.splitlines(), start=1):
        within = within or BEGIN in line
        if within:
            inside.add(number)
        within = within and END not in line
    found: list[tuple[ast.stmt, ast.AST]] = []

    def visit(node: ast.AST, statement: ast.stmt | None) -> None:
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None and getattr(node, "lineno", statement.lineno) in inside:
            found.append((statement, node))
        for child in ast.iter_child_nodes(node):
            if child is not getattr(node, "annotation", None):
                visit(child, statement)

    visit(tree, None)
    return found


class _Replace(ast.NodeTransformer):
    """One node by another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _variants(node: ast.AST, tree: ast.Module) -> Iterator[ast.AST]:
    """What may stand in a node's place by mistake."""
    match node:
        case ast.Constant(value=bool() as flag):
            yield ast.Constant(not flag)
        case ast.Constant(value=int() | float() as value):
            others = [other.value for other in ast.walk(tree) if isinstance(other, ast.Constant)]
            numbers = [other for other in others if isinstance(other, int | float) and not isinstance(other, bool)]
            halved = [2 * value, value / 2] if isinstance(value, float) else []
            yield from map(_number, [value + 1, value - 1, 0 * value, -value, *halved, *numbers])
        case ast.Constant(value=str()):
            yield ast.Constant("")
        case ast.BinOp(left=left, op=op, right=right):
            yield from (ast.BinOp(left, other(), right) for other in OPERATORS.get(type(op), []))
            if not isinstance(op, ast.Add | ast.Mult):
                yield ast.BinOp(right, op, left)
            yield from (left, right)
            if isinstance(left, ast.Name) and type(op) in IN_PLACE:  # only tensors can
                yield ast.Call(ast.Attribute(left, IN_PLACE[type(op)], ast.Load()), [right], [])
        case ast.AugAssign(target=target, op=op, value=value):
            yield from (ast.AugAssign(target, other(), value) for other in OPERATORS.get(type(op), []))
            yield ast.Assign([target], value)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            yield from (ast.Compare(left, [other()], [right]) for other in COMPARISONS[type(op)])
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            yield from values
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            yield from (ast.IfExp(test, otherwise, body), body, otherwise)
        case ast.Call():
            yield from _calls(node)
        case ast.Slice(lower=lower, upper=upper, step=step):
            yield from (ast.Slice(None, upper, step), ast.Slice(lower, None, step), ast.Slice(lower, upper, None))
        case ast.Subscript(value=value):
            yield value
        case ast.Tuple(elts=elements, ctx=ast.Load()) if len(elements) > 1:
            yield from (ast.Tuple(order, ast.Load()) for order in _exchanged(elements))
        case ast.comprehension(target=target, iter=iterable, ifs=conditions) if conditions:
            yield ast.comprehension(target, iterable, [], 0)
        case ast.Name(id=name, ctx=ast.Load()):
            yield from (ast.Name(other, ast.Load()) for other in _confused(name, tree))
    if isinstance(node, ast.If | ast.While):
        changed = copy.copy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        (target, *_), (left, op, right) = node.targets, (node.value.left, node.value.op, node.value.right)
        if isinstance(target, ast.Name) and ast.unparse(left) == target.id:  # x = x + y, but in place
            yield ast.AugAssign(target, op, right)
    if isinstance(node, ast.stmt) and not isinstance(node, ast.Pass | ast.FunctionDef | ast.ClassDef):
        yield ast.Pass()
    if isinstance(node, ast.Break):
        yield ast.Continue()


def _number(value: float) -> ast.expr:
    """With a minus of its own where it is negative: ``(-2) ** 8`` and not ``-2 ** 8``."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def _calls(call: ast.Call) -> Iterator[ast.AST]:
    """Arguments exchanged and missing, no call at all, and softmax without its shift."""
    arguments, keywords = call.args, call.keywords
    yield from (ast.Call(call.func, order, keywords) for order in _exchanged(arguments))
    for i in range(len(arguments)):
        yield ast.Call(call.func, arguments[:i] + arguments[i + 1 :], keywords)
    for i in range(len(keywords)):
        yield ast.Call(call.func, arguments, keywords[:i] + keywords[i + 1 :])
    yield from arguments[:1]
    if isinstance(call.func, ast.Attribute):
        yield call.func.value
        if call.func.attr == "softmax":
            template = ast.parse("x.exp() / x.exp().sum(keepdim=True)", mode="eval").body
            for node in ast.walk(template):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "sum":
                    node.args, node.keywords = arguments, [*keywords, *node.keywords]
            yield _Names({"x": call.func.value}).visit(template)


class _Names(ast.NodeTransformer):
    """Names by what they stand for."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)


def _exchanged(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    """The list with two neighbours exchanged, for each two."""
    for i in range(len(items) - 1):
        yield [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


def _confused(name: str, tree: ast.Module) -> Iterator[str]:
    """Other parameters that the same function declares with the same type."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            types = {a.arg: ast.unparse(a.annotation) for a in function.args.args if a.annotation}
            yield from (other for other in types if name in types and types[other] == types[name] and other != name)


def _head(statement: ast.AST) -> str:
    """A statement on one line: of a loop or a condition its first."""
    return ast.unparse(ast.fix_missing_locations(statement)).splitlines()[0]


def _difference(before: str, after: str) -> str:
    """``if u {< → <=} end``: what two lines share, and in braces what they do not, word by word."""
    start = 0
    while before[start : start + 1] and before[start : start + 1] == after[start : start + 1]:
        start += 1
    while start and (before[start - 1 : start + 1].isalnum() or after[start - 1 : start + 1].isalnum()):
        start -= 1  # whole words
    end = 0
    room = min(len(before), len(after)) - start
    while end < room and before[-1 - end] == after[-1 - end]:
        end += 1
    while end and before[len(before) - end - 1 : len(before) - end + 1].isalnum():
        end -= 1
    stop = (len(before) - end, len(after) - end)
    return f"{before[:start]}{{{before[start : stop[0]]} → {after[start : stop[1]]}}}{before[stop[0] :]}"
