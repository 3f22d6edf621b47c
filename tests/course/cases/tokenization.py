"""Answers to the exercises of lesson 2."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise

import regex

from minigpt.text.bpe import Pair
from minigpt.text.bpe import merge as merged
from minigpt.text.tokenizer import BPETokenizer
from tests.course.cases import Answers


def by_looking_back(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result: list[int] = []
    open_left = False  # whether the latest id may still be the left half of a pair
    for i in ids:
        if open_left and (result[-1], i) == pair:
            result[-1], open_left = new_id, False
        else:
            result.append(i)
            open_left = True
    return result


def by_iterator(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result = []
    rest = list(ids)[::-1]
    while rest:
        i = rest.pop()
        if rest and (i, rest[-1]) == pair:
            rest.pop()
            i = new_id
        result.append(i)
    return result


def recursively(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    if len(ids) < 2:
        return list(ids)
    if (ids[0], ids[1]) == pair:
        return [new_id, *recursively(ids[2:], pair, new_id)]
    return [ids[0], *recursively(ids[1:], pair, new_id)]


def first_occurrence_only(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


def one_step_after_a_merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result = [new_id if (ids[i], ids[i + 1]) == pair else ids[i] for i in range(len(ids) - 1)]
    return result + list(ids[-1:])


def stops_before_the_last(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result: list[int] = []
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            result.append(new_id)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result


def one_index_too_far(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            result.append(new_id)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result


def list_against_tuple(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    result: list[int] = []
    i = 0
    while i < len(ids):
        if list(ids[i : i + 2]) == pair:
            result.append(new_id)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result


def in_either_order(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    return merged(merged(ids, pair, new_id), (pair[1], pair[0]), new_id)


def from_the_right(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    return merged(list(ids)[::-1], (pair[1], pair[0]), new_id)[::-1]


def used_twice(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    at = {i for i in range(len(ids) - 1) if (ids[i], ids[i + 1]) == pair}
    return [new_id if i in at else ids[i] for i in range(len(ids)) if i - 1 not in at]


def by_replacing_text(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return [int(part) for part in text.split()]


def in_place(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    for i in range(len(ids)):
        if tuple(ids[i : i + 2]) == pair:
            ids[i : i + 2] = [new_id]
    return ids


def pair_removed(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    return [i for i in merged(ids, pair, new_id) if i != new_id]


Merges = Mapping[Pair, int]


def merge_by_merge(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    for pair, new_id in sorted(merges.items(), key=lambda item: item[1]):
        ids = merged(ids, pair, new_id)
    return ids


def one_place_at_a_time(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while True:
        possible = [(merges[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in merges]
        if not possible:
            return ids
        new_id, i = min(possible)
        ids = [*ids[:i], new_id, *ids[i + 2 :]]


def like_tiktoken(word: bytes, merges: Merges) -> list[int]:
    of_bytes = {bytes([i]): i for i in range(256)}
    in_bytes = {i: token for token, i in of_bytes.items()}
    for (left, right), new_id in merges.items():
        in_bytes[new_id] = in_bytes[left] + in_bytes[right]
        of_bytes[in_bytes[new_id]] = new_id
    parts = [bytes([byte]) for byte in word]
    while True:
        ranks = [of_bytes.get(left + right, 10**9) for left, right in pairwise(parts)]
        if not ranks or min(ranks) == 10**9:
            return [of_bytes[part] for part in parts]
        i = ranks.index(min(ranks))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def bytes_alone(word: bytes, merges: Merges) -> list[int]:
    return list(word)


def last_learned_first(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while pairs := [pair for pair in pairwise(ids) if pair in merges]:
        best = max(pairs, key=merges.__getitem__)
        ids = merged(ids, best, merges[best])
    return ids


def smallest_pair_first(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while pairs := [pair for pair in pairwise(ids) if pair in merges]:
        ids = merged(ids, min(pairs), merges[min(pairs)])
    return ids


def leftmost_first(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while pairs := [pair for pair in pairwise(ids) if pair in merges]:
        ids = merged(ids, pairs[0], merges[pairs[0]])
    return ids


def longest_token_first(word: bytes, merges: Merges) -> list[int]:
    tokens = BPETokenizer([])._tokens[:]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    ids = []
    while word:
        fits = [i for i, token in enumerate(tokens) if word.startswith(token)]
        ids.append(max(fits, key=lambda i: len(tokens[i])))
        word = word[len(tokens[ids[-1]]) :]
    return ids


def one_merge_only(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    pairs = [pair for pair in pairwise(ids) if pair in merges]
    if pairs:
        best = min(pairs, key=merges.__getitem__)
        ids = merged(ids, best, merges[best])
    return ids


def each_merge_in_one_place(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    for pair, new_id in merges.items():
        ids = first_occurrence_only(ids, pair, new_id)
    return ids


def merges_until_error(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while len(ids) > 1:
        best = min(pairwise(ids), key=lambda pair: merges.get(pair, 10**9))
        ids = merged(ids, best, merges[best])
    return ids


def no_empty_word(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    while (best := min(pairwise(ids), key=lambda pair: merges.get(pair, 10**9))) in merges:
        ids = merged(ids, best, merges[best])
        if len(ids) == 1:
            break
    return ids


def tokens_and_no_ids(word: bytes, merges: Merges) -> list[bytes]:
    return [bytes([byte]) for byte in word]


def part_by_part(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    ids = []
    for name, text in (("<|rules|>", rules), ("<|user|>", message), ("<|end|>", "")):
        ids += [chat.special_tokens[name], *chat.encode_plain(text)]
    return ids


def names_alone_allowed(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    def special(name: str) -> list[int]:
        return chat.encode(name, allow_special=True)

    return special("<|rules|>") + chat.encode(rules) + special("<|user|>") + chat.encode(message) + special("<|end|>")


def with_tiktoken(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    encoding = chat.to_tiktoken()
    first, second, third = (encoding.encode_single_token(name) for name in ("<|rules|>", "<|user|>", "<|end|>"))
    return [first, *encoding.encode_ordinary(rules), second, *encoding.encode_ordinary(message), third]


def glued_together(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return chat.encode(f"<|rules|>{rules}<|user|>{message}<|end|>", allow_special=True)


def nothing_allowed(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return chat.encode(f"<|rules|>{rules}<|user|>{message}<|end|>")


def names_removed(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    for name in chat.special_tokens:
        message = message.replace(name, "")
    return part_by_part(chat, rules, message)


def no_end(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return part_by_part(chat, rules, message)[:-1]


def message_before_the_rules(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return part_by_part(chat, message, rules)


def as_bytes(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = chat.special_tokens.values()
    return [first, *rules.encode(), second, *message.encode(), third]


def no_border(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return [i for i in part_by_part(chat, rules, message) if i != chat.special_tokens["<|user|>"]]


def rules_are_trusted(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = chat.special_tokens.values()
    return [first, *chat.encode(rules, allow_special=True), second, *chat.encode(message), third]


def stripped(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    return part_by_part(chat, rules.strip(), message.strip())


def end_after_each(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = chat.special_tokens.values()
    return [first, *chat.encode(rules), third, second, *chat.encode(message), third]


def by_pattern(digits: str) -> list[str]:
    return regex.findall(r"\d{1,3}(?=(?:\d{3})*$)", digits)


def from_the_end(digits: str) -> list[str]:
    groups: list[str] = []
    while digits:
        digits, group = digits[:-3], digits[-3:]
        groups.insert(0, group)
    return groups


def turned_round_twice(digits: str) -> list[str]:
    return [group[::-1] for group in textwrap.wrap(digits[::-1], 3)][::-1]


def counted_from_the_left(digits: str) -> list[str]:
    return textwrap.wrap(digits, 3)


def single_digits(digits: str) -> list[str]:
    return list(digits)


def groups_backwards(digits: str) -> list[str]:
    return from_the_end(digits)[::-1]


def never_turned_back(digits: str) -> list[str]:
    return textwrap.wrap(digits[::-1], 3)


def groups_turned_back_only(digits: str) -> list[str]:
    return textwrap.wrap(digits[::-1], 3)[::-1]


def rest_lost(digits: str) -> list[str]:
    return [digits[start : start + 3] for start in range(len(digits) % 3, len(digits), 3)]


def empty_first_group(digits: str) -> list[str]:
    return [digits[: len(digits) % 3], *rest_lost(digits)]


def with_commas(digits: str) -> list[str]:
    return f"{int(digits):,}".split(",")


def numbers(digits: str) -> list[int]:
    return [int(group) for group in from_the_end(digits)]


def strings(ids: Sequence[int], pair: Pair, new_id: int) -> list[str]:
    return [str(i) for i in merged(ids, pair, new_id)]


def lists_in_a_list(chat: BPETokenizer, rules: str, message: str) -> list[int | list[int]]:
    for_rules, for_user, for_end = chat.special_tokens.values()
    return [for_rules, chat.encode(rules), for_user, chat.encode(message), for_end]


def minus_zero(digits: str) -> list[str]:
    return [digits[-i - 3 : -i] for i in range(0, len(digits), 3)][::-1]


def one_string(digits: str) -> str:
    return f"{int(digits):,}"


ANSWERS = {
    "merge": Answers(
        right=[by_looking_back, by_iterator, recursively],
        wrong={
            first_occurrence_only: "The pair stands there twice",
            one_step_after_a_merge: "How far must you go on after a merge?",
            stops_before_the_last: "Where did the last id go?",
            one_index_too_far: "IndexError",
            list_against_tuple: "Nothing was merged",
            in_either_order: "Is 2, 1 the pair 1, 2?",
            from_the_right: "From which side do you begin?",
            used_twice: "Each 1 can be used once only",
            by_replacing_text: "Is the end of the number 11 the id 1?",
            in_place: "changed the list that it was given",
            pair_removed: "nothing stands in its place",
            strings: "These are strings",
        },
    ),
    "encode_word": Answers(
        right=[merge_by_merge, one_place_at_a_time, like_tiktoken],
        wrong={
            bytes_alone: "These are the bytes",
            last_learned_first: "Is it the smallest or the largest new id",
            smallest_pair_first: "That decides ties in learning",
            leftmost_first: "You merged what stands first",
            longest_token_first: "The longest token at the beginning",
            one_merge_only: "What do you do after the first merge?",
            each_merge_in_one_place: "How often does its pair stand there?",
            merges_until_error: "KeyError",
            no_empty_word: "ValueError",
            tokens_and_no_ids: "Ids are numbers",
        },
    ),
    "chat_prompt": Answers(
        right=[part_by_part, names_alone_allowed, with_tiktoken],
        wrong={
            glued_together: "Who put the second one there?",
            nothing_allowed: "No special id is among them",
            names_removed: "Ordinary text need not be removed",
            no_end: "that the user has finished?",
            message_before_the_rules: "The message is where the rules should be",
            as_bytes: "byte by byte",
            no_border: "Where do the rules end",
            rules_are_trusted: "your prompt ends twice",
            stripped: "Do both arrive with every space?",
            end_after_each: "On paper: <|rules|>, the rules",
            lists_in_a_list: "There are lists in your list",
        },
    ),
    "group_digits": Answers(
        right=[by_pattern, from_the_end, turned_round_twice],
        wrong={
            counted_from_the_left: "counted from the left",
            single_digits: "single digits",
            groups_backwards: "In which order does one read them?",
            never_turned_back: "What has to be turned back?",
            groups_turned_back_only: "Within a group",
            rest_lost: "Where is the 1?",
            empty_first_group: "Six digits fill two groups",
            with_commas: "Where did a zero get lost?",
            numbers: "A group is a piece of text",
            minus_zero: "In Python -0 is 0",
            one_string: "What cuts it at the commas?",
        },
    ),
}
