"""What a build reads: all of it or an error, nothing beside it, and a version that changes with it alone."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from mixtures import UNJUDGED, different_texts

from helptune.data.conversation import load_curated, read_conversations
from helptune.data.mixture import inputs
from helptune.data.mixture.build import build
from helptune.data.mixture.inputs import check, fingerprints, reads, stamps
from helptune.data.mixture.recipe import Recipe, Safety, SourceSpec, read_recipe
from helptune.data.sources.record import UNREADABLE, Rejected
from helptune.data.sources.table import conversations
from helptune.errors import DataError, SettingError

FILES = Path(__file__).parent / "files"
OWN = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=Safety("none"))


def records(count):
    return [
        {"id": f"a-{i}", "source": "mine", "license": "MIT", "messages": [m.__dict__ for m in c.messages]}
        for i, c in enumerate(load_curated("train")[:count])
    ]


def write_lines(path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in found))


def cut(content):
    return content[: len(content) // 2]


def write_cut(folder, name):
    """600 records of which a half arrived."""
    path, found = folder / name, records(600)
    if name.endswith(".gz"):
        path.write_bytes(cut(gzip.compress("".join(json.dumps(r) + "\n" for r in found).encode())))
    elif name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), path)
        path.write_bytes(cut(path.read_bytes()))
    elif name == "pointer.jsonl":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    else:
        path.write_bytes(cut(json.dumps(found).encode()))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json", "a.parquet", "pointer.jsonl"])
def test_a_file_whose_rest_is_lost_stops_the_build_whatever_the_recipe_admits(name, tmp_path):
    """Nobody knows how many records are missing, so no share of them is small."""
    write_cut(tmp_path, name)
    *_, last = conversations("messages", tmp_path / name)
    assert isinstance(last, Rejected)
    assert last.code == UNREADABLE
    recipe = replace(OWN, source=(SourceSpec("messages", path=name),), max_malformed=1.0)
    with pytest.raises(DataError, match=rf"'messages': {name}:\d+: .*get the file again, or take it out"):
        build(recipe, tmp_path, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_got_again_is_read_from_its_beginning(tmp_path):
    write_cut(tmp_path, "a.jsonl.gz")
    recipe = replace(OWN, source=(SourceSpec("messages", path="a.jsonl.gz"),))
    with pytest.raises(DataError, match="get the file again"):
        build(recipe, tmp_path, tmp_path / "out", workers=1)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records(20)).encode()))
    assert build(recipe, tmp_path, tmp_path / "out", workers=1)["funnel"]["kept"] == {"messages": 20}


@pytest.fixture
def dump(tmp_path):
    """(home, specification) of a copy of the small Stack Exchange dump."""
    shutil.copytree(FILES / "cooking.stackexchange.com", tmp_path / "cooking.stackexchange.com")
    return tmp_path, SourceSpec("stack-exchange", path="cooking.stackexchange.com/Posts.xml")


@pytest.mark.parametrize("path", ["cooking.stackexchange.com/Posts.xml", "cooking.stackexchange.com"])
def test_the_users_beside_the_posts_are_an_input(dump, path):
    home, spec = dump
    spec = replace(spec, path=path)
    posts, users = (f"cooking.stackexchange.com/{name}.xml" for name in ("Posts", "Users"))
    before, stamped = fingerprints(spec, home), stamps(spec, home)
    assert list(before) == list(stamped) == [posts, users]
    (home / users).write_text((home / users).read_text().replace("Bo Miller", "Somebody Else"))
    assert fingerprints(spec, home)[users] != before[users]
    assert stamps(spec, home)[users] != stamped[users]
    (home / users).unlink()
    assert list(fingerprints(spec, home)) == [posts]


def test_another_name_of_a_user_is_another_dataset(dump):
    home, spec = dump
    recipe = replace(OWN, source=(spec,), share_alike=True)
    first = build(recipe, home, home / "first", workers=1)
    users = home / "cooking.stackexchange.com" / "Users.xml"
    users.write_text(users.read_text().replace("Bo Miller", "Somebody Else"))
    assert build(recipe, home, home / "second", workers=1)["version"] != first["version"]
    authors = {c.meta["author"] for c in read_conversations(home / "second" / "train.jsonl")}
    assert "Somebody Else" in authors


def test_a_file_that_is_not_read_is_no_input(tmp_path):
    """Hidden ones, other splits, other kinds and other parts of a folder do not change a dataset's version."""
    write_lines(tmp_path / "hs" / "train.jsonl", records(3))
    spec = SourceSpec("messages", path="hs")
    before = fingerprints(spec, tmp_path)
    assert list(before) == ["hs/train.jsonl"]
    for name in ("validation.jsonl", ".cache/train.jsonl", ".train.jsonl", "notes.txt"):
        write_lines(tmp_path / "hs" / name, records(1))
    assert fingerprints(spec, tmp_path) == before
    assert len(list(reads(spec, tmp_path))) == 3


def test_only_the_part_that_the_recipe_names_is_read_and_hashed(tmp_path):
    for site in ("stats", "cooking"):
        write_lines(tmp_path / "se" / "data" / site / "a.jsonl", records(2))
    spec = SourceSpec("messages", path="se", data_dir="data/stats")
    assert list(fingerprints(spec, tmp_path)) == ["se/data/stats/a.jsonl"]
    assert len(list(reads(spec, tmp_path))) == 2
    with pytest.raises(DataError, match="has no folder 'data/stat'; there are data, data/cooking, data/stats"):
        build(replace(OWN, source=(replace(spec, data_dir="data/stat"),)), tmp_path, tmp_path / "out", workers=1)


def test_a_folder_that_a_source_reads_unasked_need_not_be_there():
    """Of HH-RLHF it is helpful-base, which may be what the path names; a folder that was asked for must be there."""
    options = {"warning_was_read": True}
    of = [list(conversations("hh-rlhf", FILES / where, **options)) for where in ("hh", "hh/helpful-base")]
    assert [c.id for c in of[0] if not isinstance(c, Rejected)] == [c.id for c in of[1] if not isinstance(c, Rejected)]
    with pytest.raises(DataError, match="has no folder 'helpful-online'; there are harmless-base, helpful-base"):
        conversations("hh-rlhf", FILES / "hh", data_dir="helpful-online", **options)


def trees(nested):
    """100 trees of ten messages, five messages of the first four trees without a text; a row a message, or a tree."""
    found = []
    for t, c in enumerate(load_curated("train")[:100]):
        common = {"message_tree_id": f"t{t}", "tree_state": "ready_for_export", "lang": "en"}
        root = common | {"message_id": f"{t}", "parent_id": None, "role": "prompter", "text": c.messages[0].content}
        replies = [
            common | {"message_id": f"{t}-{k}", "parent_id": f"{t}", "role": "assistant", "rank": k, "text": text}
            for k, text in enumerate([c.messages[1].content] * 9)
        ]
        for reply in replies[7 if t == 0 else 8 : 9 if t < 4 else 8]:
            reply["text"] = None
        found += [common | {"prompt": root | {"replies": replies}}] if nested else [root, *replies]
    return found


@pytest.mark.parametrize(("nested", "malformed", "rows"), [(False, 5, 1_000), (True, 4, 100)])
def test_the_limit_on_malformed_rows_is_a_share_of_rows(nested, malformed, rows, tmp_path):
    """Of messages where a row is a message, and of trees where it is a tree; not of one by the other."""
    write_lines(tmp_path / "oa" / "train.jsonl", trees(nested))
    recipe = replace(OWN, source=(SourceSpec("oasst2", path="oa"),), max_malformed=malformed / rows)
    manifest = build(recipe, tmp_path, tmp_path / "out", workers=1)
    assert manifest["funnel"]["read"] == {"oasst2": 105}  # trees, and messages that belong to none
    too_few = replace(recipe, max_malformed=malformed / rows - 0.001)
    for _ in range(2):  # the second time from what is on the shelf
        with pytest.raises(DataError, match=rf"'oasst2': {malformed} of {rows:,} rows are malformed.*train.jsonl"):
            build(too_few, tmp_path, tmp_path / "stopped", workers=1)


WRONG_OPTIONS = {
    "a text for a list": ("oasst2", {"languages": "de,en"}, "languages must be of type list, found 'de,en'"),
    "a number in a list": ("oasst2", {"languages": ["de", 1]}, r"languages\[1\] must be of type str, found 1"),
    "a number for a text": ("oasst1", {"source": 1}, "source must be of type str, found 1"),
    "a number for a list": ("curated", {"instalments": 1}, "instalments must be of type list, found 1"),
    "a text for a number": ("curated", {"instalments": ["1"]}, r"instalments\[0\] must be of type int, found '1'"),
    "a text for yes or no": ("hh-rlhf", {"warning_was_read": "no"}, "warning_was_read must be of type bool"),
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_an_option_of_another_type_is_named_before_anything_is_read(name):
    source, options, why = WRONG_OPTIONS[name]
    with pytest.raises(SettingError, match=rf"^options\.{why}"):
        conversations(source, FILES, **options)
    with pytest.raises(SettingError, match=rf"^source 'mine': options\.{why}"):  # nor is the hub asked
        check(replace(OWN, source=(SourceSpec(source, id="mine", options=options),)), FILES)


@pytest.mark.parametrize("option", ["split", "rows", "where", "tally", "langauges"])
def test_only_what_a_reader_calls_an_option_is_one(option):
    with pytest.raises(SettingError, match=f"options takes no '{option}', but "):
        check(replace(OWN, source=(SourceSpec("curated", options={option: ["x"]}),)), FILES)


def test_a_list_of_a_recipe_is_a_list_for_filters_and_readers(tmp_path):
    """TOML has no tuples."""
    write_lines(tmp_path / "oa.jsonl", trees(nested=False))
    (tmp_path / "x.toml").write_text(
        'name = "x"\n[filters.language]\nlanguages = ["de", "fr"]\n[safety]\nclassifier = "none"\n'
        '[[source]]\nname = "oasst2"\npath = "oa.jsonl"\noptions = { languages = ["en"] }\n'
    )
    manifest = build(read_recipe(tmp_path / "x.toml"), tmp_path, tmp_path / "first", workers=1)
    dropped = {step["reason"]: step["count"] for step in manifest["funnel"]["steps"]}
    assert dropped["language"] > 80  # by the filter: the reader took them all
    with pytest.raises(SettingError, match=r"filters\.language\.languages\[0\] must be of type str, found 1"):
        check(replace(OWN, filters={"language": {"languages": [1]}}), tmp_path)


def test_a_changed_input_is_read_again(tmp_path):
    different_texts(tmp_path / "a.jsonl", 10)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    first = build(recipe, tmp_path, tmp_path / "first")
    different_texts(tmp_path / "a.jsonl", 11)
    second = build(recipe, tmp_path, tmp_path / "second")
    assert (first["funnel"]["kept"], second["funnel"]["kept"]) == ({"messages": 10}, {"messages": 11})
    assert first["version"] != second["version"]


def test_an_input_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    """Its hash would be that of other records than those that were read."""
    different_texts(tmp_path / "a.jsonl", 10)

    def reads_and_changes(*asked):
        yield from inputs.reads(*asked)
        different_texts(tmp_path / "a.jsonl", 11)

    monkeypatch.setattr("helptune.data.mixture.build.reads", reads_and_changes)
    recipe = Recipe("x", (SourceSpec("messages", path="a.jsonl"),), safety=UNJUDGED)
    with pytest.raises(DataError, match=r"'messages': a\.jsonl changed while it was read; run the command again"):
        build(recipe, tmp_path, tmp_path / "out")
    monkeypatch.undo()
    assert build(recipe, tmp_path, tmp_path / "out")["funnel"]["kept"] == {"messages": 11}
