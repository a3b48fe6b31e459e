"""A data card is only worth something while it is true: every card that is made from data is made again here."""

import json
import re
import shutil
from functools import cache
from pathlib import Path

import mlcroissant
import pytest
import yaml

from helptune.data.cards import MEANINGS, OFFLINE, cards, renewed
from helptune.data.conversation import CATEGORIES, CURATED, Conversation, load_curated
from helptune.data.safety.labelled import SHIPPED as LABELLED
from helptune.data.safety.labelled import load_labelled

FOLDER = Path(__file__).parents[2] / "data_cards"


@cache
def made():
    return cards((FOLDER / "curated.md").read_text(encoding="utf-8"))


def parts(name):
    """(YAML header, the text below it)."""
    _, header, text = (FOLDER / name).read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def test_making_the_cards_again_changes_nothing():
    """If it does: `python .ci/cards.py`, and look at what has changed."""
    changed = [
        name for name, text in made().items()
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text(encoding="utf-8") != text
    ]  # fmt: skip
    assert changed == []


def test_there_is_a_card_for_every_source_and_every_mixture_that_needs_no_download():
    names = {path.stem for path in (FOLDER / "sources").glob("*.md")}
    assert names == {"oasst1", "oasst2", "hh-rlhf", "helpsteer2", "stack-exchange", "stack-exchange-preferences"}
    assert {path.stem for path in (FOLDER / "mixtures").glob("*.md")} == set(OFFLINE)


@pytest.mark.parametrize("name", [str(p.relative_to(FOLDER)) for p in sorted(FOLDER.rglob("*.md"))])
def test_the_header_is_what_hugging_face_reads(name):
    if name == "rating_guidelines.md":
        pytest.skip("guidelines for people, not a card")
    header, _ = parts(name)
    assert header["license"]
    assert header.get("pretty_name") or header.get("pipeline_tag")


@pytest.mark.parametrize("name", [str(p.relative_to(FOLDER)) for p in sorted(FOLDER.rglob("*croissant.json"))])
def test_croissant_metadata_are_valid(name):
    metadata = mlcroissant.Dataset(jsonld=json.loads((FOLDER / name).read_text())).metadata
    assert metadata.license
    assert not metadata.ctx.issues.errors


def test_croissant_reads_the_curated_conversations(tmp_path):
    """What another tool gets by the metadata alone is what we read."""
    shutil.copytree(CURATED, tmp_path, dirs_exist_ok=True)
    path = Path(shutil.copy(FOLDER / "curated.croissant.json", tmp_path))
    found = list(mlcroissant.Dataset(jsonld=str(path)).records("heldout"))
    own = {c.id: c for c in load_curated("heldout")}
    assert {record["heldout/id"].decode() for record in found} == set(own)
    first = found[0]
    said = [text.decode() for text in first["heldout/messages/content"]]
    assert said == [m.content for m in own[first["heldout/id"].decode()].messages]


def test_croissant_reads_the_labelled_safety_texts(tmp_path):
    shutil.copytree(LABELLED, tmp_path, dirs_exist_ok=True)
    path = Path(shutil.copy(FOLDER / "safety_set.croissant.json", tmp_path))
    found = list(mlcroissant.Dataset(jsonld=str(path)).records("dev"))
    texts = {record["dev/id"].decode(): record["dev/prompt"].decode() for record in found}
    assert texts == {record.id: record.prompt for record in load_labelled("dev")}


def test_a_number_that_is_wrong_is_renewed():
    text = "before\n\n| split | rows |\n| --- | ---: |\n| train | 1 |\n\n| other | x |\n"
    new = renewed(text, {"split": "| split | rows |\n| --- | ---: |\n| train | 2 |"})
    assert new == text.replace("| train | 1 |", "| train | 2 |")


def test_every_category_says_what_is_asked():
    assert set(MEANINGS) == set(CATEGORIES)


def test_every_field_is_described():
    rows = re.findall(r"^\| `(\w+)` \|", parts("curated.md")[1], re.MULTILINE)
    assert rows == list(Conversation.__dataclass_fields__)


def test_there_are_no_other_numbers_to_go_stale():
    """Prose says what does not change; what is counted stands in a table."""
    prose = "\n".join(line for line in parts("curated.md")[1].splitlines() if not line.startswith("|"))
    allowed = r"Gemma 3|Apache-2\.0|sha256|UTF-8|256 tokens"
    assert re.findall(r"\d+", re.sub(allowed, "", prose)) == []


@pytest.mark.parametrize("said", ["help of a language model", "no human rating", "English only"])
def test_the_card_says_plainly_what_the_data_is_not(said):
    assert said in " ".join(parts("curated.md")[1].split())
