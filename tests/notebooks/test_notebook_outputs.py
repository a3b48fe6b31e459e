"""Every cell that nbval runs is one that it compares: a cell without count and outputs would be run and believed."""

import re

import pytest
from notebooks import EXECUTED, code, name, read

IGNORED = {
    "course/00_start_here": "the doctor tells of the machine; a base model's greedy text in bfloat16 hangs on it",
    "course/01_helpful_first": "greedy answers of adapters that were just trained: differences of rounding grow",
    "course/07_finetune_gemma": "the moment at which a run is looked at; answers in bfloat16 of what it just trained",
}
"""Notebooks with cells whose outputs are not compared, and why not."""

NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}
FORBIDDEN = r"\binteract(ive)?\(|\bOutput\(|\binput\(|google\.colab|^\s*[%!]"


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_every_cell_was_run_once_in_order(path):
    cells = [cell for cell in code(read(path)) if "nbval-skip" not in cell.metadata.get("tags", [])]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_no_cell_failed_or_warned(path):
    for cell in code(read(path)):
        if "raises-exception" not in cell.metadata.get("tags", []):
            assert [o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"] == [], cell.source


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_outputs_are_left_uncompared_for_a_reason(path):
    tagged = [cell for cell in code(read(path)) if NOT_COMPARED & set(cell.metadata.get("tags", []))]
    assert bool(tagged) == (name(path.with_suffix("")) in IGNORED)


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_outputs_name_no_place_on_the_machine_that_made_them(path):
    shown = [str(output) for cell in code(read(path)) for output in cell.outputs]
    assert [found for text in shown for found in re.findall(r"/(?:root|home|work|Users|tmp)/[\w./-]*", text)] == []


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_no_widget_state_is_kept(path):
    assert "widgets" not in read(path).metadata


@pytest.mark.parametrize("path", EXECUTED, ids=name)
def test_nothing_asks_or_belongs_to_another_place(path):
    """No `interact`, `Output` or `input`, which fail without a person; nothing of Colab; no magics."""
    assert [m.group() for cell in code(read(path)) for m in re.finditer(FORBIDDEN, cell.source, re.M)] == []
