"""Answers to the exercises of lesson 16, right and wrong."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from tests.course.cases import Answers

IGNORE = -100
Encode = Callable[[str], list[int]]
Turns = list[tuple[str, str]]
Rendered = tuple[list[int], list[bool]]


def by_index(ids: list[int], learned: list[bool]) -> list[int]:
    targets = []
    for t in range(len(ids) - 1):
        targets.append(ids[t + 1] if learned[t + 1] else IGNORE)
    return targets


def by_filling_in(ids: list[int], learned: list[bool]) -> list[int]:
    targets = [IGNORE] * len(ids)
    for t, told in enumerate(learned):
        if told:
            targets[t] = ids[t]
    return targets[1:]


def not_moved(ids: list[int], learned: list[bool]) -> list[int]:
    return [i if told else IGNORE for i, told in zip(ids, learned, strict=True)]


def one_too_many(ids: list[int], learned: list[bool]) -> list[int]:
    return [*by_index(ids, learned), IGNORE]


def mask_not_moved(ids: list[int], learned: list[bool]) -> list[int]:
    return [i if told else IGNORE for i, told in zip(ids[1:], learned[:-1], strict=True)]


def ids_not_moved(ids: list[int], learned: list[bool]) -> list[int]:
    return [i if told else IGNORE for i, told in zip(ids[:-1], learned[1:], strict=True)]


def turned_round(ids: list[int], learned: list[bool]) -> list[int]:
    return [IGNORE if told else i for i, told in zip(ids[1:], learned[1:], strict=True)]


def nothing_masked(ids: list[int], learned: list[bool]) -> list[int]:
    return ids[1:]


def left_out(ids: list[int], learned: list[bool]) -> list[int]:
    return [i for i, told in zip(ids, learned, strict=True) if told]


def zeros(ids: list[int], learned: list[bool]) -> list[int]:
    return [i if told else 0 for i, told in zip(ids[1:], learned[1:], strict=True)]


def end_lost(ids: list[int], learned: list[bool]) -> list[int]:
    return [*by_index(ids, learned)[:-1], IGNORE]


def repeated_lost(ids: list[int], learned: list[bool]) -> list[int]:
    following = zip(ids[:-1], ids[1:], learned[1:], strict=True)
    return [i if told and i != before else IGNORE for before, i, told in following]


def in_place(ids: list[int], learned: list[bool]) -> list[int]:
    ids.pop(0)
    learned.pop(0)
    return [i if told else IGNORE for i, told in zip(ids, learned, strict=True)]


def flat(losses: list[list[float]], learned: list[list[bool]]) -> float:
    pairs = zip(chain(*losses), chain(*learned), strict=True)
    told = [loss for loss, its in pairs if its]
    return sum(told) / len(told)


def with_products(losses: list[list[float]], learned: list[list[bool]]) -> float:
    masks = list(chain.from_iterable(learned))
    return sum(a * b for a, b in zip(chain.from_iterable(losses), masks, strict=True)) / sum(masks)


def mean_of_means(losses: list[list[float]], learned: list[list[bool]]) -> float:
    means = [flat([row], [mask]) for row, mask in zip(losses, learned, strict=True)]
    return sum(means) / len(means)


def all_tokens(losses: list[list[float]], learned: list[list[bool]]) -> float:
    every = list(chain(*losses))
    return sum(every) / len(every)


def just_the_sum(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return flat(losses, learned) * sum(map(sum, learned))


def by_all_tokens(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return just_the_sum(losses, learned) / sum(map(len, learned))


def by_rows(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return just_the_sum(losses, learned) / len(losses)


def the_others(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return flat(losses, [[not told for told in mask] for mask in learned])


def last_row(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return flat(losses[-1:], learned[-1:])


def first_row(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return flat(losses[:1], learned[:1])


def zeros_left_out(losses: list[list[float]], learned: list[list[bool]]) -> float:
    told = [loss for loss, its in zip(chain(*losses), chain(*learned), strict=True) if its and loss]
    return sum(told) / len(told)


def in_float32(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return float(torch.tensor([*chain(*losses)])[torch.tensor([*chain(*learned)])].mean())


def mask_one_later(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return flat([row[:-1] for row in losses], [mask[1:] for mask in learned])


def sum_of_means(losses: list[list[float]], learned: list[list[bool]]) -> float:
    return mean_of_means(losses, learned) * len(losses)


def spoilt(losses: list[list[float]], learned: list[list[bool]]) -> float:
    result = flat(losses, learned)
    losses[0].clear()
    return result


def with_an_index(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    roles = [role for role, _ in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2):
        raise ValueError(f"no conversation: {roles}")
    ids, learned = [special["<|endoftext|>"]], [False]
    for role, words in turns:
        if role == "assistant":
            turn = [*encode(" " + words), special["<|end|>"]]
            ids += [special["<|assistant|>"], *turn]
            learned += [False] + [True] * len(turn)
        else:
            turn = [special[f"<|{role}|>"], *encode(words), special["<|end|>"]]
            ids += turn
            learned += [False] * len(turn)
    return ids, learned


def in_pieces(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    pieces: list[tuple[list[int], bool]] = [([special["<|endoftext|>"]], False)]
    before = "nobody"
    follows = {"nobody": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}
    for role, words in turns:
        if role not in follows[before]:
            raise ValueError(f"{role} after {before}")
        before = role
        said = encode(" " * (role == "assistant") + words)
        pieces += [([special[f"<|{role}|>"]], False), ([*said, special["<|end|>"]], role == "assistant")]
    if before != "assistant":
        raise ValueError("no answer at the end")
    return [i for ids, _ in pieces for i in ids], [told for ids, told in pieces for _ in ids]


def _learned_where(told: Callable[[int, list[int], list[bool]], bool]) -> Callable[..., Rendered]:
    """A right answer, but for which ids are learned."""

    def render(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
        ids, learned = in_pieces(turns, encode, special)
        return ids, [told(place, ids, learned) for place in range(len(ids))]

    return render


END, ASSISTANT = 904, 903
end_masked = _learned_where(lambda t, ids, learned: learned[t] and ids[t] != END)
every_end = _learned_where(lambda t, ids, learned: learned[t] or ids[t] == END)
role_learned = _learned_where(lambda t, ids, learned: learned[t] or ids[t] == ASSISTANT)
everything = _learned_where(lambda t, ids, learned: t > 0)
last_alone = _learned_where(lambda t, ids, learned: learned[t] and ASSISTANT not in ids[t:])
nothing = _learned_where(lambda t, ids, learned: False)


def no_start(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = in_pieces(turns, encode, special)
    return ids[1:], learned[1:]


def without_space(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    return in_pieces(turns, lambda words: encode(words.removeprefix(" ")), special)


def spaces_everywhere(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    return in_pieces(turns, lambda words: encode(" " + words.removeprefix(" ")), special)


def no_end(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = in_pieces(turns, encode, special)
    kept = [(i, told) for i, told in zip(ids, learned, strict=True) if i != special["<|end|>"]]
    return [i for i, _ in kept], [told for _, told in kept]


def mask_too_short(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = in_pieces(turns, encode, special)
    return ids, learned[1:]


def no_roles(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = in_pieces(turns, encode, special)
    kept = [(i, told) for i, told in zip(ids, learned, strict=True) if i not in (901, 902, 903)]
    return [i for i, _ in kept], [told for _, told in kept]


def takes_turns_away(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    rendered = in_pieces(turns, encode, special)
    turns.pop()
    return rendered


def refuses_nothing(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = [special["<|endoftext|>"]], [False]
    for role, words in turns:
        turn = [*encode(" " * (role == "assistant") + words), special["<|end|>"]]
        ids += [special.get(f"<|{role}|>", 0), *turn]
        learned += [False, *[role == "assistant"] * len(turn)]
    return ids, learned


def fails_by_itself(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    ids, learned = [special["<|endoftext|>"]], [False]
    for role, words in turns:
        turn = [*encode(" " * (role == "assistant") + words), special["<|end|>"]]
        ids += [special[f"<|{role}|>"], *turn]
        learned += [False, *[role == "assistant"] * len(turn)]
    return ids, learned


def order_not_checked(turns: Turns, encode: Encode, special: dict[str, int]) -> Rendered:
    if not turns or turns[-1][0] != "assistant" or any(f"<|{role}|>" not in special for role, _ in turns):
        raise ValueError("no conversation")
    return refuses_nothing(turns, encode, special)


def returns_none(turns: Turns, encode: Encode, special: dict[str, int]) -> Any:
    try:
        return in_pieces(turns, encode, special)
    except ValueError:
        return None


def by_loop(written: list[int], end: int) -> tuple[list[int], bool]:
    words: list[int] = []
    for i in written:
        if i == end:
            return words, True
        words.append(i)
    return words, False


def by_position(written: list[int], end: int) -> tuple[list[int], bool]:
    places = [place for place, i in enumerate(written) if i == end]
    return written[: places[0]] if places else written[:], bool(places)


def end_kept(written: list[int], end: int) -> tuple[list[int], bool]:
    words, ended = by_loop(written, end)
    return [*words, end] if ended else words, ended


def last_end(written: list[int], end: int) -> tuple[list[int], bool]:
    if end not in written:
        return written, False
    return written[: len(written) - 1 - written[::-1].index(end)], True


def uncut(written: list[int], end: int) -> tuple[list[int], bool]:
    return written, end in written


def never_ended(written: list[int], end: int) -> tuple[list[int], bool]:
    return by_loop(written, end)[0], False


def always_cut(written: list[int], end: int) -> tuple[list[int], bool]:
    return (written[: written.index(end)], True) if end in written else (written[:-1], False)


def behind(written: list[int], end: int) -> tuple[list[int], bool]:
    return written[written.index(end) + 1 :] if end in written else [], end in written


def ends_dropped(written: list[int], end: int) -> tuple[list[int], bool]:
    return [i for i in written if i != end], end in written


def eaten(written: list[int], end: int) -> tuple[list[int], bool]:
    result = by_loop(written, end)
    written.clear()
    return result


ANSWERS = {
    "chat_targets": Answers(
        right=[by_index, by_filling_in],
        wrong={
            not_moved: "Targets are one place later",
            one_too_many: "the last target is the last id",
            mask_not_moved: "and the mask must, too",
            ids_not_moved: "one place later and the id is not",
            turned_round: "The mask is turned round",
            nothing_masked: "Nothing is masked",
            left_out: "are kept, with IGNORE",
            zeros: "0 is a token",
            end_lost: "By hand",
            repeated_lost: "Right for seven ids",
            in_place: "changed a list",
        },
    ),
    "answer_loss": Answers(
        right=[flat, with_products, in_float32],
        wrong={
            mean_of_means: "mean of the two rows' means",
            all_tokens: "mean of all tokens",
            just_the_sum: "That is the sum",
            by_all_tokens: "tokens and not by all",
            by_rows: "and not by the rows",
            mask_one_later: "Nothing is one place later",
            sum_of_means: "The rows' means are added",
            the_others: "tokens that are *not* learned",
            last_row: "the last row alone",
            first_row: "the first row alone",
            zeros_left_out: "Right for two rows",
            spoilt: "changed a list",
        },
    ),
    "render_chat": Answers(
        right=[with_an_index, in_pieces],
        wrong={
            end_masked: "Who shall write it, then?",
            every_end: "to end the user's turns",
            role_learned: "role token is learned",
            everything: "the questions as well",
            last_alone: "Only the last answer",
            nothing: "should be learned",
            no_start: "The row begins with",
            without_space: "words begin with a space",
            spaces_everywhere: "Only an assistant's words",
            no_end: "Where is <|end|>",
            mask_too_short: "One belongs to each id",
            no_roles: "and they should be",
            takes_turns_away: "changed what it was only",
            refuses_nothing: "(a role that is none of the three) is not refused",
            fails_by_itself: "ends in KeyError",
            returns_none: "Raise a ValueError instead",
            order_not_checked: "(an assistant who speaks first) is not refused",
        },
    ),
    "until_end": Answers(
        right=[by_loop, by_position],
        wrong={
            end_kept: "is no part of the answer",
            last_end: "behind the *first* end",
            uncut: "Where does the answer stop?",
            never_ended: "Whether an end came is not",
            always_cut: "The last token is lost",
            behind: "stands *behind* the end",
            ends_dropped: "Right would be",
            eaten: "changed the list to",
        },
    ),
}
