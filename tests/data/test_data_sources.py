"""The other sources, and the table of all: each with its true schema, its traps, and the attribution it owes."""

from dataclasses import replace
from pathlib import Path

import pytest

from helptune.data.conversation import Conversation, load_curated
from helptune.data.sources import helpsteer2, hh_rlhf, messages, posts_xml, stackexchange
from helptune.data.sources.record import MALFORMED, Rejected, Row
from helptune.data.sources.rows import rows
from helptune.data.sources.stackexchange import pm_score
from helptune.data.sources.table import SOURCES, conversations
from helptune.errors import DataError

FILES = Path(__file__).parent / "files"
DUMP = FILES / "cooking.stackexchange.com"


def split(found):
    """Conversations, and (line, code) of what was rejected."""
    found = list(found)
    kept = [c for c in found if isinstance(c, Conversation)]
    return kept, [(r.line, r.code) for r in found if isinstance(r, Rejected)]


def hh(where="hh/helpful-base", **options):
    return hh_rlhf.read(rows(FILES / where), **options)


def test_hh_rlhf_is_refused_until_its_warning_was_read():
    with pytest.raises(DataError, match="not\\* meant for supervised training"):
        hh()


def test_hh_rlhf_gives_the_chosen_side_and_names_its_traps():
    kept, dropped = split(hh(warning_was_read=True))
    assert [m.content for m in kept[0].messages] == [
        "What can I do with stale bread?",
        "Toast it, or make bread crumbs.",
        "How do I make crumbs?",
        "Dry the bread in the oven, then grate it.",
    ]
    assert kept[1].messages[1].content == "Oak.\n\nBirch."
    assert kept[0].meta == {"subset": "helpful-base"}
    assert dropped == [
        (2, "no_choice"),
        (3, "empty_turn"),
        (4, "same_role"),
        (5, "ends_on_user"),
        (6, MALFORMED),
        (7, MALFORMED),
        (8, MALFORMED),
    ]


def test_the_harmless_subset_is_refused_and_so_is_one_nobody_named():
    with pytest.raises(DataError, match=r"harmless-base.* is of no helpful subset"):
        list(hh("hh/harmless-base", warning_was_read=True))
    with pytest.raises(DataError, match=r"harmless-base.* is of no helpful subset"):
        list(hh("hh", warning_was_read=True))
    with pytest.raises(DataError, match="'harmless-base' is not one of"):
        hh(warning_was_read=True, subset="harmless-base")
    row = Row("pairs.jsonl", 1, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"})
    with pytest.raises(DataError, match="is of no helpful subset"):
        list(hh_rlhf.read([row], warning_was_read=True))
    assert split(hh_rlhf.read([row], warning_was_read=True, subset="helpful-online"))[0]


@pytest.mark.parametrize(
    ("file", "subset"),
    [
        ("helpful-base-backup/harmless-base/train.jsonl", None),
        ("helpful-base/harmless-base/train.jsonl", None),
        ("helpful-base/harmless-base.jsonl.gz", None),
        ("my-helpful-base/train.jsonl", None),
        ("helpful-base/red-team-attempts/train.jsonl", None),
        ("harmless-base/helpful-online/train.jsonl", "helpful-online"),
        ("downloads/helpful-base.jsonl.gz", "helpful-base"),
        ("Anthropic/hh-rlhf@c0ffee/helpful-base/train", "helpful-base"),
    ],
)
def test_the_subset_is_the_nearest_folder_that_is_called_as_one(file, subset):
    row = Row(file, 1, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"})
    if subset is None:
        with pytest.raises(DataError, match="is of no helpful subset"):
            list(hh_rlhf.read([row], warning_was_read=True))
    else:
        (found,) = hh_rlhf.read([row], warning_was_read=True)
        assert found.meta == {"subset": subset}


@pytest.mark.parametrize(
    ("votes", "accepted", "score"),
    [(-3, False, -1), (-1, True, -1), (0, False, 0), (0, True, 1), (2, False, 2), (4, False, 2), (100, True, 8)],
)
def test_pm_score_is_that_of_askell_and_others(votes, accepted, score):
    assert pm_score(votes, accepted) == score


def test_stack_exchange_gives_the_best_answer_in_markdown_with_attribution():
    kept, dropped = split(stackexchange.read(rows(FILES / "stack_exchange_preferences.jsonl")))
    first, tie, downvoted = kept
    assert first.messages[0].content == "My dough does *not* rise. I use:\n\n- 500 g flour\n- 7 g yeast"
    assert first.messages[1].content == (
        "Warm the `dough` to 27°C & wait.\n\n```\nfor hour in range(2):\n    wait()\n```"
    )
    assert first.license == "CC-BY-SA-4.0"
    assert first.ratings == {"helpfulness": 1.0, "pm_score": 4, "selected": True}
    assert first.meta["url"] == "https://cooking.stackexchange.com/questions/1"
    assert first.meta["author"] == "Bo Miller"
    assert first.meta["author_url"] == "https://cooking.stackexchange.com/users/8"
    assert tie.meta["answer_id"] == 21
    assert downvoted.ratings["helpfulness"] == 0
    assert dropped == [
        (3, "no_answer"),
        (4, "attribution"),
        (5, MALFORMED),
        (6, MALFORMED),
        (7, MALFORMED),  # the answer is a picture without words
    ]


def test_the_dump_is_joined_and_every_post_that_gives_nothing_is_named():
    kept, dropped = split(posts_xml.read(rows(DUMP, files="Posts.xml")))
    first, tie = kept
    assert first.messages[0].content.startswith('Why does my "dough" not rise?\n\nMy dough does *not* rise.')
    assert first.license == "CC-BY-SA-4.0"
    assert first.ratings == {"helpfulness": 1.0, "pm_score": 4, "selected": True, "score": 7}
    assert first.meta == {
        "url": "https://cooking.stackexchange.com/questions/1",
        "author": "Bo Miller",
        "author_url": "https://cooking.stackexchange.com/users/8",
        "answer_id": 12,
        "date": "2019-03-05T08:00:00.000",
        "asker": "Cy Cook",
        "asker_url": "https://cooking.stackexchange.com/users/5",
        "asker_license": "CC-BY-SA-3.0",
        "tags": ["bread", "yeast"],
    }
    assert tie.license == "CC-BY-SA-2.5"  # by its date
    assert tie.meta["author"] == "gone user"
    assert tie.meta["tags"] == ["ties"]
    assert sorted(dropped) == [
        (9, "no_answer"),
        (10, "post_type"),
        (11, "no_question"),
        (12, MALFORMED),  # an id twice
        (13, MALFORMED),  # a score of "many"
        (14, "license"),
        (15, MALFORMED),  # an entity nobody declared
        (16, MALFORMED),  # cut off
        (17, MALFORMED),  # a document type
        (18, MALFORMED),  # no body
    ]


def test_the_dump_and_the_preferences_agree_on_answer_text_and_rating():
    by_id = {c.id: c for c in split(stackexchange.read(rows(FILES / "stack_exchange_preferences.jsonl")))[0]}
    for found in split(posts_xml.read(rows(DUMP, files="Posts.xml")))[0]:
        other = by_id[found.id]
        assert found.messages[1] == other.messages[1]
        assert found.meta["answer_id"] == other.meta["answer_id"]
        assert {name: found.ratings[name] for name in other.ratings} == other.ratings
        assert found.messages[0].content.endswith(other.messages[0].content)


def test_a_dump_without_a_site_cannot_be_attributed(tmp_path):
    (tmp_path / "Posts.xml").write_bytes((DUMP / "Posts.xml").read_bytes())
    with pytest.raises(DataError, match="attribution needs the site's address"):
        list(posts_xml.read(rows(tmp_path)))
    with pytest.raises(DataError, match="is no address"):
        posts_xml.read(rows(tmp_path), site="https://x.com/")
    kept, _ = split(posts_xml.read(rows(tmp_path), site="cooking.stackexchange.com"))
    assert kept[0].meta["author"] == ""  # no Users.xml there
    assert kept[0].meta["author_url"] == "https://cooking.stackexchange.com/users/8"


def test_a_declared_entity_is_never_expanded(tmp_path):
    path = tmp_path / "Posts.xml"
    path.write_text('<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/hostname">]>\n<posts>\n<row Id="&a;"/>\n</posts>\n')
    assert [row.code for row in rows(path)] == [MALFORMED, MALFORMED]


def test_helpsteer2_keeps_raters_apart_and_scales_helpfulness():
    kept, dropped = split(helpsteer2.read(rows(FILES / "helpsteer2/disagreements.jsonl")))
    assert kept[0].ratings["helpfulness"] == 0.75
    assert kept[0].ratings["attributes"]["verbosity"] == [3, 4, 2]
    assert dropped == [(3, MALFORMED), (4, MALFORMED), (5, MALFORMED)]


def test_helpsteer2_separates_the_turns_of_a_prompt():
    kept, dropped = split(helpsteer2.read(rows(FILES / "helpsteer2/train.jsonl")))
    assert [(m.role, m.content) for m in kept[1].messages] == [
        ("user", "Name a bird."),
        ("assistant", "A robin."),
        ("user", "And a bigger one?"),
        ("assistant", "An ostrich."),
    ]
    assert kept[0].ratings["attributes"]["helpfulness"] == 3
    assert [line for line, code in dropped if code == MALFORMED] == [3, 4, 5, 6, 7, 8, 9, 10]


def test_a_response_has_one_id_in_the_ratings_and_in_the_disagreements():
    of = [split(helpsteer2.read(rows(FILES / f"helpsteer2/{name}.jsonl")))[0][0] for name in ("train", "disagreements")]
    assert of[0].id == of[1].id


def test_your_own_messages_with_or_without_a_licence():
    kept, dropped = split(messages.read(rows(FILES / "messages.jsonl"), license="MIT"))
    assert [(c.license, c.source) for c in kept] == [
        ("MIT", "local"),
        ("MIT", "local"),
        ("CC0-1.0", "team"),
        ("MIT", "local"),
    ]
    assert kept[0].id == kept[3].id  # made of what was said
    assert kept[1].id == "mine-1"
    assert kept[1].category == ""  # not taken from a foreign record
    assert kept[2].category == "write"
    assert [line for line, _ in dropped] == [5, 6, 7, 8, 9, 10]
    kept, dropped = split(messages.read(rows(FILES / "messages.jsonl")))
    assert len(kept) == 2
    assert dropped[:2] == [(1, "license"), (2, "license")]


SAID = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


def test_what_a_record_says_of_its_licence_and_source_goes_before_the_options():
    own = Row("x", 1, {"messages": SAID, "license": "CC-BY-NC-4.0", "source": "lab"})
    null = Row("x", 2, {"messages": SAID, "license": None, "source": None})
    odd = Row("x", 3, {"messages": SAID, "license": ["MIT"], "source": ["lab"]})
    kept, dropped = split(messages.read([own, null, odd], license="CC0-1.0", source="mine"))
    assert [(c.license, c.source) for c in kept] == [("CC-BY-NC-4.0", "lab"), ("CC0-1.0", "mine")]
    assert dropped == [(3, MALFORMED)]


def test_no_name_of_a_field_stops_the_reading():
    own = {"id": "a", "source": "b", "license": "c", "messages": SAID}
    assert split(messages.read([Row("x", 1, own | {"row": 1, "record": 2, "self": 3})])) == ([], [(1, MALFORMED)])


def test_a_record_that_could_not_be_written_is_rejected():
    own = {"id": "a", "source": "b", "license": "c", "messages": [], "meta": {"when": object()}}
    assert split(messages.read([Row("x", 1, own)])) == ([], [(1, MALFORMED)])


def test_the_curated_conversations_are_a_source():
    assert list(conversations("curated", split="heldout")) == load_curated("heldout")


WHERE = {
    "oasst1": ("oasst", {}),
    "oasst2": ("oasst/messages.jsonl", {}),
    "hh-rlhf": ("hh", {"warning_was_read": True}),
    "helpsteer2": ("helpsteer2", {}),
    "stack-exchange-preferences": ("stack_exchange_preferences.jsonl", {}),
    "stack-exchange": ("cooking.stackexchange.com", {}),
    "messages": ("messages.jsonl", {"license": "MIT"}),
}


@pytest.mark.parametrize("name", WHERE)
def test_each_source_is_read_by_name_and_says_the_licence_of_the_table(name):
    where, options = WHERE[name]
    kept, _ = split(conversations(name, FILES / where, **options))
    assert kept
    assert kept == split(conversations(name, FILES / where, **options))[0]
    for found in kept:
        if name != "messages":
            assert found.source == name
            assert found.license.rsplit("-", 1)[0] == SOURCES[name].license.rsplit("-", 1)[0]
        assert found.difficulty in ("", "easy")


def test_share_alike_sources_are_marked_and_carry_attribution():
    assert {s.name for s in SOURCES.values() if s.share_alike} == {"stack-exchange", "stack-exchange-preferences"}
    assert all("SA" in s.license for s in SOURCES.values() if s.share_alike)
    for name in ("stack-exchange", "stack-exchange-preferences"):
        for found in split(conversations(name, FILES / WHERE[name][0]))[0]:
            assert {"url", "author", "author_url"} <= found.meta.keys()


def test_the_table_is_plain_data_with_a_use_for_the_card():
    assert all(s.intended_use and s.read for s in SOURCES.values())
    assert SOURCES["hh-rlhf"].opt_in
    assert replace(SOURCES["oasst2"], revision="x").revision == "x"


@pytest.mark.parametrize(("name", "why"), [("nothing", "is no source"), ("messages", "is on no hub")])
def test_a_source_that_cannot_be_found_is_an_error(name, why):
    with pytest.raises(DataError, match=why):
        conversations(name)
