"""The explorer's pictures as SVG: who looks at whom, what may come next, and what the model would say in between.

Each function takes names and numbers and returns a `Picture`. Colours are CSS variables of JupyterLab's theme, and
where none is set, as in a stored notebook, those of a white page. Numbers are rounded before anything is drawn from
them, so that every machine draws the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import east_asian_width

from minigpt.course import plots
from minigpt.course.lesson import nearest

INK = f"var(--jp-content-font-color1,{plots.INK})"
QUIET = "var(--jp-content-font-color2,#595959)"
PAGE = "var(--jp-layout-color1,#ffffff)"
LINE = "var(--minigpt-line,#b0b0b0)"
DATA = f"var(--minigpt-data,{plots.BLUE})"
MARK = f"var(--minigpt-mark,{plots.ORANGE})"

WIDTH = 880  # of a page, and of a text that fills its lines
COLUMN = 800  # of a notebook beside its list of files, on a small laptop
CELL = 7.4  # width of a letter of the font below; a Chinese character takes two
FONT = "font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:12px"
SMALL = "font-size:10px"


@dataclass(frozen=True)
class Picture:
    """SVG elements with the upper left corner at (0, 0), their size, and in words what the eye sees."""

    body: str
    width: float
    height: float
    alt: str


def svg(picture: Picture, page: bool = True) -> str:
    """An SVG document; with `page` on a page of its own that follows no theme.

    A page is no wider than COLUMN: of a stored picture that is, JupyterLab cuts off the rest.
    """
    scale = min(1.0, COLUMN / picture.width) if page else 1.0
    width, height = (f"{side * scale:.0f}" for side in (picture.width, picture.height))
    size = f'width="{width}" height="{height}" viewBox="0 0 {picture.width:g} {picture.height:g}"'
    back = '<rect width="100%" height="100%" style="fill: #ffffff"/>' if page else ""
    alt = escape(picture.alt)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{alt}" style="{FONT};max-width:100%">'
        f"{back}{picture.body}</svg>"
    )


def stacked(rows: Sequence[Sequence[Picture]], gap: float = 18) -> Picture:
    """Pictures side by side in rows, the rows below each other."""
    body, y, width = "", gap / 2, 0.0
    for row in rows:
        x = gap / 2
        for picture in row:
            body += f'<g transform="translate({x:g} {y:g})">{picture.body}</g>'
            x += picture.width + gap
        width = max(width, x - gap / 2)
        y += max(picture.height for picture in row) + gap
    return Picture(body, width, y, " ".join(picture.alt for row in rows for picture in row))


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start", colour: str = INK) -> str:
    """A line of text; `anchor` says which end of it, or its middle, stands at x."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" style="fill:{colour};{style}">{escape(content)}</text>'


def cells(label: str) -> int:
    """How many letters wide a label is."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in label)


def shortened(label: str, most: int = 16) -> str:
    """A label that fits beside a bar."""
    return label if len(label) <= most else label[: most - 1] + "…"


def tip(content: str) -> str:
    """What shows while the mouse rests on an element."""
    return f"<title>{escape(content)}</title>"


def message(content: str) -> Picture:
    """One line instead of a picture."""
    lines = [content[i : i + 110] for i in range(0, len(content), 110)] or [""]
    body = "".join(text(0, 16 + 18 * i, line) for i, line in enumerate(lines))
    return Picture(body, WIDTH, 6 + 18 * len(lines), content)


def arcs(
    tokens: Sequence[str], ids: Sequence[int], weights: Sequence[Sequence[float]], position: int, title: str
) -> Picture:
    """The text as boxes; arcs from the chosen token to those it looks at, the thicker the more. Grey: other tokens.

    Args:
        tokens: the label of each token.
        ids: their ids, written below them.
        weights: a row for each token that looks, (T, T).
        position: the chosen token.
        title: what the picture is of.
    """
    # First the places: x and width of each box, and its line.
    boxes, line, x = list[tuple[float, float, int]](), 0, 0.0
    for label, token in zip(tokens, ids, strict=True):
        width = round(max(CELL * cells(label) + 8, 6 * len(str(token)) + 6, 30), 1)
        if x + width > WIDTH and x:
            line, x = line + 1, 0.0
        boxes.append((x, width, line))
        x = round(x + width + 4, 1)
    row = [nearest(weight, 2) for weight in weights[position]]
    looks = [(position, j, row[j]) for j in range(position) if row[j] >= 0.01]  # its own weight colours its own box
    if line == 0:  # over several lines the other tokens' arcs would be a thicket
        looks += [(i, j, nearest(weights[i][j], 2)) for i in range(len(ids)) if i != position for j in range(i)]
        looks = [(i, j, weight) for i, j, weight in looks if i == position or weight >= 0.25]
    top, y = list[float](), 20.0  # where the boxes of each line begin: there must be room for the arcs above them
    for this in range(line + 1):
        spans = [abs(_middle(boxes[i]) - _middle(boxes[j])) for i, j, _ in looks if boxes[i][2] == boxes[j][2] == this]
        y += max([8.0, *(_height(span) + 6 for span in spans)])
        top.append(round(y, 1))
        y += 62

    def curve(i: int, j: int) -> str:
        """From the upper side of box i to that of box j, or to the lower side where j is on an earlier line."""
        (start, end), above = (_middle(boxes[i]), _middle(boxes[j])), top[boxes[i][2]]
        if boxes[i][2] == boxes[j][2]:
            control = round(above - _height(abs(start - end)) * 4 / 3, 1)
            return f"M{start:g} {above:g}C{start:g} {control:g} {end:g} {control:g} {end:g} {above:g}"
        below = top[boxes[j][2]] + 48
        return f"M{start:g} {above:g}C{start:g} {above - 30:g} {end:g} {below + 30:g} {end:g} {below:g}"

    quiet, loud = "", ""
    for i, j, weight in looks:
        what = tip(f"{_named(tokens, i)} looks at {_named(tokens, j)}: {weight:.2f}")
        if i == position:
            style = f"stroke:{DATA};stroke-width:{1.2 + 7 * weight:.1f};stroke-opacity:{0.35 + 0.5 * weight:.2f}"
            loud += f'<path d="{curve(i, j)}" style="fill:none;{style}">{what}</path>'
        else:
            style = f"stroke:{LINE};stroke-width:{0.5 + 1.5 * weight:.1f};stroke-opacity:.7"
            quiet += f'<path d="{curve(i, j)}" style="fill:none;{style}">{what}</path>'

    drawn = ""
    for i, (label, token, (x, width, line)) in enumerate(zip(tokens, ids, boxes, strict=True)):
        y, weight = top[line], row[i]
        border = f"stroke:{MARK};stroke-width:2.5" if i == position else f"stroke:{LINE};stroke-width:1"
        middle = x + width / 2
        shade = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="20" rx="3" style="fill:{{}};{{}}"/>'
        drawn += f'<g class="token" data-position="{i}" style="cursor:pointer">'
        drawn += tip(f"position {i}: {label}, id {token}, weight {weight:.2f}")
        drawn += shade.format(PAGE, border)
        if weight >= 0.01:
            drawn += shade.format(DATA, f"fill-opacity:{0.45 * weight:.2f}")
        drawn += text(round(middle, 1), y + 14, label, anchor="middle")
        drawn += text(round(middle, 1), y + 32, str(token), SMALL, "middle", QUIET)
        if weight >= 0.01:
            drawn += text(round(middle, 1), y + 45, f"{weight:.2f}", f"{SMALL};font-weight:bold", "middle")
        drawn += "</g>"
    most = sorted(range(len(row)), key=lambda j: -row[j])[:3]
    seen = ", ".join(f"{tokens[j]} at {j} ({row[j]:.2f})" for j in most if row[j] >= 0.01)
    alt = (
        f"{title}: {len(tokens)} tokens in a row of boxes, their ids below. {_named(tokens, position)} looks at {seen}."
    )
    return Picture(text(0, 12, title, "font-weight:bold") + quiet + loud + drawn, WIDTH, top[-1] + 52, alt)


def _height(span: float) -> float:
    """How high an arc rises over its boxes."""
    return min(90.0, 12 + 0.28 * span)


def _middle(box: tuple[float, float, int]) -> float:
    return round(box[0] + box[1] / 2, 1)


def _named(tokens: Sequence[str], position: int) -> str:
    return f"«{tokens[position]}» at {position}"


def matrix(tokens: Sequence[str], weights: Sequence[Sequence[float]], position: int, title: str) -> Picture:
    """A row for each token that looks, a column for each that is looked at: the darker the more.

    The chosen row has a frame. Without names where there are more than 60 tokens.
    """
    T = len(tokens)
    size = min(20.0, max(3.0, round(640 / T, 1)))
    named = T <= 60
    room = 8 + CELL * max(cells(shortened(token)) for token in tokens) if named else 4.0
    left, top = round(room, 1), round(34 + room, 1)
    body = text(0, 12, title, "font-weight:bold") + text(0, 28, "row: the token that looks; column: looked at", SMALL)
    names = "font-size:11px" if size >= 13 else f"font-size:{max(7.0, 0.8 * size):.1f}px"
    for i, others in enumerate(weights):
        y = round(top + i * size, 1)
        label = shortened(tokens[i])
        bold = ";font-weight:bold" if i == position else ""
        body += f'<g class="token" data-position="{i}" style="cursor:pointer">'
        if named:
            body += text(left - 5, round(y + 0.7 * size, 1), label, names + bold, "end")
        length = round(size * (i + 1), 1)  # a token sees itself and those before it
        body += (
            f'<rect x="{left:g}" y="{y:g}" width="{length:g}" height="{size:g}" style="fill:{LINE};fill-opacity:.2"/>'
        )
        for j, weight in enumerate(nearest(weight, 2) for weight in others[: i + 1]):
            if weight >= 0.01:
                x = round(left + j * size, 1)
                what = tip(f"{_named(tokens, i)} looks at {_named(tokens, j)}: {weight:.2f}")
                field = f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}"'
                body += f'{field} style="fill:{DATA};fill-opacity:{weight:.2f}">{what}</rect>'
        body += "</g>"
        if named:
            x = round(left + (i + 0.7) * size, 1)
            body += f'<g transform="translate({x:g} {top - 5:g}) rotate(-90)">{text(0, 0, label, names)}</g>'
    y, length = round(top + position * size, 1), round(size * (position + 1), 1)
    frame = f"fill:none;stroke:{MARK};stroke-width:2"
    body += f'<rect x="{left:g}" y="{y:g}" width="{length:g}" height="{size:g}" style="{frame}"/>'
    row = [nearest(weight, 2) for weight in weights[position]]
    most = max(range(position + 1), key=lambda j: row[j])
    alt = (
        f"{title}: a triangle of {T} rows, one for each token that looks. {_named(tokens, position)} looks most at "
        f"{_named(tokens, most)} ({row[most]:.2f})."
    )
    return Picture(body, max(WIDTH / 2, round(left + size * T + 4, 1)), round(top + size * T + 4, 1), alt)


@dataclass(frozen=True)
class Choice:
    """A token that may come next: its label, its probability for the model, and as it would be drawn."""

    token: str
    before: float
    after: float


def bars(choices: Sequence[Choice], title: str, others: float, left_over: str, came: int | None = None) -> Picture:
    """What may come next: a full bar as it would be drawn, and a dashed one as the model gives it where they differ.

    Args:
        choices: from the most probable token down.
        title: what it is a distribution of.
        others: the probability, as it would be drawn, of all tokens that are not among the choices.
        left_over: a line at the end.
        came: which of the choices comes next in the text.
    """
    shares = [(nearest(choice.before, 3), nearest(choice.after, 3)) for choice in choices]
    widest = max(map(max, shares))
    full = next(scale for scale in (0.05, 0.1, 0.2, 0.5, 1.0) if widest <= scale)
    left, length = 138.0, 150.0
    body = text(0, 12, title, "font-weight:bold")
    for row, (choice, (before, after)) in enumerate(zip(choices, shares, strict=True)):
        y = 26.0 + 20 * row
        chosen = row == came
        body += "<g>" + tip(f"{choice.token}: drawn with {after:.1%}; the model gives {before:.1%}")
        body += text(left - 8, y + 12, shortened(choice.token), "font-weight:bold" if chosen else "", "end")
        body += f'<rect x="{left:g}" y="{y:g}" width="{length * after / full:.1f}" height="15" style="fill:{DATA}"/>'
        if before != after:
            dashes = f"fill:none;stroke:{INK};stroke-dasharray:3 2"
            body += f'<rect x="{left:g}" y="{y:g}" width="{length * before / full:.1f}" height="15" style="{dashes}"/>'
        end = left + length * max(before if before != after else 0.0, after) / full
        note = ("cut" if choice.after == 0 else f"{after:.1%}") + (" ◂ comes here" if chosen else "")
        body += text(round(end + 6, 1), y + 12, note, "font-weight:bold" if chosen else "") + "</g>"
    y = 26.0 + 20 * len(choices)
    body += text(left - 8, y + 12, "all others", anchor="end", colour=QUIET)
    body += text(left + 6, y + 12, f"{nearest(others, 3):.1%}", colour=QUIET)
    body += text(left, y + 32, left_over, colour=QUIET)
    longest = max(range(len(choices)), key=lambda row: shares[row][1])
    differ = any(before != after for before, after in shares)
    alt = f"{title}: bars for {len(choices)} tokens, the longest {choices[longest].token} "
    alt += f"with {shares[longest][1]:.1%}"
    alt += "; dashed, what the model gives." if differ else "."
    return Picture(body, WIDTH / 2, y + 40, alt)


def lens(states: Sequence[str], guesses: Sequence[Sequence[tuple[str, float]]], title: str) -> Picture:
    """A row for each state of the residual stream, and what the model would guess from it; the last row is its answer.

    Args:
        states: what wrote last into each state.
        guesses: for each state the most probable tokens, with their probabilities.
        title: of which position.
    """
    left, step = 112.0, (WIDTH / 2 - 112) / max(len(row) for row in guesses)
    body = text(0, 12, title, "font-weight:bold")
    for row, (state, best) in enumerate(zip(states, guesses, strict=True)):
        y = 26.0 + 24 * row
        body += text(left - 10, y + 14, state, "font-size:11px", "end", QUIET)
        for place, (token, probability) in enumerate(best):
            x, share = round(left + place * step, 1), nearest(probability, 2)
            body += "<g>" + tip(f"after {state}: {token} {share:.2f}")
            body += (
                f'<rect x="{x:g}" y="{y:g}" width="{step - 4:.1f}" height="20" rx="3" '
                f'style="fill:{DATA};fill-opacity:{0.45 * share:.2f};stroke:{LINE}"/>'
            )
            body += text(x + 5, y + 14, shortened(token, 9), "font-size:11px")
            body += text(round(x + step - 9, 1), y + 14, f"{share:.2f}", "font-size:11px", "end") + "</g>"
    first = [f"{state}: {best[0][0]} {nearest(best[0][1], 2):.2f}" for state, best in zip(states, guesses, strict=True)]
    return Picture(body, WIDTH / 2, 30 + 24.0 * len(states), f"{title}: {'; '.join(first)}.")
