"""The check of the page on which a learner begins."""

from collections.abc import Callable

from minigpt.course.exercise import Exercise, close


@Exercise
def mean(answer: Callable[[list[float]], float]) -> str | None:
    """The arithmetic mean of a list."""
    got = answer([1.0, 2.0, 6.0])
    came = f"For [1.0, 2.0, 6.0] you return {got}."
    if close(got, 9.0):
        return f"{came} That is their sum. How many numbers share it?"
    if close(got, 2.0):
        return f"{came} That is the number in the middle, the median. The mean also asks how far away the others are."
    if close(got, 4.5):
        return f"{came} You divide by 2. How many numbers are there?"
    if not close(got, 3.0):
        return f"{came} On paper: 1 + 2 + 6 = 9, shared by three numbers."
    if not close(got := answer([5.0]), 5.0):
        return f"That is right for three numbers. For [5.0] you return {got}. By how many numbers do you divide?"
    got = answer([1, 2])
    if close(got, 1) or close(got, 2):
        return f"Right for 1, 2 and 6. For [1, 2] you return {got}. What does 3 // 2 give in Python, and what 3 / 2?"
    if not close(got, 1.5):
        return f"Right for 1, 2 and 6. For [1, 2] you return {got} instead of 1.5."
    numbers = [3.0, 3.0, -1.0]
    got = answer(numbers)
    came = f"Right for 1, 2 and 6. For [3, 3, -1] you return {got} instead of 5/3 = 1.6666…"
    if close(got, 1):
        return f"{came} The 3 stands there twice. How often do you count it?"
    if not close(got, 5 / 3):
        return f"{came} What do you do with a number below 0, or with a fraction?"
    if numbers != [3.0, 3.0, -1.0]:
        return f"The mean is right, but the list that came in is {numbers} afterwards. Can you leave it alone?"
    return None
