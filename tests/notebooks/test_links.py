"""Every relative link of the documentation and of the notebooks leads to a file that is there, without a network."""

import re
from urllib.parse import unquote

import pytest
from notebooks import COURSE, EXERCISES, ROOT, SOLUTIONS, name, prose, read

PAGES = [ROOT / "README.md", *sorted((ROOT / "course").glob("*.md")), *sorted((ROOT / "data_cards").rglob("*.md"))]


def text_of(path):
    if path.suffix == ".ipynb":
        return prose(read(path))
    return re.sub(r"```.*?```|`[^`\n]+`", "", path.read_text(), flags=re.S)


def links(text):
    return re.findall(r"\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=[\"']([^\"']+)", text)


def anchors(path):
    """As GitHub makes them: lower case, words joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES + COURSE + SOLUTIONS + EXERCISES, ids=name)
def test_links_lead_somewhere(path):
    broken = []
    for link in links(text_of(path)):
        if re.match(r"https://[\w.-]+\.\w+", link):
            continue
        target, _, anchor = unquote(link).partition("#")
        place = (path.parent / target).resolve() if target else path
        if not place.exists() or (anchor and place.is_file() and anchor not in anchors(place)):
            broken.append(link)
    assert broken == []
