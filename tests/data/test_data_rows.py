"""Rows of files, folders and the hub: what cannot be read is located and counted, and the others are still read."""

import gzip
import json
import tempfile
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import helptune.data.sources.rows as rows_module
from helptune.data.sources.record import MALFORMED, UNREADABLE, Rejected, Row
from helptune.data.sources.rows import rows
from helptune.errors import DataError

A, B, C = {"n": 1}, {"text": "ä\n😀"}, {"deep": [{"n": None}]}
GOOD = [A, B, C]


def values(where, **options):
    found = list(rows(where, **options))
    assert not [row for row in found if isinstance(row, Rejected)]
    return [row.value for row in found]


def problems(path):
    return [(row.line, row.code, row.reason) for row in rows(path) if isinstance(row, Rejected)]


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


FORMS = {
    "lines.jsonl": lines(*GOOD),
    "lines.jsonl.gz": lines(*GOOD),
    "LINES.JSONL": lines(*GOOD),
    "lines.json": lines(*GOOD),
    "array.json": json.dumps(GOOD, indent=1).encode(),
    "array.json.gz": json.dumps(GOOD).encode(),
    "windows.jsonl": b"\xef\xbb\xbf" + lines(*GOOD).replace(b"}\n", b"}\r\n\r\n"),
    "unended.jsonl": lines(*GOOD).rstrip(),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_same_records_gives_the_same_rows(name, tmp_path):
    assert values(write(tmp_path / name, FORMS[name])) == GOOD


def test_parquet_gives_the_same_rows_batch_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "BATCH", 2)
    records = [{"id": str(i), "labels": {"name": ["a"], "value": [0.5]}, "rank": None} for i in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "x.parquet")
    assert list(rows(tmp_path / "x.parquet")) == [
        Row(str(tmp_path / "x.parquet"), i, record) for i, record in enumerate(records, start=1)
    ]


def test_lines_count_from_one_and_blank_lines_count(tmp_path):
    path = write(tmp_path / "x.jsonl", b"\n" + lines(A) + b"  \n" + lines(B))
    assert [row.line for row in rows(path)] == [2, 4]


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([0, 10**15, 1], pyarrow.timestamp("ms")),
        pyarrow.array([0, 10**15, 1], pyarrow.duration("s")),
        pyarrow.StringArray.from_buffers(
            3, pyarrow.py_buffer(np.array([0, 1, 2, 3], np.int32)), pyarrow.py_buffer(b"a\xffc")
        ),
    ],
    ids=["a date after the year 9999", "a time too long", "text that is not UTF-8"],
)
def test_a_value_of_a_table_that_python_does_not_have_costs_one_row(column, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2, 3], "odd": column}), tmp_path / "x.parquet")
    first, second, third = rows(tmp_path / "x.parquet")
    assert (first.value["n"], third.value["n"], third.line) == (1, 3, 3)
    assert (second.line, second.code) == (2, MALFORMED)
    assert "not usable" in second.reason


BAD_LINES = {
    "bad JSON": (b'{"n": ', "not valid JSON"),
    "invalid UTF-8": (b'{"n": "\xff"}', "not UTF-8 text (invalid start byte at byte 8)"),
    "no object": (b"[1, 2]", "expected an object, found list"),
    "not a number": (b'{"n": NaN}', "NaN is not JSON"),
    "half a character": (rb'{"n": "\ud83d"}', "half of a character"),
    "five thousand digits": (b'{"n": ' + b"1" * 5000 + b"}", "not usable"),
    "too many brackets": (b"[" * 100_000, "not usable"),
    "too long": (b'{"n": "' + b"x" * 2000 + b'"}', "longer than 1000 bytes"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_located_and_the_others_are_read(name, tmp_path, monkeypatch):
    if name == "too long":
        monkeypatch.setattr(rows_module, "LONGEST_LINE", 1000)
    line, reason = BAD_LINES[name]
    path = write(tmp_path / "x.jsonl", lines(A) + line + b"\n" + lines(B))
    found = list(rows(path))
    assert [row.value for row in found if isinstance(row, Row)] == [A, B]
    ((number, code, why),) = problems(path)
    assert (number, code) == (2, MALFORMED)
    assert reason in why


def test_whole_pairs_of_surrogates_are_a_character(tmp_path):
    assert values(write(tmp_path / "x.jsonl", rb'{"n": "\ud83d\ude00"}')) == [{"n": "😀"}]


BAD_ARRAYS = {
    "cut off": (b'[{"n": 1}, {"n": ', 1, 1, UNREADABLE),
    "no comma": (b'[{"n": 1} {"n": 2}]', 1, 1, UNREADABLE),
    "no object": (b'[{"n": 1},\n7,\n{"n": 2}]', 2, 2, MALFORMED),
    "bad element": (b'[{"n": 1},\n\n{n}, {"n": 2}]', 1, 3, UNREADABLE),
    "never closed": (b'[{"n": 1}', 1, 1, UNREADABLE),
    "invalid UTF-8": (b'[{"n": 1}, "\xff"]', 0, 1, UNREADABLE),
    "invalid UTF-8 later": (b'[{"n": 1}, "' + b"a" * 70_000 + b'\xff"]', 1, 2, UNREADABLE),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_a_broken_array_is_read_as_far_as_it_goes(name, tmp_path):
    content, good, line, code = BAD_ARRAYS[name]
    path = write(tmp_path / "x.json", content)
    assert sum(isinstance(row, Row) for row in rows(path)) == good
    assert [found[:2] for found in problems(path)] == [(line, code)]


def test_elements_longer_than_a_piece_are_read_whole_and_counted_by_line(tmp_path):
    records = [{"text": "x" * 100_000 + str(i)} for i in range(5)]
    path = write(tmp_path / "x.json", json.dumps(records, indent=0).encode())
    found = list(rows(path))
    assert [row.value for row in found] == records
    assert [row.line for row in found] == [2, 5, 8, 11, 14]


def test_a_truncated_archive_gives_what_it_holds_and_the_place_of_the_cut(tmp_path):
    whole = gzip.compress(lines(*({"n": i} for i in range(10_000))))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    *good, last = rows(path)
    assert len(good) > 1000
    assert all(isinstance(row, Row) for row in good)
    assert last.code == UNREADABLE
    assert last.line == len(good) + 1
    assert "the rest of the file cannot be read" in last.reason


NOT_DATA = {
    "pointer.parquet": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "pointer.jsonl.gz": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "noise.parquet": b"PAR1 but no more",
    "noise.jsonl.gz": b"not gzip at all",
    "noise.json.gz": b"\x1f\x8bnot gzip at all",
}


@pytest.mark.parametrize("name", NOT_DATA)
def test_a_file_that_is_not_what_it_says_is_rejected_and_the_next_is_read(name, tmp_path):
    (tmp_path / name).write_bytes(NOT_DATA[name])
    write(tmp_path / "z.jsonl", lines(A))
    first, second = rows(tmp_path)
    assert first.code == UNREADABLE
    assert ("git lfs pull" in first.reason) == name.startswith("pointer")
    assert second == Row(str(tmp_path / "z.jsonl"), 1, A)


def test_a_folder_is_read_by_name_and_hidden_or_foreign_files_are_not(tmp_path):
    hidden = (".d.jsonl", 4), (".cache/d.jsonl", 4)
    for name, n in (("b.jsonl", 2), ("a/z.jsonl", 1), ("c.json", 3), *hidden, ("e.txt", 5)):
        write(tmp_path / name, lines({"n": n}))
    assert values(tmp_path) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert values(tmp_path, files="*.json") == [{"n": 3}]


def test_of_a_folder_with_splits_only_the_named_split_is_read(tmp_path):
    for name in ("train-00000-of-00001.jsonl", "validation.jsonl.gz", "disagreements/all.jsonl", "other.jsonl"):
        write(tmp_path / name, lines({"file": name}))
    assert values(tmp_path) == [{"file": "train-00000-of-00001.jsonl"}]
    assert values(tmp_path, split="validation") == [{"file": "validation.jsonl.gz"}]
    assert values(tmp_path, data_dir="disagreements") == [{"file": "disagreements/all.jsonl"}]
    with pytest.raises(DataError, match="none after 'test'"):
        rows(tmp_path, split="test")


@pytest.mark.parametrize("part", ["disagrements", "../x", "/", "disagreements/all.jsonl"])
def test_a_part_of_a_folder_that_is_not_there_is_an_error_that_lists_those_that_are(part, tmp_path):
    write(tmp_path / "x" / "train.jsonl", lines(A))
    write(tmp_path / "x" / "disagreements" / "all.jsonl", lines(A))
    with pytest.raises(DataError, match=f"has no folder '{part}'; there are disagreements"):
        rows(tmp_path / "x", data_dir=part)
    with pytest.raises(DataError, match="is a file, so it has no folder"):
        rows(tmp_path / "x" / "train.jsonl", data_dir="disagreements")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("gone/train.jsonl", "no such file or folder"),
        ("gone/deep/er", "no such file or folder"),
        ("../up", "no such file or folder"),
        ("x.txt", "cannot read this kind"),
        ("empty", "has no file"),
        ("x.parquet.gz", "cannot read this kind"),
    ],
)
def test_what_cannot_be_located_is_an_error_before_any_row(where, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("x.txt", "x.parquet.gz"):
        write(tmp_path / name, b"")
    with pytest.raises(DataError, match=why):
        rows(where)


class Hub:
    """What `datasets` and the hub answer; `asked` is what they were asked."""

    sha = "c0ffee"

    def __init__(self, stream):
        self.stream, self.asked = stream, []

    def dataset_info(self, name, **options):
        self.asked.append((name, options["revision"]))
        return self

    def load_dataset(self, *names, **options):
        self.asked.append((names, options))
        return self.stream


@pytest.fixture
def hub(monkeypatch):
    def answer(stream):
        hub = Hub(stream)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        monkeypatch.setattr(datasets, "load_dataset", hub.load_dataset)
        return hub

    return answer


def test_a_hub_name_is_streamed_at_the_commit_its_revision_stands_for(hub):
    fake = hub(GOOD)
    found = list(rows("some/thing", split="test", data_dir="sub"))
    assert found == [Row("some/thing@c0ffee/sub/test", i, record) for i, record in enumerate(GOOD, start=1)]
    (named, (names, options)) = fake.asked
    assert named == ("some/thing", "main")
    assert names == ("some/thing",)
    assert options == {"data_dir": "sub", "split": "test", "revision": "c0ffee", "streaming": True}


def test_without_a_network_the_error_says_what_was_wrong_and_what_will_do(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("no route to host\nand a page of details")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    with pytest.raises(
        DataError, match=r"some/thing: .* \(ConnectionError: no route to host\); a local file or folder"
    ):
        rows("some/thing")


def test_a_stream_that_breaks_is_an_error_that_says_how_far_it_came(hub):
    def breaks():
        yield from GOOD
        raise TimeoutError("read timed out")

    hub(breaks())
    stream = rows("some/thing")
    assert [next(stream).value for _ in GOOD] == GOOD
    with pytest.raises(DataError, match="broke after 3 rows"):
        next(stream)


BYTES = st.binary(max_size=300) | st.lists(
    st.tuples(
        st.sampled_from([b"[", b'{"n": "', b'"}', b",", b"]", b"a", b"\xff", b"\n"]), st.sampled_from([1, 1, 70_000])
    ),
    max_size=8,
).map(lambda parts: b"".join(part * times for part, times in parts))
"""Short ones of any kind, and long ones, where a reader stands between two pieces of a file."""


@settings(deadline=None)
@given(BYTES, st.sampled_from(["x.jsonl", "x.json", "x.jsonl.gz", "x.xml", "x.parquet"]))
@example(b"[", "x.json")
@example(b'[{"t": "' + b"a" * 70_000 + b'\xff"}]', "x.json")
@example(b"[,]", "x.json")
@example(b"\xef\xbb\xbf[", "x.json")
@example(b"<row ", "x.xml")
@example(b'<row a="&lt;" b="&#0;"/>', "x.xml")
def test_no_bytes_of_a_file_raise(content, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        for row in rows(path):
            assert row.file == str(path)
            assert row.line >= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4), st.sampled_from([None, 0, 2]))
def test_what_json_wrote_is_read_back_from_lines_and_from_an_array(records, indent):
    with tempfile.TemporaryDirectory() as folder:
        array = write(Path(folder) / "a.json", json.dumps(records, indent=indent).encode())
        line = write(
            Path(folder) / "l.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()
        )
        assert values(array) == values(line) == records
