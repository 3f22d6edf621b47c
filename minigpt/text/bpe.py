"""Byte-pair encoding: learn which pairs of ids to merge, and encode with what was learned. What lesson 2 builds.

BPE began as data compression (Gage 1994); Sennrich et al. (2016, https://arxiv.org/abs/1508.07909) split rare words
with it; GPT-2 applied it to bytes, so that no text is unknown (Radford et al. 2019, section 2.2). Ours is GPT-2's kind.
A few plain functions are the whole of it. Ids 0 to 255 are the bytes; a merge makes a new id out of two.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import regex
from tqdm import tqdm

# GPT-2's: endings as in "it's", words, numbers, other signs (each with the space before it), white space.
GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

Pair = tuple[int, int]


def pre_tokenize(text: str) -> list[str]:
    """Cut text into words with GPT-2's pattern. Joined again they are the text; no merge reaches over a word's end."""
    return regex.findall(GPT2_PATTERN, text)


def count_pairs(words: Iterable[Sequence[int]], counts: Iterable[int]) -> dict[Pair, int]:
    """How often each pair of neighbouring ids occurs, in words of which each stands `counts` times in the text."""
    pairs: dict[Pair, int] = defaultdict(int)
    for word, count in zip(words, counts, strict=True):
        for pair in pairwise(word):
            pairs[pair] += count
    return pairs


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Replace each occurrence of the pair, from left to right, by the new id: (a, a) in [a, a, a] gives [new, a]."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def encode_word(word: bytes, merges: Mapping[Pair, int]) -> list[int]:
    """The ids of one word: begin with its bytes and apply the merge that was learned first, until none applies."""
    ids = list(word)
    while pairs := [pair for pair in pairwise(ids) if pair in merges]:
        first = min(pairs, key=merges.__getitem__)
        ids = merge(ids, first, merges[first])
    return ids


def learn_merges(word_counts: Mapping[str, int], n_merges: int) -> list[Pair]:
    """Learn BPE: merge the most frequent pair of neighbours, `n_merges` times or until no pair is left.

    Among equally frequent pairs the smallest pair of ids wins. Merge i, counted from 0, makes the id 256 + i.

    It would be right, and slow, to count all pairs anew for each merge. But a merge changes only the words that hold
    its pair, and in them only the pairs beside it. So we keep the counts, note which words hold which pair, and let a
    heap find the most frequent one. A word is a string here, with a character for each id: split and join then merge
    at once, from left to right, what `merge` takes one by one.
    """
    words = [word.encode().decode("latin-1") for word in word_counts]  # each byte as the character of its number
    counts = list(word_counts.values())
    words_with: dict[str, list[int]] = defaultdict(list)  # may name a word twice, or one that has lost the pair since
    for w, word in enumerate(words):
        for left, right in pairwise(word):
            words_with[left + right].append(w)
    pair_counts = {pair: sum(counts[w] for w in found) for pair, found in words_with.items()}

    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    # The bar shows in a terminal only, and only if this takes longer than two seconds.
    for new_id in tqdm(range(256, 256 + n_merges), "learning merges", delay=2, leave=False, disable=None):
        while heap and -heap[0][0] != pair_counts[heap[0][1]]:  # the pair became rarer: back into the heap it goes
            heapq.heapreplace(heap, (-pair_counts[heap[0][1]], heap[0][1]))
        if not heap or heap[0][0] == 0:
            break
        pair = heapq.heappop(heap)[1]
        left, right, new = pair[0], pair[1], chr(new_id)
        merges.append((ord(left), ord(right)))
        # In which words the new id gets which neighbour; "" is a word's end, or the new id once more.
        befores: dict[str, list[int]] = defaultdict(list)
        afters: dict[str, list[int]] = defaultdict(list)
        twins: list[int] = []
        for w in set(words_with.pop(pair)):
            parts = words[w].split(pair)
            words[w] = new.join(parts)
            for before, after in pairwise(parts):
                befores[before[-1:]].append(w)
                afters[after[:1]].append(w)
            if len(parts) > 2:
                twins += [w] * parts[1:-1].count("")
        changes = [(before + left, before + new, found) for before, found in befores.items() if before]
        changes += [(right + after, new + after, found) for after, found in afters.items() if after]
        changes += [(right + left, new + new, twins)] if twins else []
        for old_pair, new_pair, found in changes:
            count = sum(counts[w] for w in found)
            pair_counts[old_pair] -= count
            pair_counts[new_pair] = count
            words_with[new_pair] = found
            heapq.heappush(heap, (-count, new_pair))  # it can only become rarer, so one push is enough
        pair_counts[pair] = 0
    return merges


def learn_more_merges(
    words: Iterable[Sequence[int]], counts: Sequence[int], n_merges: int, first_id: int
) -> list[Pair]:
    """Go on learning as `learn_merges` would, in words that earlier merges have shortened. Merge i makes first_id + i.

    The plain way, all pairs counted anew for each merge: it is meant for some thousand words.
    """
    words = list(words)
    merges: list[Pair] = []
    for new_id in range(first_id, first_id + n_merges):
        pairs = count_pairs(words, counts)
        if not pairs:
            break
        pair = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(pair)
        words = [merge(word, pair, new_id) if pair[0] in word and pair[1] in word else word for word in words]
    return merges
