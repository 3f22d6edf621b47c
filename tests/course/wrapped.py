"""The solution itself, with something done to its arguments or to its result: right but for that."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from tests.course.exercises import Solved

CHANGED = "{{{} changed in place}}"


def wrapped(exercise: Solved) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The solution itself, with something done to its arguments or to its result."""
    function = exercise.run(exercise.cell)
    inner = getattr(function, "forward", function)  # a learner's layer is a class
    types = {name: str(annotation) for name, annotation in inspect.get_annotations(inner).items()}
    promise = types.pop("return", "")

    def around(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        return type(function.__name__, (function,), {"forward": wrap(inner)}) if inner is not function else wrap(inner)

    for name, annotation in types.items():
        kinds = [word for word in ("Tensor", "list[", "Sequence[", "dict[", "Mapping[") if word in annotation]
        if kinds and "Callable" not in annotation.split("[")[0]:
            yield CHANGED.format(name), partial(around, partial(_changes, name, False))
        if "list[list[" in annotation or "list[Tensor]" in annotation:
            yield CHANGED.format(f"{name}[0]"), partial(around, partial(_changes, name, True))
    if "Tensor" in promise and "Tensor" in str(types):
        yield "{result detached}", partial(around, partial(_returns, Tensor.detach))
        yield "{result in float16}", partial(around, partial(_returns, lambda x: x.half() if _real(x) else x))
    if "Tensor" in promise or "float" in promise:
        for digits in (2, 4):
            yield f"{{result rounded to {digits} digits}}", partial(around, partial(_returns, partial(_round, digits)))


def _changes(name: str, inside: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which changes one of its arguments before it returns."""
    signature = inspect.signature(function)

    @wraps(function)
    def changing(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        value = signature.bind(*args, **kwargs).arguments[name]
        if inside and value:
            value = value[0]
        with torch.no_grad():
            if isinstance(value, Tensor):
                value.logical_not_() if value.dtype == torch.bool else value.add_(1)
            elif isinstance(value, list) and value:
                value.append(value[0])
            elif isinstance(value, dict) and value:
                value.popitem()
        return result

    return changing


def _returns(change: Callable[[Any], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with every tensor or number of its result changed."""

    def changed(result: Any) -> Any:
        if isinstance(result, list | tuple):
            return type(result)(changed(part) for part in result)
        if isinstance(result, dict):
            return {key: changed(part) for key, part in result.items()}
        return change(result) if isinstance(result, Tensor | float) else result

    @wraps(function)
    def changing(*args: Any, **kwargs: Any) -> Any:
        return changed(function(*args, **kwargs))

    return changing


def _real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _round(digits: int, value: Any) -> Any:
    """Rounded, with the gradient of the number itself."""
    if _real(value):
        return value + (value.round(decimals=digits) - value).detach()
    return value if isinstance(value, Tensor) else round(value, digits)
