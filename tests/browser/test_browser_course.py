"""The course in JupyterLab, in a real browser: lessons run to their end, sliders move, answers are noted."""

from pathlib import Path

from lab import MARKS, copy_notebook, opened, picture, run_all_cells, wait_for_the_last_cell

pytestmark = MARKS

ROOT = Path(__file__).parents[2]
PICTURE = ".jupyter-widgets [role=img]"


def test_the_first_lesson_runs_to_its_end(tmp_path):
    copy_notebook(tmp_path, ROOT / "course" / "00_start_here.ipynb")
    with opened(tmp_path) as page:
        run_all_cells(page)
        wait_for_the_last_cell(page)
        assert page.locator(".jp-RenderedImage img").count() >= 1
        page.locator("text=below 1 nat").last.scroll_into_view_if_needed()
        picture(page, "start-here")


def test_the_slider_of_a_lesson_moves_its_picture_by_keyboard(tmp_path):
    copy_notebook(tmp_path, ROOT / "course" / "02_lora_math.ipynb", until="explore(")
    with opened(tmp_path) as page:
        run_all_cells(page)
        page.wait_for_selector(f"{PICTURE}[aria-label^='Rank 4:']")
        assert not page.locator(".helptune-still").is_visible()
        before = page.locator(PICTURE).inner_html()
        picture(page, "slider")
        handle = page.locator(".jupyter-widgets .noUi-handle")
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"{PICTURE}[aria-label^='Rank 5:']")
        assert page.locator(PICTURE).inner_html() != before
        picture(page, "slider-moved")

        # Saved, and opened where no kernel knows the widget: the picture it was shown with, and its words.
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        page.reload()
        page.locator(".helptune-still svg").scroll_into_view_if_needed()
        assert page.locator(".helptune-still").is_visible()
        assert "Rank 4: 640 numbers" in page.locator(".helptune-still").inner_text()
        picture(page, "slider-still")


ANSWER = "def lora_forward(x, w, a, b, alpha):\n    return x @ w + {} * (x @ a @ b)"


def write_answer(page, source):
    """Into the cell of the exercise, as a learner would."""
    cells = "window.jupyterapp.shell.currentWidget.content.widgets"
    found = f"{cells}.find(cell => cell.model.getMetadata('nbgrader')?.grade_id === 'lora_forward')"
    page.evaluate(f"source => {found}.model.sharedModel.setSource(source)", source)


def check_answer(page):
    """Run the cell of the answer, and the check below it, and nothing else."""
    page.evaluate("""async () => {
        const panel = window.jupyterapp.shell.currentWidget, notebook = panel.content;
        for (const name of ['lora_forward', 'lora_forward_check']) {
            notebook.activeCellIndex = notebook.widgets.findIndex(
                cell => cell.model.getMetadata('nbgrader')?.grade_id === name);
            notebook.deselectAll();
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }
    }""")


def test_the_panel_tells_what_is_solved(tmp_path):
    copy_notebook(tmp_path, ROOT / "exercises" / "02_lora_math" / "02_lora_math.ipynb")
    row = ".jupyter-widgets tr:has-text('lora_forward')"
    with opened(tmp_path) as page:
        run_all_cells(page)  # nothing is written: it stops at the first check
        page.wait_for_selector(".jp-RenderedText:has-text('nothing is written here yet')")
        picture(page, "exercise-unwritten")

        write_answer(page, ANSWER.format("alpha"))
        check_answer(page)
        page.wait_for_selector(f"{row}:has-text('alpha only')")
        assert page.locator(".jp-RenderedText:has-text('divide by the rank, too')").count() == 1
        picture(page, "exercise-mistaken")

        write_answer(page, ANSWER.format("alpha / a.shape[1]"))
        check_answer(page)
        page.wait_for_selector(f"{row}:has-text('✓ solved')")
        page.locator(row).scroll_into_view_if_needed()
        picture(page, "exercise-solved")
