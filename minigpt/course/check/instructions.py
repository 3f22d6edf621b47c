"""The checks of lesson 16, instructions."""

from collections.abc import Callable

from minigpt.course.exercise import Exercise, NothingReturned, close

IGNORE = -100


@Exercise
def chat_targets(answer: Callable[[list[int], list[bool]], list[int]]) -> str | None:
    """What a model is to foretell at each place of a conversation."""
    # An id of 0, a first id that comes again at the end, a gap in what is learned.
    ids, learned = [9, 5, 0, 7, 8, 6, 9], [False, False, False, True, True, False, True]
    right = [IGNORE, IGNORE, 7, 8, IGNORE, 9]
    given = (list(ids), list(learned))
    got = list(answer(*given))
    came = f"For the ids {ids}, of which those at 3, 4 and 6 are learned, you return {got}."
    if given != (ids, learned):
        return "Your function changed a list that it was only given to read."
    mistakes = {
        "Targets are one place later than what is read: at place 2 the model foretells the id at place 3.": [
            i if told else IGNORE for i, told in zip(ids, learned, strict=True)
        ],
        "One too many: the model reads ids[:-1], so the last target is the last id.": [*right, IGNORE],
        "The id comes from one place later, and the mask must, too: it says which *id* is learned.": [
            i if told else IGNORE for i, told in zip(ids[1:], learned[:-1], strict=True)
        ],
        "The mask is turned round: what is learned stays an id, the rest becomes IGNORE.": [
            IGNORE if told else i for i, told in zip(ids[1:], learned[1:], strict=True)
        ],
        "Nothing is masked. Where the next id is not learned, the target is IGNORE.": ids[1:],
        "Places that are not learned are kept, with IGNORE: the list has one entry for each id that is read.": [
            7,
            8,
            9,
        ],
        "The mask is taken one place later and the id is not.": [
            i if told else IGNORE for i, told in zip(ids[:-1], learned[1:], strict=True)
        ],
        "IGNORE is -100, which the loss leaves out. 0 is a token.": [0, 0, 7, 8, 0, 9],
    }
    if got != right:
        hints = [hint for hint, wrong in mistakes.items() if got == wrong]
        return f"{came} {hints[0] if hints else f'By hand: {right}.'}"
    for other, its, wanted in (
        ([3, 4], [False, True], [4]),
        ([3, 4], [False, False], [IGNORE]),
        ([3, 4, 4, 3], [True, True, True, True], [4, 4, 3]),
    ):
        if (got := list(answer(list(other), list(its)))) != wanted:
            return f"Right for seven ids. For {other} with the mask {its} you return {got} instead of {wanted}."
    return None


@Exercise
def answer_loss(answer: Callable[[list[list[float]], list[list[bool]]], float]) -> str | None:
    """The mean loss of the learned tokens of a batch."""
    losses = [[8.0, 4.0, 3.0], [5.0, 1.0, 1.0, 1.0, 1.0]]
    learned = [[False, True, True], [False, True, True, True, True]]
    given = [list(row) for row in losses]
    masks = [list(row) for row in learned]
    got = float(answer(given, masks))
    came = f"For {losses}, of which all but the first of each row are learned, you return {got:.4g}."
    if given != losses or masks != learned:
        return "Your function changed a list that it was only given to read."
    mistakes = {
        2.25: "That is the mean of the two rows' means. Six tokens share the sum, whichever row they are in.",
        24 / 8: "That is the mean of all tokens. What does the mask leave out?",
        11.0: "That is the sum. How many tokens share it?",
        11 / 8: "The sum is right. It is shared by the *learned* tokens and not by all.",
        11 / 2: "The sum is right. It is shared by the learned tokens, and not by the rows.",
        13 / 2: "Those are the tokens that are *not* learned.",
        20 / 6: "A loss and its mask stand at the same place here. Nothing is one place later.",
        9 / 2: "The rows' means are added here. Six tokens share one sum, whichever row they are in.",
        4 / 4: "That is the last row alone.",
        7 / 2: "That is the first row alone.",
    }
    if not close(got, 11 / 6):  # float32 will do
        hints = [hint for wrong, hint in mistakes.items() if close(got, wrong)]
        return f"{came} {hints[0] if hints else 'By hand: (4 + 3 + 1 + 1 + 1 + 1) / 6 = 1.8333.'}"
    for rows, mask, right in (
        ([[1.0, 2.0], [3.0, 8.0]], [[False, False], [False, True]], 8.0),
        ([[0.0, 0.0, 6.0]], [[True, True, True]], 2.0),
        ([[7.0], [1.0]], [[True], [True]], 4.0),
        ([[5.0, 3.0], []], [[True, False], []], 5.0),
    ):
        if not close(got := float(answer([list(row) for row in rows], [list(row) for row in mask])), right):
            return f"Right for two rows. For {rows} with the mask {mask} you return {got:.4g} instead of {right}."
    return None


SPECIAL = {"<|endoftext|>": 900, "<|system|>": 901, "<|user|>": 902, "<|assistant|>": 903, "<|end|>": 904}
Turns = list[tuple[str, str]]
Render = Callable[[Turns, Callable[[str], list[int]], dict[str, int]], tuple[list[int], list[bool]]]


def _letters(words: str) -> list[int]:
    return [ord(letter) for letter in words]


def _rendered(turns: Turns, **change: bool) -> tuple[list[int], list[bool]]:
    """The right answer, or one with a mistake."""
    ids, learned = [900], [False]
    if change.get("no_start"):
        ids, learned = [], []
    for place, (role, words) in enumerate(turns):
        answers = role == "assistant"
        space = " " if (answers or change.get("space_everywhere")) and not change.get("no_space") else ""
        turn = _letters(space + words)
        told = answers
        if change.get("last_alone"):
            told = answers and place == len(turns) - 1
        if change.get("everything"):
            told = True
        ids.append(SPECIAL[f"<|{role}|>"])
        learned.append(bool(change.get("role_learned")) and told or bool(change.get("everything")))
        ids += turn
        learned += [told] * len(turn)
        if not change.get("no_end"):
            ids.append(904)
            ends = told and not change.get("end_masked") or bool(change.get("every_end"))
            learned.append(ends)
    return ids, learned


MISTAKES = {
    "no_start": "The row begins with <|endoftext|>, like every text that the model has read.",
    "no_space": "An assistant's words begin with a space.",
    "space_everywhere": "Only an assistant's words get a space in front.",
    "no_end": "Where is <|end|>? Each turn ends with it.",
    "end_masked": "The <|end|> behind an answer is not learned. Who shall write it, then?",
    "every_end": "The <|end|> behind a question is learned. The model would learn to end the user's turns.",
    "role_learned": "The assistant's role token is learned. It is given to the model, as the sign that it is its turn.",
    "last_alone": "Only the last answer is learned. All answers are.",
    "everything": "All tokens are learned, the questions as well.",
}


@Exercise
def render_chat(answer: Render) -> str | None:
    """A conversation as ids and mask."""
    short: Turns = [("user", "Hi"), ("assistant", "Yo")]
    long: Turns = [("system", "S"), *short, ("user", "a b"), ("assistant", "c")]
    for turns in (short, long):
        given, special = list(turns), dict(SPECIAL)
        ids, learned = answer(given, _letters, special)
        ids, learned = list(ids), [bool(told) for told in learned]
        came = f"For {turns}:"
        if given != turns or special != SPECIAL:
            return f"{came} your function changed what it was only given to read."
        right = _rendered(turns)
        if len(ids) != len(learned):
            return f"{came} you return {len(ids)} ids and {len(learned)} entries of the mask. One belongs to each id."
        if (ids, learned) != right:
            hints = [hint for name, hint in MISTAKES.items() if (ids, learned) == _rendered(turns, **{name: True})]
            if hints:
                return f"{came} {hints[0]}"
            if ids != right[0]:
                return f"{came} your ids are {ids}, and they should be {right[0]} (a letter's id is its ord)."
            wrong = next(i for i, told in enumerate(learned) if told != right[1][i])
            its = "should" if right[1][wrong] else "should not"
            return f"{came} the ids are right. The id at place {wrong} {its} be learned."
    refused: dict[str, Turns] = {
        "a role that is none of the three": [("user", "a"), ("robot", "b")],
        "no turn at all": [],
        "a last turn that is the user's": [("user", "a"), ("assistant", "b"), ("user", "c")],
        "a system turn alone": [("system", "a")],
        "an assistant who speaks first": [("assistant", "a")],
        "an assistant who speaks after the system": [("system", "s"), ("assistant", "a")],
        "two turns of the user": [("user", "a"), ("user", "b"), ("assistant", "c")],
        "two turns of the assistant": [("user", "a"), ("assistant", "b"), ("assistant", "c")],
        "a system turn in the middle": [
            ("user", "a"),
            ("assistant", "b"),
            ("system", "s"),
            ("user", "a"),
            ("assistant", "b"),
        ],
        "two system turns": [("system", "s"), ("system", "s"), ("user", "a"), ("assistant", "b")],
        "a system turn after the question": [("user", "a"), ("system", "s"), ("assistant", "b")],
    }
    for what, turns in refused.items():
        try:
            answer(list(turns), _letters, dict(SPECIAL))
        except ValueError:
            continue
        except NothingReturned:
            return f"Right for good conversations. {turns} ({what}): you return None. Raise a ValueError instead."
        except Exception as error:
            return f"Right for good conversations. {turns} ({what}) ends in {type(error).__name__}, not in ValueError."
        return f"Right for good conversations. {turns} ({what}) is not refused."
    return None


@Exercise
def until_end(answer: Callable[[list[int], int], tuple[list[int], bool]]) -> str | None:
    """What a model has written up to its end token."""
    for written, end, right in (
        ([5, 6, 9, 7, 9], 9, ([5, 6], True)),
        ([5, 6, 9], 9, ([5, 6], True)),
        ([5, 6], 9, ([5, 6], False)),
        ([9, 5], 9, ([], True)),
        ([], 9, ([], False)),
        ([5, 0, 6], 0, ([5], True)),
        ([9, 5, 3, 5], 3, ([9, 5], True)),
    ):
        given = list(written)
        words, ended = answer(given, end)
        came = f"For {written} and the end token {end} you return {(words, ended)}."
        if given != written:
            return f"For {written} your function changed the list to {given}. It was only given to read."
        if (list(words), bool(ended)) == right:
            continue
        mistakes = {
            "The end token is no part of the answer.": ([*right[0], end], right[1]),
            "What comes behind the *first* end is not part of the answer.": (
                written[: len(written) - 1 - written[::-1].index(end)] if end in written else None,
                right[1],
            ),
            "All that is written comes back. Where does the answer stop?": (written, right[1]),
            "The words are right. Whether an end came is not.": (right[0], not right[1]),
            "The last token is lost: without an end, all of it is the answer.": (written[:-1], right[1]),
            "That is what stands *behind* the end.": (written[len(right[0]) + 1 :], right[1]),
        }
        hints = [hint for hint, wrong in mistakes.items() if (list(words), bool(ended)) == wrong]
        return f"{came} {hints[0] if hints else f'Right would be {right}.'}"
    return None
