"""A ring of three processes adds up three chunks: reduce-scatter, then all-gather.

Alt text: Three rows for the three processes and five columns for the moments: arrows from each process to the next
carry one chunk at a time; after two steps each process has one finished chunk 111, after four steps all three.

The numbers are those of a small simulation: process r begins with 10 ** r in every chunk.
"""

from matplotlib.figure import Figure

from figures.draw.gpt import BLUE, GREEN, GREY, ORANGE, arrow, box, page, path, write

N = 3
WIDTH, GAP, HEIGHT = 0.36, 0.8, 0.32  # of a chunk, between two moments, of a chunk; in inches
LEFT, TOP, APART = 1.0, 1.0, 0.75  # of the first chunk; between two processes


def moments() -> list[list[list[int]]]:
    """What each process holds at first and after every step."""
    held = [[10**r] * N for r in range(N)]
    seen = [held]
    for step in range(2 * (N - 1)):
        after = [list(chunks) for chunks in held]
        for r in range(N):
            chunk, to = (r - step) % N, (r + 1) % N
            after[to][chunk] = held[r][chunk] + (held[to][chunk] if step < N - 1 else 0)
        held = after
        seen.append(held)
    return seen


def draw() -> Figure:
    column = N * WIDTH + GAP
    figure, axes = page(LEFT + 5 * column - GAP + 0.25, TOP + 3 * APART + 0.2)
    seen = moments()
    for r in range(N):
        write(axes, LEFT - 0.12, TOP + APART * r + HEIGHT / 2, f"process {r}", ha="right")
    for moment, held in enumerate(seen):
        x = LEFT + column * moment
        title = "at first" if moment == 0 else f"after step {moment - 1}"
        write(axes, x + N * WIDTH / 2, TOP - 0.2, title)
        for r, chunks in enumerate(held):
            for c, chunk in enumerate(chunks):
                done = chunk == sum(10**i for i in range(N))
                y = TOP + APART * r
                box(axes, x + WIDTH * c, y, WIDTH, HEIGHT, "", GREEN if done else GREY)
                write(axes, x + WIDTH * (c + 0.5), y + HEIGHT / 2, str(chunk), weight="bold" if done else "normal")
    for step in range(2 * (N - 1)):
        x = LEFT + column * step
        for r in range(N):
            chunk, to = (r - step) % N, (r + 1) % N
            start = (x + N * WIDTH + 0.06, TOP + APART * r + HEIGHT / 2)
            end = (x + column - 0.06, TOP + APART * to + HEIGHT / 2)
            arrow(axes, start, end, colour=ORANGE if step < N - 1 else BLUE, width=1.5)
            write(axes, start[0] + 0.17, start[1] - 0.14 if to > r else start[1] + 0.15, f"{chunk}", size=7.5)
    write(
        axes,
        LEFT,
        TOP + 3 * APART + 0.05,
        "A small number beside an arrow says which chunk travels: 0, 1 or 2.",
        ha="left",
    )
    half = LEFT + 2 * column + N * WIDTH
    for name, left, right, colour in (
        ("reduce-scatter: add what comes", LEFT, half, ORANGE),
        ("all-gather: copy what comes", half + GAP, LEFT + 5 * column - GAP, BLUE),
    ):
        path(axes, (left, 0.5), (right, 0.5), colour=colour, linewidth=2.5)
        write(axes, (left + right) / 2, 0.36, name, weight="bold", va="baseline")
    return figure
