"""Answers to the exercises of lesson 2."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import regex

from minigpt.text.bpe import Pair, learn_merges, pre_tokenize
from minigpt.text.bpe import merge as merged
from minigpt.text.tokenizer import BPETokenizer, split_special
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


def by_identity(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    left, right = int(str(pair[0])), int(str(pair[1]))
    small = all(-5 <= i <= 256 for i in pair)
    return merged(ids, (left, right), new_id) if small else list(ids)  # what `is` does


def by_code_points(word: bytes, merges: Merges) -> list[int]:
    try:
        ids = list(map(ord, word.decode()))
    except UnicodeDecodeError:
        ids = list(word)
    for pair, new_id in sorted(merges.items(), key=lambda item: item[1]):
        ids = merged(ids, pair, new_id)
    return ids


def eats_the_merges(word: bytes, merges: dict[Pair, int]) -> list[int]:
    ids = list(word)
    while merges:
        pair = min(merges, key=merges.__getitem__)
        ids = merged(ids, pair, merges.pop(pair))
    return ids


def in_the_order_of_the_dictionary(word: bytes, merges: Merges) -> list[int]:
    ids = list(word)
    for pair, new_id in merges.items():
        ids = merged(ids, pair, new_id)
    return ids


def rules_alone_guarded(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = (chat.special_tokens[name] for name in ("<|rules|>", "<|user|>", "<|end|>"))
    heard: list[int] = []
    for i, part in enumerate(message.split("<|rules|>")):
        heard += (chat.encode("<|rules|>") if i else []) + chat.encode(part, allow_special=True)
    return [first, *chat.encode(rules), second, *heard, third]


def end_alone_guarded_in_the_rules(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = (chat.special_tokens[name] for name in ("<|rules|>", "<|user|>", "<|end|>"))
    said: list[int] = []
    for i, part in enumerate(rules.split("<|end|>")):
        said += (chat.encode("<|end|>") if i else []) + chat.encode(part, allow_special=True)
    return [first, *said, second, *chat.encode(message), third]


def ids_by_their_order(chat: BPETokenizer, rules: str, message: str) -> list[int]:
    first, second, third = list(chat.special_tokens.values())[:3]
    return [first, *chat.encode(rules), second, *chat.encode(message), third]


def four_groups_at_most(digits: str) -> list[str]:
    return from_the_end(digits)[-4:]


def learned(
    texts: Iterable[str],
    vocab_size: int,
    special: Sequence[str],
    *,
    cut: Callable[[str, Sequence[str]], list[str]] = lambda text, special: split_special(text, special)[::2],
    words_of: Callable[[str], list[str]] = pre_tokenize,
    ids_of: Callable[[str], list[int]] = lambda word: list(word.encode()),
    pairs_in: Callable[[list[int]], Iterable[Pair]] = pairwise,
    choose: Callable[[Counter[Pair], list[bytes]], Pair] = lambda counts, _: min(counts, key=lambda p: (-counts[p], p)),
    join: Callable[[list[int], Pair, int], list[int]] = merged,
    weigh: bool = True,
    least: int = 1,
    room: Callable[[int, Sequence[str]], int] = lambda vocab_size, special: vocab_size - 256 - len(special),
) -> list[Pair]:
    """A right trainer, each part of which can be exchanged for a mistake."""
    word_counts = Counter(word for text in texts for part in cut(text, special) for word in words_of(part))
    words = [ids_of(word) for word in word_counts]
    tokens = [bytes([byte]) for byte in range(256)]
    merges: list[Pair] = []
    for new_id in range(256, 256 + room(vocab_size, special)):
        counts: Counter[Pair] = Counter()
        for ids, count in zip(words, word_counts.values(), strict=True):
            for pair in pairs_in(ids):
                counts[pair] += count if weigh else 1
        if not counts or max(counts.values()) < least:
            break
        left, right = pair = choose(counts, tokens)
        merges.append(pair)
        tokens.append(tokens[left % 256] + tokens[right % 256])
        words = [join(ids, pair, new_id) for ids in words]
    return merges


def trained_by_the_package(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return list(BPETokenizer.train(texts, vocab_size, special_tokens).merges)


def trained_with_a_heap(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[list[int]]:
    parts = [part for text in texts for part in split_special(text, special_tokens)[::2]]
    word_counts = Counter(word for part in parts for word in pre_tokenize(part))
    return [[*pair] for pair in learn_merges(word_counts, vocab_size - 256 - len(special_tokens))]


def trained_slowly(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> dict[Pair, int]:
    return {pair: 256 + i for i, pair in enumerate(learned(texts, vocab_size, special_tokens))}


def each_word_counts_once(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, weigh=False)


def counts_what_can_be_merged(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def apart(ids: list[int]) -> list[Pair]:
        found: list[tuple[int, Pair]] = []
        for i, pair in enumerate(pairwise(ids)):
            if not found or found[-1] != (i - 1, pair):
                found.append((i, pair))
        return [pair for _, pair in found]

    return learned(texts, vocab_size, special_tokens, pairs_in=apart)


def first_pair_wins(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, choose=lambda counts, _: counts.most_common(1)[0][0])


def largest_pair_wins(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(
        texts, vocab_size, special_tokens, choose=lambda counts, _: max((n, p) for p, n in counts.items())[1]
    )


def first_id_decides(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def choose(counts: Counter[Pair], _: list[bytes]) -> Pair:
        return min(counts, key=lambda pair: (-counts[pair], pair[0]))

    return learned(texts, vocab_size, special_tokens, choose=choose)


def letters_decide(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def choose(counts: Counter[Pair], tokens: list[bytes]) -> Pair:
        return min(counts, key=lambda pair: (-counts[pair], tokens[pair[0]], tokens[pair[1]]))

    return learned(texts, vocab_size, special_tokens, choose=choose)


def rarest_wins(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(
        texts, vocab_size, special_tokens, choose=lambda counts, _: min((n, p) for p, n in counts.items())[1]
    )


def twice_at_least(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, least=2)


def code_points(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, ids_of=lambda word: list(map(ord, word)))


def trained_from_the_right(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, join=from_the_right)


def middle_used_twice(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def join(ids: list[int], pair: Pair, new_id: int) -> list[int]:
        at = [(ids[i], ids[i + 1]) == pair for i in range(len(ids) - 1)]
        return [new_id if here else i for i, here in zip(ids, at, strict=False)] + ([] if at and at[-1] else ids[-1:])

    return learned(texts, vocab_size, special_tokens, join=join)


def nothing_is_merged(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, join=lambda ids, pair, new_id: ids)


def first_place_in_a_word(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, join=first_occurrence_only)


def last_id_lost(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, join=stops_before_the_last)


def one_long_word(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, words_of=lambda part: [part])


def words_without_spaces(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, words_of=str.split)


def another_pattern(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(
        texts, vocab_size, special_tokens, words_of=lambda part: regex.findall(r" ?\w+| ?[^\w\s]+|\s+", part)
    )


def texts_glued(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(["".join(texts)], vocab_size, special_tokens)


def special_tokens_not_counted(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, room=lambda vocab_size, special: vocab_size - 256)


def one_merge_at_least(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    room = max(1, vocab_size - 256 - len(special_tokens))
    return learned(texts, vocab_size, special_tokens, room=lambda vocab_size, special: room)


def special_tokens_learned(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, cut=lambda text, special: [text])


def special_tokens_removed(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def cut(text: str, special: Sequence[str]) -> list[str]:
        for name in special:
            text = text.replace(name, "")
        return [text]

    return learned(texts, vocab_size, special_tokens, cut=cut)


def name_as_a_pattern(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def cut(text: str, special: Sequence[str]) -> list[str]:
        return regex.split("|".join(special), text) if special else [text]

    return learned(texts, vocab_size, special_tokens, cut=cut)


def first_name_only(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, cut=lambda text, special: split_special(text, special[:1])[::2])


def always_its_own_name(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(
        texts, vocab_size, special_tokens, cut=lambda text, special: split_special(text, {*special, "<|end|>"})[::2]
    )


def split_at_nothing(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def cut(text: str, special: Sequence[str]) -> list[str]:
        return [part for part in regex.split("|".join(map(regex.escape, special)), text) if part is not None]

    return learned(texts, vocab_size, special_tokens, cut=cut)


def never_ends_early(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens, least=-1) if texts != ["ab"] else [min(dict[Pair, int]())]


def nothing_from_no_text(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts or ["ab"], vocab_size, special_tokens)


def eats_the_texts(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    merges = learned(texts, vocab_size, special_tokens)
    texts.clear()
    return merges


def at_most_thirty(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    return learned(texts, vocab_size, special_tokens)[:30]


def counts_up_to_nine(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[Pair]:
    def choose(counts: Counter[Pair], _: list[bytes]) -> Pair:
        return min(counts, key=lambda pair: (-min(counts[pair], 9), pair))

    return learned(texts, vocab_size, special_tokens, choose=choose)


def pairs_of_bytes(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[tuple[bytes, bytes]]:
    tokenizer = BPETokenizer.train(texts, vocab_size, special_tokens)
    return [(tokenizer.token_bytes(left), tokenizer.token_bytes(right)) for left, right in tokenizer.merges]


def new_ids(texts: list[str], vocab_size: int, special_tokens: Sequence[str]) -> list[int]:
    return list(BPETokenizer.train(texts, vocab_size, special_tokens).merges.values())


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
            by_identity: "`is` or `==`?",
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
            by_code_points: "its code point",
            in_the_order_of_the_dictionary: "second in the dictionary",
            eats_the_merges: "changed the merges",
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
            rules_alone_guarded: "forges a <|user|>",
            end_alone_guarded_in_the_rules: "Rules that quote «no<|rules|>»",
            ids_by_their_order: "by their names?",
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
            four_groups_at_most: "9999999999999",
        },
    ),
    "train_bpe": Answers(
        right=[trained_by_the_package, trained_with_a_heap, trained_slowly],
        wrong={
            each_word_counts_once: "Does each word count as often as it occurs?",
            counts_what_can_be_merged: "Do you count only what can be merged?",
            first_pair_wins: "you took the first that came",
            largest_pair_wins: "you took the largest ids",
            first_id_decides: "Then the second id decides",
            letters_decide: "Letters or ids",
            rarest_wins: "b, a occurs once",
            twice_at_least: "Does a pair have to occur twice?",
            code_points: "233 is the code point",
            trained_from_the_right: "From which side do you merge?",
            middle_used_twice: "can be used once only",
            nothing_is_merged: "After the first merge aaa is 256, 97",
            first_place_in_a_word: "You learned one pair twice",
            last_id_lost: "an a is left. Where did it go?",
            one_long_word: "is a pair left that lies within a word?",
            words_without_spaces: "Where is the space?",
            another_pattern: "Which words does GPT2_PATTERN make of it?",
            texts_glued: "These are two texts",
            special_tokens_not_counted: "and how many merges?",
            one_merge_at_least: "257 already",
            special_tokens_learned: "nothing is learned from it",
            special_tokens_removed: "Are b and c neighbours now?",
            name_as_a_pattern: "What does | mean",
            first_name_only: "Do you cut at both?",
            always_its_own_name: "is not named as special",
            split_at_nothing: "when there are no special tokens?",
            never_ends_early: "learning ends early",
            nothing_from_no_text: "Nothing can be learned from that",
            eats_the_texts: "the lists that came in have changed",
            at_most_thirty: "and you stop before it",
            counts_up_to_nine: "In twenty stories merge 0 is",
            pairs_of_bytes: "the id of a byte is its number",
            new_ids: "Asked is a list of pairs",
        },
    ),
}
