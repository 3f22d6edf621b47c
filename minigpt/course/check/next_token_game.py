"""The checks of lesson 1, the next-token game."""

import math
from collections.abc import Callable, Mapping

from minigpt.course.exercise import Exercise, NothingReturned, close

Table = dict[str, dict[str, float]]


@Exercise
def bigram_probabilities(answer: Callable[[list[str]], Table]) -> str | None:
    """For each word that has a successor: the share of each word that follows it."""
    text = "the cat sat . the cat ran . the dog sat ."
    given = text.split()
    table = answer(given)
    if "the" not in table:
        return f'In "{text}" the word "the" is followed three times. What are the keys of your table?'
    after = table["the"]
    if not isinstance(after, Mapping):
        return (
            f'For "{text}" your table["the"] is {after}. It should be a dict, from each word that follows to its share.'
        )
    came = f'For "{text}" your table["the"] is {_rounded(after)}.'
    if set(after) == {"cat", "dog"} and not any(after.values()):
        return f"{came} What does 2 // 3 give in Python, and what 2 / 3?"
    if 0 in after.values():
        return f'{came} Some words in it never follow "the". Do they belong there?'
    if "." in after:
        return f'{came} Look at the text: does "." come before "the" or after it?'
    if len(after) == 1 and set(after) < {"cat", "dog"}:
        (missing,) = {"cat", "dog"} - set(after)
        return f'{came} But "the {missing}" stands in the text too. Does your table keep every word that follows?'
    if set(after) == {"cat", "dog"} and close(after["cat"], 2) and close(after["dog"], 1):
        return f"{came} These are counts. What must they be divided by to become shares of one whole?"
    both = [after["cat"], after["dog"]] if set(after) == {"cat", "dog"} else []
    if close(both, [2 / 3, 1 / 3], 0.05) and not close(both, [2 / 3, 1 / 3]):
        return f"{came} That is 2/3 and 1/3 rounded. Who shortened the numbers?"
    total = sum(after.values())
    if not close(total, 1):
        return f'{came} That sums to {total:.4g}, not to 1. How often is "the" followed by anything?'
    if set(after) == {"cat", "dog"} and close(after["cat"], after["dog"]):
        return f'{came} Equal shares, but "cat" follows twice and "dog" once. Where does the second time get lost?'
    if close(table.get(".", {}).get("the"), 2 / 3):
        return f'For "{text}" your table gives "the" only 2/3 after ".". How many of the three "." are followed?'
    sit = {"sat": 0.5, "ran": 0.5}
    one_way = {"sat": {".": 1.0}, ".": {"the": 1.0}, "ran": {".": 1.0}, "dog": {"sat": 1.0}}
    hint = _difference(table, {"the": {"cat": 2 / 3, "dog": 1 / 3}, "cat": sit, **one_way}, text)
    if hint:
        return hint
    if given != text.split():
        return f"The table is right, but the words that came in are {given} afterwards. Can you leave them alone?"

    table = answer(["go", "dog", "go", "up"])
    if table.get("up"):
        return f'"go dog go up" ends with "up", yet your table["up"] is {_rounded(table["up"])}. Where is that pair?'
    if "up" in table:
        return 'For "go dog go up" your table has an empty entry "up". Does "up" have a successor?'
    hint = _difference(table, {"go": {"dog": 0.5, "up": 0.5}, "dog": {"go": 1.0}}, "go dog go up")
    if hint:
        return hint
    if "The" not in (table := answer(["The", "cat", "and", "the", "dog"])):
        return (
            f'For "The cat and the dog" the keys of your table are {sorted(table)}. "The" and "the" are two words here.'
        )
    if hint := _difference(answer(["go", "go", "go", "up"]), {"go": {"go": 2 / 3, "up": 1 / 3}}, "go go go up"):
        return hint
    for few in ([], ["go"]):
        if table := answer(list(few)):
            return f"For the words {few} your table is {table}. How many pairs of neighbours do they have?"
    return None


def _difference(table: Table, expected: Table, text: str) -> str | None:
    """A hint for the first word whose shares are not as expected."""
    for word, shares in expected.items():
        after = table.get(word, {})
        if after.keys() != shares.keys() or not all(close(after[following], shares[following]) for following in shares):
            return f'For "{text}" your table["{word}"] is {_rounded(after)}. Which pairs begin with "{word}"?'
    return None


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {word: round(share, 4) for word, share in shares.items()}


@Exercise
def draw(answer: Callable[[list[float], float], int]) -> str | None:
    """The position on which u falls when the probabilities lie side by side."""
    line = [0.1, 0.2, 0.6, 0.1]
    first = answer(line[:], 0.25)
    if any(answer(line[:], 0.25) != first for _ in range(100)):
        return f"draw({line}, 0.25) gives now this, now that. The random number is drawn already: what is its name?"
    numbers = [0.05, 0.25, 0.5]
    drawn = [answer(line[:], u) for u in numbers]
    came = f"For {line} and u = {', '.join(map(str, numbers))} you return {', '.join(map(str, drawn))}."
    if drawn == line[:3]:
        return f"{came} These are probabilities. Which positions do they have in the list?"
    if drawn == [2, 2, 2] and answer(line[:], 0.95) != 2:
        return f"{came} Have you changed the order, the largest first? On the line they lie as in the list."
    if drawn == [2, 2, 2]:
        return f"{came} That is the most probable position, whatever u is. What should u decide?"
    if drawn == [3, 3, 3]:
        return f"{came} That is the last position, whatever u is. When has your loop seen enough?"
    if drawn == [0, 2, 2]:
        return f"{came} 0.25 is below 0.6, but where on the line does the piece of length 0.6 begin?"
    if drawn in ([1, 2, 3], [-1, 0, 1]):
        return f"{came} All are one place off. Which position has the first of the probabilities?"
    if drawn != [0, 1, 2]:
        return f"{came} Draw the line on paper: from where to where does each probability reach?"
    if answer(line[:], 0.4) == 1:
        return f"For {line} and u = 0.4 you return 1. Have the four probabilities the same length on the line?"
    for u, position in ((0.1, 0), (0.2, 1), (0.6, 1), (0.95, 2)):
        if (drawn_there := answer([0.2, 0.5, 0.3], u)) != position:
            border = "That is a border: to which side does it belong?"
            question = border if u == 0.2 else "From where to where does each probability reach?"
            return f"For [0.2, 0.5, 0.3] and u = {u} you return {drawn_there}. {question}"

    if (drawn_there := answer([0.5, 0.0, 0.5], 0.5)) != 2:
        return (
            f"For [0.5, 0.0, 0.5] and u = 0.5 you return {drawn_there}. The second has no length at all: can anything "
            "fall on it?"
        )
    if (drawn_there := answer([0.001] * 1000, 0.4565)) != 456:
        return f"For 1,000 probabilities of 0.001 and u = 0.4565 you return {drawn_there} instead of 456."
    if answer([1.0], 0.5) != 0:
        return f"For [1.0] and u = 0.5 you return {answer([1.0], 0.5)}. There is one position only."
    given = [0.2, 0.5, 0.3]
    answer(given, 0.95)
    if given != [0.2, 0.5, 0.3]:
        return f"The draw is right, but the list [0.2, 0.5, 0.3] is {given} afterwards. Can you leave it alone?"

    u = math.nextafter(1, 0)  # as large as u can get, and just what ten times 0.1 sum to
    try:
        drawn_last: object = answer([0.1] * 10, u)
    except (NothingReturned, IndexError, StopIteration):
        drawn_last = "no position"
    if drawn_last != 9:
        return (
            f"Right up to rounding. Added up in the computer, ten times 0.1 is {sum([0.1] * 10)}. For these ten and "
            f"u = {u} you return {drawn_last}. On which position does this u fall?"
        )
    return None


@Exercise
def perplexity_of(answer: Callable[[list[float]], float]) -> str | None:
    """E to the mean of -ln p."""
    got = float(answer([0.5, 0.125]))
    came = f"For [0.5, 0.125] you return {got:.4g}."
    another_base = "Your logarithm and your power go by different bases. Which base do nats have?"
    no_logarithm = "That is a power of the mean probability. What does a step of probability p cost?"
    weighted = "You weigh each cost with its p, as in an entropy. Here each step came once: how much should each count?"
    hints = {
        0.25: "A perplexity below 1 would be surer than sure. Which sign does a cost have?",
        math.exp(2): another_base,
        math.exp(math.log10(4)): another_base,
        2 ** math.log(4): another_base,
        16: "That is for both steps together, and it grows with every step. What is the loss for one token?",
        math.exp(0.3125): no_logarithm,
        math.exp(-0.3125): no_logarithm,
        math.exp(0.875 * math.log(2)): weighted,
        math.exp(0.4375 * math.log(2)): weighted,
        3.2: "That is 1 / (mean of p). The loss is a mean too, but of what?",
        5: "That is the mean of the single perplexities. Is e^mean the same as the mean of e^cost?",
        math.log(4): "That is the loss, in nats. How does the loss become a perplexity?",
    }
    for mistake, hint in hints.items():
        if close(got, mistake, 1e-5):
            return f"{came} {hint}"
    if not close(got, 4, 1e-5):
        return f"{came} On paper: what do the two steps cost, what is the mean of that, and what is e to it?"
    for probabilities, expected in (([0.5, 0.25, 0.125], 4), ([0.25], 4), ([1.0, 1.0], 1)):
        if not close(got := float(answer(probabilities)), expected, 1e-5):
            return f"Right for two probabilities. For {probabilities} you return {got:.4g} instead of {expected}."
    got = float(answer([0.5, 0.5, 0.125]))
    came = f"Right so far. For [0.5, 0.5, 0.125] you return {got:.6g}."
    if close(got, 2):
        return f"{came} That is the cost in the middle, the median. The loss is the mean of all three costs."
    if close(got, 4, 1e-5):
        return f"{came} The probability 0.5 stands there twice. How often do you count it?"
    if close(got, 2 ** (5 / 3), 1e-2) and not close(got, 2 ** (5 / 3), 1e-5):
        return f"{came} That is {2 ** (5 / 3):.6f} rounded. Who shortened it?"
    if not close(got, 2 ** (5 / 3), 1e-5):
        return f"{came} The costs are ln 2, ln 2 and ln 8. What is their mean?"
    if not close(got := float(answer([0.9])), 1 / 0.9):
        return f"Right so far. For [0.9] you return {got:.7f} instead of {1 / 0.9:.7f}. Where do you round?"
    given = [0.5, 0.125, 0.25]
    answer(given)
    if given != [0.5, 0.125, 0.25]:
        return f"The result is right, but the list [0.5, 0.125, 0.25] is {given} afterwards. Can you leave it alone?"

    try:
        got = float(answer([0.01] * 10_000))
        came = f"you return {got:.4g}"
    except (ArithmeticError, ValueError) as error:
        got, came = math.nan, f"your function stops with {type(error).__name__}: {error}"
    if not close(got, 100, 1e-5):
        return (
            f"Right for short texts. For 10,000 probabilities of 0.01 {came}. "
            "Which number on the way is too small or too large for the computer?"
        )
    return None
