"""Byte-pair encoding of twelve letters: three merges, each row one merge further.

Alt text: Four rows of boxes over the word abracadabras. In the first row each of the twelve letters is a box with its
byte; in the second the two pairs a b are one box, 256; in the third the two pairs r a are one box, 257; in the fourth
the two pairs of these are one box, abra, 258, and six boxes are left.

The merges are learned by the package.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREY, box, page, write
from minigpt.text.bpe import learn_merges, merge
from minigpt.text.tokenizer import BPETokenizer

WORD = "abracadabras"


def draw() -> Figure:
    merges = learn_merges({WORD: 1}, 3)
    tokenizer = BPETokenizer(merges)
    width, left = 0.5, 2.5
    figure, axes = page(9.6, 3.3)
    ids, latest = list(WORD.encode()), -1
    for row in range(len(merges) + 1):
        y = 0.15 + 0.8 * row
        if row:
            pair, latest = merges[row - 1], 255 + row
            ids = merge(ids, pair, latest)
            name = " + ".join(tokenizer.decode([part]) for part in pair)
            write(axes, 0.15, y + 0.18, f"merge {row}:  {name}", weight="bold", ha="left")
            write(axes, 0.15, y + 0.42, f"({pair[0]}, {pair[1]}) becomes {latest}", ha="left")
        else:
            write(axes, 0.15, y + 0.3, "bytes", weight="bold", ha="left")
        x = left
        for token in ids:
            text = tokenizer.decode([token])
            right = x + width * len(text)
            box(axes, x + 0.03, y, right - x - 0.06, 0.6, "", BLUE if token == latest else GREY)
            new = token == latest
            write(axes, (x + right) / 2, y + 0.2, text, size=11, weight="bold" if new else "normal")
            write(axes, (x + right) / 2, y + 0.44, str(token), size=7.5)
            x = right
        write(axes, x + 0.1, y + 0.3, f"{len(ids)} tokens", ha="left")
    return figure
