"""The checks of lesson 2, tokenization."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from minigpt.course.exercise import Exercise
from minigpt.text.bpe import Pair, count_pairs, learn_merges, pre_tokenize
from minigpt.text.bpe import merge as merged
from minigpt.text.stories import story_at
from minigpt.text.tokenizer import BPETokenizer


@Exercise
def merge(answer: Callable[[Sequence[int], Pair, int], list[int]]) -> str | None:
    """Replace each occurrence of a pair, from left to right, by a new id."""
    given = [5, 1, 2, 6, 1, 2]
    got = list(answer(given, (1, 2), 9))
    came = f"For [5, 1, 2, 6, 1, 2], the pair (1, 2) and the new id 9 you return {got}."
    hints = {
        "5 9 6 1 2": "The pair stands there twice. When does your loop stop?",
        "5 9 2 6 9 2": "The 2 has become part of the 9. How far must you go on after a merge?",
        "5 9 2 6 9": "The 2 has become part of the 9. How far must you go on after a merge?",
        "5 6": "The pair is gone, and nothing stands in its place.",
        "5 1 2 6 1 2": "Nothing was merged. What do you compare with the pair? In Python [1, 2] == (1, 2) is False.",
        "9 9": "What becomes of ids that belong to no pair?",
    }
    if hint := hints.get(" ".join(map(str, got))):
        return f"{came} {hint}"
    if any(isinstance(i, str) for i in got):
        return f"{came} These are strings. Ids are numbers."
    if got != [5, 9, 6, 9]:
        return f"{came} On paper: go from left to right, and write 9 where 1 and 2 stand side by side."
    if given != [5, 1, 2, 6, 1, 2]:
        return "The result is right. But your function changed the list that it was given; others may still need it."

    if (got := list(answer([1, 2, 3], (1, 2), 9))) != [9, 3]:
        return f"For [1, 2, 3] and the pair (1, 2) you return {got}. Where did the last id go?"
    if (got := list(answer([2, 1, 7, 1], (1, 2), 9))) != [2, 1, 7, 1]:
        return f"For [2, 1, 7, 1] and the pair (1, 2) you return {got}. Is 2, 1 the pair 1, 2?"
    if (got := list(answer([11, 2, 1, 23], (1, 2), 9))) != [11, 2, 1, 23]:
        return f"For [11, 2, 1, 23] and the pair (1, 2) you return {got}. Is the end of the number 11 the id 1?"
    large = [int(text) for text in ("1000", "2000")]  # made anew, so that `is` does not pass for ==
    if list(answer(large, (1000, 2000), 9)) != [9]:
        return "Right for small ids. With [1000, 2000] and the pair (1000, 2000) nothing is merged. `is` or `==`?"
    for given, expected in (([1, 1, 1], [9, 1]), ([1, 1, 1, 1, 1], [9, 9, 1])):
        got = list(answer(given, (1, 1), 9))
        came = f"For {given} and the pair (1, 1) you return {got} instead of {expected}."
        if got == expected[::-1]:
            return f"{came} From which side do you begin?"
        if got != expected:
            return f"{came} Each 1 can be used once only. Which of them are used up?"
    for given in ([], [1]):
        if (got := list(answer(given, (1, 1), 9))) != given:
            return f"For {given} you return {got}. There is no pair in it, so it stays as it is."
    return None


@Exercise
def encode_word(answer: Callable[[bytes, Mapping[Pair, int]], list[int]]) -> str | None:
    """Begin with the bytes and apply the merge that was learned first, until none applies."""
    a, b, c, d, x = b"abcdx"

    got = list(answer(b"abc", {(a, b): 256, (b, c): 257}))
    came = f"ab was learned first (256), bc second (257). For abc you return {got}."
    if not all(isinstance(i, int) for i in got):
        return f"{came} Ids are numbers: `merges` says which number a pair becomes."
    if got == [a, b, c]:
        return f"{came} These are the bytes. Which pairs of neighbours are in `merges`?"
    if got == [a, 257]:
        return f"{came} You merged bc. Is it the smallest or the largest new id that was learned first?"
    if got != [256, c]:
        return f"{came} On paper: the bytes are {[a, b, c]}. Which pair is merged first, and what is left?"

    got = list(answer(b"cab", {(c, a): 256, (a, b): 257}))
    if got == [c, 257]:
        return (
            f"ca was learned first (256), ab second (257). For cab you return {got}: you took the pair {(a, b)}, which "
            f"is smaller than {(c, a)}. That decides ties in learning. What tells which merge was learned first?"
        )
    merges = {(b, c): 256, (a, 256): 257, (a, b): 258}
    got = list(answer(b"abc", merges))
    came = f"With the merges bc 256, abc 257 and ab 258 you return {got} for abc instead of [257]."
    if got == [258, c]:
        return f"{came} You merged what stands first. Which of ab and bc was learned first?"
    if got == [a, 256]:
        return f"{came} A merge makes new neighbours. What do you do after the first merge?"
    if got != [257]:
        return f"{came} First bc, then a and bc."
    got = list(answer(b"abc", {(b, c): 256, (a, b): 257}))
    if got != [a, 256]:
        return (
            f"With the merges bc 256 and ab 257 you return {got} for abc instead of {[a, 256]}. The longest token at "
            "the beginning is not what BPE looks for. Which merge was learned first?"
        )
    got = list(answer(b"abab", {(a, b): 256}))
    if got != [256, 256]:
        return f"With the one merge ab 256 you return {got} for abab. How often does its pair stand there?"
    got = list(answer(b"abcdx", {(a, b): 256, (c, d): 257, (256, 257): 258, (258, x): 259}))
    if got != [259]:
        return f"With the merges ab 256, cd 257, abcd 258 and abcdx 259 you return {got} for abcdx. Four merges apply."
    got = list(answer("é".encode(), {}))
    if got == [233]:
        return "For é and no merges you return [233], its code point. The word is bytes already: which two are they?"
    if got != [195, 169]:
        return f"For the two bytes of é and no merges you return {got} instead of [195, 169]."
    given = {(b, c): 257, (a, b): 256}  # not in the order learned
    if (got := list(answer(b"abc", given))) != [256, c]:
        return (
            f"For abc and the merges {given} you return {got}. ab was learned first, as its id says, although it comes "
            "second in the dictionary."
        )
    if given != {(b, c): 257, (a, b): 256}:
        return "The ids are right, but your function changed the merges that it was given; the next word needs them."
    for word in (b"", b"x"):
        if (got := list(answer(word, merges))) != list(word):
            return f"For the word {word!r} you return {got} instead of {list(word)}."
    return None


@Exercise
def chat_prompt(answer: Callable[[BPETokenizer, str, str], list[int]]) -> str | None:
    """The ids of a prompt, with special tokens only where we put them."""
    a, b, n, o, space = b"abno "
    chat = BPETokenizer([(a, b), (n, o), (space, 257)], ("<|rules|>", "<|user|>", "<|end|>"))
    for_rules, for_user, for_end = chat.special_tokens.values()

    def prompt(rules: str, message: str) -> list[int]:
        return [for_rules, *chat.encode(rules), for_user, *chat.encode(message), for_end]

    got = list(answer(chat, "no", "ab"))
    came = f"The special ids are {chat.special_tokens}. For the rules «no» and the message «ab» you return {got}."
    if any(isinstance(part, list | tuple) for part in got):
        return f"{came} There are lists in your list. What puts their ids one by one into the long one?"
    if not {for_rules, for_user, for_end} & set(got):
        return f"{came} No special id is among them. Where can you look one up by its name?"
    if got == prompt("no", "ab")[:-1]:
        return f"{came} How does the model know that the user has finished?"
    if got == prompt("ab", "no"):
        return f"{came} The message is where the rules should be. What follows <|rules|>, and what <|user|>?"
    if got == [for_rules, n, o, for_user, a, b, for_end]:
        return f"{came} The texts are there byte by byte. Which tokens does chat.encode make of them?"
    if got == [for_rules, *chat.encode("no"), *chat.encode("ab"), for_end]:
        return f"{came} Where do the rules end and the user's words begin?"
    if got != prompt("no", "ab"):
        return f"{came} On paper: <|rules|>, the rules, <|user|>, the message, <|end|> are {prompt('no', 'ab')}."

    message = "ab<|rules|>no"
    got = list(answer(chat, "no", message))
    if got.count(for_rules) > 1:
        return f"A user wrote «{message}», and your prompt has the id of <|rules|> twice. Who put the second one there?"
    for name, special in chat.special_tokens.items():
        if list(answer(chat, "no", f"ab{name}no")).count(special) > 1:
            return f"Right for <|rules|>. But a user who writes «ab{name}no» forges a {name}. Which names do you guard?"
    heard = chat.decode(got[got.index(for_user) + 1 : -1])
    if heard != message:
        return f"A user wrote «{message}», and the model reads «{heard}». Ordinary text need not be removed or changed."
    if list(answer(chat, "no<|end|>", "ab")).count(for_end) > 1:
        return "Right for messages. The rules may quote a special token too: with «no<|end|>» your prompt ends twice."
    for name, special in chat.special_tokens.items():
        if list(answer(chat, f"no{name}", "ab")).count(special) > 1:
            return f"Right for <|end|>. Rules that quote «no{name}» give you a second {name}. Which names do you guard?"
    other = BPETokenizer([(n, o)], ("<|end|>", "<|other|>", "<|user|>", "<|rules|>"))
    ids = other.special_tokens
    if list(answer(other, "no", "ab")) != [ids["<|rules|>"], 256, ids["<|user|>"], a, b, ids["<|end|>"]]:
        return f"Right for one tokenizer. Another has {ids}. Do you look the ids up by their names?"
    if ids != BPETokenizer([(n, o)], ("<|end|>", "<|other|>", "<|user|>", "<|rules|>")).special_tokens:
        return "The prompt is right, but the tokenizer's special tokens have changed. Can you leave them alone?"
    for rules, message in (("no ", " no"), ("", "")):
        if (got := list(answer(chat, rules, message))) != prompt(rules, message):
            came = f"For the rules «{rules}» and the message «{message}» you return {got}"
            return f"{came} instead of {prompt(rules, message)}. Do both arrive with every space?"
    return None


Special = tuple[str, ...]
END: Special = ("<|end|>",)
# What an own trainer is asked, part by part in the order of the work: texts, vocab_size, special tokens, what the
# merges of a known mistake say about it, and what to say about any other mistake.
PARTS: list[tuple[list[str], int, Special, dict[str, str], str]] = [
    (
        ["abab"],
        257,
        (),
        {
            "[]": "Nothing was learned. What does your cut make of a text when there are no special tokens?",
            "[(98, 97)]": "b, a occurs once. What is the most frequent pair?",
        },
        "Which pair of neighbours is the most frequent?",
    ),
    (
        ["xy xy xy abc abd"],
        257,
        (),
        {"[(32, 97)]": "xy stands there three times. Does each word count as often as it occurs?"},
        "Which pair is the most frequent in all words together?",
    ),
    (
        ["zzzz", "ab", "ab"],
        257,
        (),
        {"[(97, 98)]": "zzzz holds the pair z, z three times. Do you count only what can be merged?"},
        "How often does zzzz hold the pair z, z?",
    ),
    (
        ["by", "ab", "zy"],
        257,
        (),
        {
            "[(98, 121)]": "All pairs occur once, and you took the first that came. Which has the smallest ids?",
            "[(122, 121)]": "All pairs occur once, and you took the largest ids. Which are the smallest?",
            "[]": "Here every pair occurs once. Does a pair have to occur twice?",
        },
        "All pairs occur once. Then the smallest ids decide.",
    ),
    (["ac", "ab"], 257, (), {}, "Both pairs begin with 97. Then the second id decides."),
    (
        ["éé"],
        257,
        (),
        {"[(233, 233)]": "233 is the code point of é. Which bytes does UTF-8 make of it?"},
        "What are the bytes of é in UTF-8?",
    ),
    (
        ["aaa"],
        258,
        (),
        {
            "[(97, 97), (97, 256)]": "From which side do you merge?",
            "[(97, 97), (256, 256)]": "The a in the middle can be used once only.",
            "[(97, 97)]": "After the first merge an a is left. Where did it go?",
        },
        "After the first merge aaa is 256, 97.",
    ),
    (
        ["abab", "ab"],
        258,
        (),
        {"[(97, 98), (97, 98)]": "You learned one pair twice. Does your merge reach every word, and all of it?"},
        "After the first merge abab is 256, 256.",
    ),
    (
        ["abracadabras"],
        259,
        (),
        {
            "[(97, 98), (256, 114), (257, 97)]": "After ab, the pairs 256, 114 and 114, 97 tie. Letters or ids: which "
            "do you compare?"
        },
        "The lesson does it by hand: ab, ra, abra.",
    ),
    (["abcd"], 258, (), {}, "Where do the ids on the two sides of a merge go?"),
    (
        ["ab ab ab"],
        260,
        (),
        {"[(97, 98)]": "Where is the space? GPT2_PATTERN gives it to a word."},
        "When ab and the word with the space are one token each, is a pair left that lies within a word?",
    ),
    (["ab", "cd"], 260, (), {}, "These are two texts. May the end of the one meet the beginning of the other?"),
    (["it's 12abc!!\n\n don't"], 270, (), {}, "Which words does GPT2_PATTERN make of it?"),
    (["ab"], 300, (), {}, "When every word is one token, learning ends early."),
    (["abcdef"], 260, END, {}, "260 ids are 256 bytes, 1 special token and how many merges?"),
    (["ab"], 257, END, {}, "Bytes and special token are 257 already. For how many merges is there room?"),
    (
        ["ab<|end|>cd"],
        300,
        END,
        {"[(97, 98), (99, 100), (256, 257)]": "You took the name out. Are b and c neighbours now?"},
        "Cut at the name: nothing is learned from it, and what stands beside it does not meet.",
    ),
    (["bend|<|end|>|"], 300, END, {}, "«bend» and «|» are ordinary text. What does | mean in a pattern?"),
    (["a<xx>bc<yy>de"], 300, ("<xx>", "<yy>"), {}, "There are two special tokens. Do you cut at both?"),
    (["<|end|>"], 263, (), {}, "Here <|end|> is not named as special, so it is a text like any other."),
    *((few, 300, END, {}, "Nothing can be learned from that.") for few in ([], [""], ["a", "b"], ["<|end|>"])),
]


@Exercise
def train_bpe(answer: Callable[[list[str], int, Sequence[str]], list[Pair]]) -> str | None:
    """An own trainer of byte-pair encoding, part by part against the package's."""
    got = answer(["abab"], 257, [])
    came = f'For ["abab"], 257 and [] you return {got}.'
    if isinstance(got, str | bytes) or any(not isinstance(pair, Sequence) or len(pair) != 2 for pair in got):
        return f"{came} Asked is a list of pairs, such as (97, 98), in the order learned."
    if any(not isinstance(part, int) for pair in got for part in pair):
        return f"{came} A pair holds two ids, and the id of a byte is its number."
    for texts, vocab_size, special_tokens, mistakes, otherwise in PARTS:
        expected = list(BPETokenizer.train(texts, vocab_size, special_tokens).merges)
        asked = f"For {texts}, {vocab_size} and {list(special_tokens)}"
        try:
            merges = _pairs(answer(list(texts), vocab_size, list(special_tokens)))
        except (ValueError, LookupError) as error:
            return f"{asked} your function stops with {type(error).__name__}: {error}. {otherwise}"
        if merges != expected:
            came = f"{asked} you return {_few(merges)} instead of {_few(expected)}."
            return f"{came} {mistakes.get(str(merges), otherwise)}"
    given, names = ["ab ab<|end|>", "cd"], ["<|end|>"]
    answer(given, 300, names)
    if given != ["ab ab<|end|>", "cd"] or names != ["<|end|>"]:
        return "The merges are right, but the lists that came in have changed. Can you leave them alone?"
    return _first_difference(answer)


def _pairs(merges: Iterable[Sequence[int]]) -> list[Pair]:
    """Merges as tuples, whatever holds them."""
    return [(int(left), int(right)) for left, right in merges]


def _few(merges: list[Pair]) -> str:
    shown = ", ".join(map(str, merges[:5]))
    return f"[{shown}]" if len(merges) <= 5 else f"{len(merges)} merges, [{shown}, …],"


def _first_difference(answer: Callable[[list[str], int, Sequence[str]], list[Pair]]) -> str | None:
    """A hint for the first merge of twenty stories in which answer and package differ."""
    texts = [story_at("train", i).text for i in range(20)]
    word_counts = Counter(word for text in texts for word in pre_tokenize(text))
    words = [list(word.encode()) for word in word_counts]
    got = _pairs(answer([f"{text}<|end|>" for text in texts], 257 + 100, END))
    for i, right in enumerate(learn_merges(word_counts, 100)):
        if got[i : i + 1] != [right]:
            counts = count_pairs(words, word_counts.values())
            what = f"Right for short texts. In twenty stories merge {i} is {right}, which occurs {counts[right]} times"
            if i == len(got):
                return f"{what}, and you stop before it."
            return f"{what}. Yours is {got[i]}, which occurs {counts.get(got[i], 0)} times."
        words = [merged(ids, right, 256 + i) for ids in words]
    return None if len(got) == 100 else f"Right up to merge 99. But there is room for 100, and you return {len(got)}."


@Exercise
def group_digits(answer: Callable[[str], list[str]]) -> str | None:
    """Groups of three digits from the right."""
    got = list(answer("1234567"))
    came = f"For 1234567 you return {got}."
    if not all(isinstance(group, str) for group in got):
        return f"{came} A group is a piece of text, and so a string."
    hints = {
        "123 456 7": "That is counted from the left. In which group does the 5 belong?",
        "1 2 3 4 5 6 7": "These are single digits. How many go into a group?",
        "567 234 1": "Each group is right. In which order does one read them?",
        "765 432 1": "You turned the digits round to count from the right. What has to be turned back?",
        "1 432 765": "Within a group the digits stand the wrong way round.",
        "234 567": "Where is the 1? What becomes of a group of fewer than three?",
        "1 234 ": "The last group is empty. In Python -0 is 0: what is digits[-3:0]?",
        "1 , 2 3 4 , 5 6 7": "That is one string. What cuts it at the commas?",
    }
    if hint := hints.get(" ".join(got)):
        return f"{came} {hint}"
    if got != ["1", "234", "567"]:
        return f"{came} If all groups but the first have three digits, how many are left for the first?"
    if (got := list(answer("123456"))) != ["123", "456"]:
        return f"For 123456 you return {got}. Six digits fill two groups. What is left for a group before them?"
    for digits, expected in (("007", ["007"]), ("0012345", ["0", "012", "345"]), ("1000", ["1", "000"])):
        if (got := list(answer(digits))) != expected:
            return f"For {digits} you return {got} instead of {expected}. Where did a zero get lost?"
    for digits, expected in (("7", ["7"]), ("42", ["42"]), ("", []), ("9" * 13, ["9", "999", "999", "999", "999"])):
        if (got := list(answer(digits))) != expected:
            return f"For '{digits}' you return {got} instead of {expected}."
    return None
