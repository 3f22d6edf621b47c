"""The site to read, in Chromium: at a phone's and a desktop's width, light and dark, served and as plain files."""

import functools
import http.server
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, ViewportSize, expect

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [name for name in NOTEBOOKS if not name.startswith("00")]
OTHERS = [
    "index.html",
    "glossary.html",
    "questions.html",
    "reading.html",
    "README.html",
    "search.html?q=softmax",
    "notebooks/solutions/index.html",
    "notebooks/solutions/04_attention_by_hand.html",
    "reference/index.html",
    "reference/minigpt.model.attention.html",
    "_modules/minigpt/model/gpt.html",
]
PAGES = [*OTHERS, *(f"notebooks/{name}.html" for name in NOTEBOOKS)]
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}

# How many letters of code fit into a box beside its padding.
COLUMNS = """box => {
    const letters = box.appendChild(document.createElement('span'));
    letters.textContent = 'x'.repeat(100);
    const style = getComputedStyle(box), width = letters.getBoundingClientRect().width / 100;
    letters.remove();
    return (box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)) / width;
}"""

# Text that has less contrast with what is behind it than 4.5 to 1, by the formula of WCAG 2.2, «relative luminance».
# Colours of any notation are read by painting them. Pictures and diagrams are drawn on white.
FAINT = """() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
    const paint = canvas.getContext('2d', {willReadFrequently: true});
    const seen = new Map();
    const rgba = colour => {
        if (!seen.has(colour)) {
            paint.clearRect(0, 0, 1, 1);
            paint.fillStyle = colour;
            paint.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
            seen.set(colour, [r, g, b, a / 255]);
        }
        return seen.get(colour);
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
    const papers = new Map([[null, {colour: [255, 255, 255], opacity: 1}]]);
    const paper = element => {
        if (!papers.has(element)) {
            const below = paper(element.parentElement), {backgroundColor, opacity} = getComputedStyle(element);
            papers.set(element, {colour: over(rgba(backgroundColor), below.colour), opacity: opacity * below.opacity});
        }
        return papers.get(element);
    };
    const luminance = colour => {
        const [r, g, b] = colour.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = new Map();
    let texts = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
        if (!text || element.closest('script, style, svg')) continue;
        if (!element.checkVisibility({visibilityProperty: true})) continue;
        const {colour, opacity} = paper(element);
        if (opacity === 0) continue;
        texts += 1;
        const [r, g, b, a] = rgba(getComputedStyle(element).color);
        const [dark, light] = [over([r, g, b, a * opacity], colour), colour].map(luminance).sort((x, y) => x - y);
        const ratio = (light + 0.05) / (dark + 0.05);
        if (ratio < 4.5) {
            const where = `${element.tagName.toLowerCase()}.${element.className}`;
            faint.set(where, `${where} ${ratio.toFixed(2)} «${text.slice(0, 40)}»`);
        }
    }
    return {texts, faint: [...faint.values()]};
}"""

# Text in which mathematics was left as it was typed.
RAW_MATHS = r"""() => {
    const left = [];
    const elsewhere = 'pre, code, script, style, mjx-container, #search-results';
    const walker = document.createTreeWalker(document.querySelector('article, main'), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data;
        if (walker.currentNode.parentElement.closest(elsewhere)) continue;
        if (/\\[([]|\$[^$\n]+\$|\\(frac|sqrt|text)\b/.test(text)) left.push(text.trim().slice(0, 80));
    }
    return left;
}"""


class Html(HTMLParser):
    """What a page links to, its anchors, and its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = {""}
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in ("link", "script", "img", "iframe", "source") and (address := found.get("href") or found.get("src")):
            self.loads.append(address)
        if tag == "img":
            self.pictures.append(found)


def build_module():
    """site/build.py; `import site` is Python's own."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "site" / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site as `make site` builds it; once for all processes of pytest."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent
    with FileLock(root / "site.lock"):
        if not (root / "site" / "searchindex.js").exists():
            command = [sys.executable, str(ROOT / "site" / "build.py"), str(root / "site")]
            built = subprocess.run(command, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout + built.stderr
    return root / "site"


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[str, Html]:
    """Every page of the site, read."""
    found = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    return {name: Html(text) for name, text in found.items() if "macros" not in name}  # the theme's own files


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static host that does not print what it served."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def host(site: Path) -> Iterator[str]:
    """The address of the site."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def open_page(page: Page, address: str) -> None:
    """Open a page and wait until its mathematics, diagrams and pictures stand."""
    page.goto(address, wait_until="load")
    page.wait_for_function(
        """() => (!document.querySelector('.math') || window.MathJax?.startup?.promise)
            && [...document.querySelectorAll('.mermaid')].every(diagram => diagram.querySelector('svg'))"""
    )
    page.evaluate("() => window.MathJax?.startup?.promise.then(() => true)")


def no_wider_than_the_window(page: Page) -> None:
    width, window = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width <= window, f"the page is {width} wide in a window of {window}"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_on_a_phone_and_on_a_desktop(page: Page, host: str, name: str) -> None:
    page.set_viewport_size(PHONE)
    open_page(page, host + name)
    no_wider_than_the_window(page)

    assert page.evaluate(RAW_MATHS) == []
    formulas = page.locator(".math").count()
    assert page.locator(".math mjx-container").count() == formulas and not page.locator("mjx-merror").count()
    assert not page.locator(".mermaid svg[aria-roledescription=error]").count()
    broken = "() => [...document.images].filter(i => !i.naturalWidth || !i.alt.trim()).map(i => i.src)"
    assert page.evaluate(broken) == []

    page.add_style_tag(content="* {transition: none !important; animation: none !important}")
    page.evaluate("() => document.querySelectorAll('details').forEach(folded => folded.open = true)")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        seen = page.evaluate(FAINT)
        assert seen["texts"] > 10 and seen["faint"] == [], f"{theme}: {seen}"
        page.set_viewport_size(DESKTOP)
        no_wider_than_the_window(page)


def test_the_check_of_contrast_knows_the_formula(page: Page) -> None:
    page.set_content(
        """<body style="background: #fff">
        <p class="a" style="color: #777">too faint</p> <p class="b" style="color: #767676">enough</p>
        <div style="background: #000"><p class="c" style="color: rgb(255 255 255 / 40%)">thin</p>
        <p class="d" style="color: #fff; opacity: 0.4">pale</p> <p class="e" style="color: #fff">white</p>
        <p class="f" style="color: #000; visibility: hidden">hidden</p></div>"""
    )
    # 4.48 and 4.54 are the well-known ratios of these greys on white; 40% of white on black is #666, 3.66 to 1.
    faint = ["p.a 4.48 «too faint»", "p.c 3.66 «thin»", "p.d 3.66 «pale»"]
    assert page.evaluate(FAINT) == {"texts": 5, "faint": faint}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_lesson_shows_all_that_its_notebook_has(pages: dict[str, Html], site: Path, name: str) -> None:
    text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    source = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text.count('<pre class="mermaid">') == source.count("```mermaid")
    plots = source.count('"image/svg+xml"') + len(re.findall(r"!\[[^\]]+\]\(", source))
    assert len(pages[f"notebooks/{name}.html"].pictures) == plots
    assert 'class="math ' in text or "$" not in source


def test_the_glossary_explains_and_leads_to_a_lesson(site: Path) -> None:
    text = (site / "glossary.html").read_text(encoding="utf-8")
    entries = re.findall(r'<dt id="term-[^"]+">(.+?)<a .*?</dt><dd>(.+?)</dd>', text, re.DOTALL)
    assert len(entries) == (ROOT / "site" / "glossary.md").read_text(encoding="utf-8").count("** · ") > 70
    for term, meaning in entries:
        assert re.search(r'href="(notebooks|reference)/', meaning), term


def test_every_link_leads_somewhere(pages: dict[str, Html], site: Path) -> None:
    wrong = []
    for name, page in pages.items():
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = unquote(urlsplit(urljoin(name, parts.path or Path(name).name)).path)
            anchors = pages[target].anchors if target in pages else {""}
            if not (site / target).is_file() or unquote(parts.fragment) not in anchors:
                wrong.append(f"{name}: {link}")
    assert wrong == []


def test_nothing_is_loaded_from_outside(pages: dict[str, Html]) -> None:
    outside = {
        address for page in pages.values() for address in page.loads if re.match(r"(?!data:)[a-z]+:|//", address)
    }
    assert outside == set()


def test_the_next_step_is_one_click_away(pages: dict[str, Html]) -> None:
    lessons = [f"notebooks/{name}.html" for name in LESSONS]
    for name, following in zip(["index.html", *lessons], lessons, strict=False):
        assert following in {urljoin(name, link) for link in pages[name].links}, name
    for name in NOTEBOOKS:
        lesson, solution = f"notebooks/{name}.html", f"notebooks/solutions/{name}.html"
        there = {urljoin(lesson, link) for link in pages[lesson].links}
        back = {urljoin(solution, link) for link in pages[solution].links}
        exercises = [anchor for anchor in pages[lesson].anchors if re.fullmatch(r"exercise-\d+b?-\d+", anchor)]
        assert exercises
        for anchor in exercises:
            assert f"{solution}#{anchor.replace('exercise', 'solution')}" in there
            assert f"{lesson}#{anchor}" in back


def test_a_learner_goes_on_from_the_front_page(page: Page, host: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(host)
    page.locator(".begin a").click()
    for name in LESSONS[:3]:  # where all others lead, the test above says
        expect(page).to_have_url(f"{host}notebooks/{name}.html")
        page.locator("article p:has(strong:text-is('Next')) a").click()


def test_a_solution_is_folded_until_it_is_asked_for(page: Page, host: str) -> None:
    page.goto(f"{host}notebooks/04_attention_by_hand.html")
    page.get_by_role("link", name="Solution of exercise 2").click()
    expect(page).to_have_url(f"{host}notebooks/solutions/04_attention_by_hand.html#solution-04-2")
    folded = page.locator("#solution-04-2 details")
    code = folded.get_by_text("scores.softmax")
    expect(code).to_have_count(1)
    expect(code).to_be_hidden()
    folded.locator("summary").click()
    expect(code).to_be_visible()


def test_code_fits_a_laptop_and_the_imports_are_folded(page: Page, host: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{host}notebooks/04_attention_by_hand.html")
    imports = page.locator("details:has-text('Show what this lesson imports')").first
    expect(imports.get_by_text("start_lesson()")).to_be_hidden()
    box = page.locator(".cell_input pre:visible").first
    assert box.evaluate(COLUMNS) >= 88  # as many as tests/course/test_reading.py lets a line have


def test_the_site_reads_as_plain_files(page: Page, site: Path) -> None:
    open_page(page, (site / "notebooks" / "04_attention_by_hand.html").as_uri())
    assert page.locator("mjx-container").count() > 20 and page.locator(".mermaid svg").count() == 1


def test_the_search_works_on_a_host_and_in_plain_files(browser: Browser, host: str, site: Path) -> None:
    for base in (host, f"{site.as_uri()}/"):
        page = browser.new_page()  # not the fixture: from plain files, a browser fetches no excerpts and reports errors
        page.goto(f"{base}search.html?q=perplexity")
        expect(page.locator("#search-results a", has_text="Lesson 1 ").first).to_be_visible()
        page.close()


def test_a_broken_link_or_anchor_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "index.md").write_text("# A\n\n[b](b.md) [c](index.md#c)\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-c", str(ROOT / "site"), str(tmp_path / "source")]
    built = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True)
    assert built.returncode == 1 and built.stderr.count("myst.xref_missing") == 2, built.stderr


def test_text_for_the_site() -> None:
    build = build_module()
    for text, expected in {
        "a (https://arxiv.org/abs/1) b": "a (<https://arxiv.org/abs/1>) b",
        "see https://jfly.uni-koeln.de/color/.": "see <https://jfly.uni-koeln.de/color/>.",
        "[t](https://a.org/b) <https://c.org>": "[t](https://a.org/b) <https://c.org>",
        "`https://a.org` and\n```\nhttps://b.org\n```\n": "`https://a.org` and\n```\nhttps://b.org\n```\n",
        "[s](solutions) [s](notebooks/solutions)": "[s](solutions/index.md) [s](notebooks/solutions/index.md)",
        "[m](../minigpt/model/gpt.py)": "[m](../reference/minigpt.model.gpt.rst)",
        "[p](../minigpt/course/plots.py)": "[p](../reference/minigpt.course.plots.rst)",
    }.items():
        assert build.for_the_site(text, depth=1) == expected


def test_a_plot_in_words() -> None:
    build = build_module()
    assert (
        build.picture_in_words("<svg role='img' aria-label=\"Who looks &amp; at whom\"></svg>") == "Who looks & at whom"
    )
    svg = "<!-- step --><!-- 10 --><!-- loss -->"
    assert build.picture_in_words(svg) == "Plot with the words: step; loss"
