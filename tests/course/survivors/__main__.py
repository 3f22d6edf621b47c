"""Print how many mutants were made, and every survivor that is not listed, ready to be given its reason.

For all lessons or some: ``python -m tests.course.survivors attention_by_hand``.
"""

import json
import sys
from collections import Counter

import torch

from tests.course.exercises import CHECKS
from tests.course.survivors import listed, survivors


def main(lessons: list[str]) -> None:
    """Run the mutants of these lessons, or of all."""
    torch.set_num_threads(1)
    total = Counter[str]()
    for lesson in sorted({lesson for lesson, _ in CHECKS if not lessons or lesson in lessons}):
        count, new = Counter[str](), []
        for name in sorted(name for of, name in CHECKS if of == lesson):
            made, accepted = survivors(lesson, name)
            count.update(made=made, survived=len(accepted))
            reasons = listed(lesson).get(name, {})
            lines = [f'{json.dumps(key, ensure_ascii=False)} = ""' for key in accepted if key not in reasons]
            lines += [f"# refused or not made, take it out: {key}" for key in reasons if key not in accepted]
            new += [f"[{name}]", *lines] if lines else []
        print(
            f"{lesson}: {count['made']} made, {count['made'] - count['survived']} refused, {count['survived']} survive"
        )
        print(*new, sep="\n", end="\n" if new else "")
        total += count
    print(f"all: {total['made']} made, {total['made'] - total['survived']} refused, {total['survived']} survive")


if __name__ == "__main__":
    main(sys.argv[1:])
