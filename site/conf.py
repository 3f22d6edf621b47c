"""Sphinx reads its settings here, as variables."""

from html import escape
from importlib.resources import files
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "minigpt"
project_copyright = "the minigpt contributors, MIT licence"
html_title = "minigpt"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = [".doctrees"]

# The lessons show what is stored in them.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}  # widgets need a kernel; a lesson stores a picture in their place
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
    ("html", "application/javascript", None),
]
myst_enable_extensions = ["amsmath", "attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# Docstrings are Google's style; a single `name` in them becomes a link where it is one of ours.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
viewcode_follow_imported_members = False  # it would look for the source of an alias such as dict[str, str]
toc_object_entries = False

# Nothing comes from outside. MathJax draws with SVG: no font files, which a page opened as a file may not load.
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}
html_static_path = ["_static", str(files("sphinx-mathjax-offline") / "static" / "mathjax" / mathjax_path)]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is

html_theme = "sphinx_book_theme"
html_theme_options = {
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "use_download_button": False,
    "use_fullscreen_button": False,
    "footer_content_items": ["copyright.html"],
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search stands in the sidebar
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
html_copy_source = False
html_use_index = False  # the search finds names
html_domain_indices = False
html_show_sphinx = False
html_last_updated_fmt = None


class Mermaid(SphinxDirective):
    """A diagram in Mermaid's language, drawn by its script when the page opens."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The diagram's source, where the script looks for it."""
        source = escape("\n".join(self.content))
        return [nodes.raw("", f'<div class="diagram"><pre class="mermaid">{source}</pre></div>', format="html")]


def returns_without_type(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What follows «Returns:» is a sentence. Napoleon would take all before its first colon for a type."""
    for i, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            sentence = lines[i + 1].lstrip()
            lines[i + 1] = lines[i + 1].removesuffix(sentence) + ": " + sentence


def load_mermaid(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Only pages with a diagram load the script."""
    if 'class="mermaid"' in context.get("body", ""):
        app.add_js_file("vendor/mermaid/mermaid.tiny.js", loading_method="defer")
        app.add_js_file("diagrams.js", loading_method="defer")


def setup(app: Sphinx) -> None:
    """What Sphinx and MyST do not do by themselves."""
    app.add_directive("mermaid", Mermaid)
    app.connect("autodoc-process-docstring", returns_without_type, priority=400)  # before Napoleon, which has 500
    app.connect("html-page-context", load_mermaid)
