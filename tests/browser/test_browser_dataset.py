"""The browser of a dataset where it is used: a notebook in JupyterLab, in a real browser."""

import json

import pytest
from lab import MARKS, opened, picture, run_all_cells, write_notebook

from helptune.data.conversation import load_curated
from helptune.data.mixture.build import build
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec

pytestmark = MARKS

HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>\u202edrawkcab \x1b[2J"
SHOWN = ".jupyter-widgets .helptune-text"


@pytest.fixture
def folder(tmp_path):
    """A dataset of curated texts under two sources, one of them hostile, with repeats and a broken record."""
    lines = []
    for i, c in enumerate(load_curated("train")[:240:4]):
        fields = {"id": f"a-{i}", "source": f"mine-{i % 2}", "license": "MIT", "category": c.category}
        messages = [{"role": m.role, "content": m.content} for m in c.messages]
        if i == 0:
            fields["source"], messages[0]["content"] = "odd", f"{messages[0]['content']} {HOSTILE}"
        lines.append(fields | {"messages": messages})
    lines += [lines[5] | {"id": "again"}, {"id": "<b>broken</b>", "messages": 3, "license": "MIT"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = Recipe("mine", (SourceSpec("messages", path="a.jsonl"),), safety=Safety("none"))
    build(recipe, tmp_path, tmp_path / "mine", workers=1)
    return tmp_path / "mine"


def choose(page, name, value):
    page.locator(f".widget-dropdown:has(label:text-is('{name}')) select").select_option(value)


def test_a_dataset_is_read_by_clicking_in_jupyterlab(folder):
    write_notebook(folder.parent, f"from helptune.data.mixture.browser import browse\nbrowse({str(folder)!r})")
    with opened(folder.parent) as page:
        run_all_cells(page)
        page.wait_for_selector(SHOWN)
        assert page.locator(".jupyter-widgets select").count() == 4
        picture(page, "dataset")

        choose(page, "source", "mine-1")
        page.wait_for_function(
            "() => [...document.querySelectorAll('.jupyter-widgets small')].every(s => s.innerText.includes('mine-1'))"
        )
        before = page.locator(SHOWN).first.inner_text()
        page.locator("button:has-text('Other samples')").click()
        page.wait_for_function(f"old => document.querySelector('{SHOWN}').innerText !== old", arg=before)
        picture(page, "dataset-other")

        choose(page, "source", "odd")
        page.wait_for_function(f"() => document.querySelector('{SHOWN}').innerText.includes('<script>')")
        assert page.locator(".jupyter-widgets :is(script, img)").count() == 0
        assert page.evaluate("() => window.pwned === undefined")
        picture(page, "dataset-hostile")

        choose(page, "source", "any")
        choose(page, "reason", "exact duplicate")
        page.wait_for_selector("text=the same text as a-5")
        picture(page, "dataset-dropped")
        choose(page, "reason", "malformed")
        page.wait_for_selector("text=a.jsonl:62")
        choose(page, "category", "code")
        page.wait_for_selector("text=Nothing in this dataset fits")
        picture(page, "dataset-nothing")
