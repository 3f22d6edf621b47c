"""The chat of a notebook in a real browser: typed, sent with the Enter key, begun anew."""

import nbformat
from playwright.sync_api import Page, expect

from tests.browser.jupyterlab import Lab

KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
CODE = """
from minigpt.weights.checkpoint import load_model
from minigpt.course import chat, start_lesson
start_lesson()
chat(*load_model("helper"), temperature=0.0, max_new_tokens=12)
"""


def test_a_learner_asks_and_begins_anew(page: Page, lab: Lab) -> None:
    cell = nbformat.v4.new_code_cell(CODE, id="chat")
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL)
    nbformat.write(notebook, lab.root / "notebooks" / "try_chat.ipynb")
    lab.open(page, "try_chat").menu("Run", "runmenu:run-all")
    box = page.locator(".minigpt-chat")
    field, said = box.get_by_placeholder("say something"), box.locator(".minigpt-said p")
    field.fill("Mia had a <b>red</b> kite. What colour was it?")
    field.press("Enter")
    expect(said).to_have_count(2)
    expect(said.nth(0)).to_have_text("you Mia had a <b>red</b> kite. What colour was it?")
    expect(field).to_have_value("")
    box.get_by_role("button", name="another answer").click()
    expect(said).to_have_count(2)
    box.get_by_role("button", name="begin anew").click()
    expect(said).to_have_count(0)
