"""A group: one short closed request asked in several ways, whose answers ought to agree.

The ways are the original, paraphrases (other words), and reorderings (options, facts or parts of the request in another
order). The answer is so short that a program can tell what was answered.
"""

from dataclasses import dataclass, field
from typing import Any

from helptune.errors import DataError

KINDS = ("yes_no", "pick", "compare", "feeling", "sum", "count", "find", "fact")
FORMS = ("yes_no", "choice", "number", "word")


@dataclass(frozen=True)
class Group:
    """`answer` is one of the names in `options`, or for the form `number` a number in digits.

    `options` are the names of answers and how each may be spelled: for the forms `yes_no` and `choice` all there are,
    for `word` those that are known, and none for `number`.
    """

    id: str
    kind: str
    form: str
    options: dict[str, tuple[str, ...]] = field(hash=False)
    answer: str
    original: str
    paraphrases: tuple[str, ...]
    reordered: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.original, *self.paraphrases, *self.reordered)


def parse_group(record: Any) -> Group:
    """A Group from a JSON object. Raises DataError naming the field; `load_groups` adds file and line."""
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {type(record).__name__}")
    names = tuple(Group.__dataclass_fields__)
    if wrong := sorted(set(record) ^ set(names)):
        raise DataError(f"field {wrong[0]!r} is {'unknown' if wrong[0] in record else 'missing'}; a group has {names}")
    for name, allowed in (("kind", KINDS), ("form", FORMS)):
        if record[name] not in allowed:
            raise DataError(f"field {name!r}: {record[name]!r} is not one of {', '.join(allowed)}")
    group = Group(
        id=_text(record["id"], "id"),
        kind=record["kind"],
        form=record["form"],
        options=_options(record["options"]),
        answer=_text(record["answer"], "answer"),
        original=_text(record["original"], "original"),
        paraphrases=_texts(record["paraphrases"], "paraphrases"),
        reordered=_texts(record["reordered"], "reordered"),
    )
    _check_consistent(group)
    return group


def _check_consistent(group: Group) -> None:
    if len(set(group.texts)) < len(group.texts):
        raise DataError(f"group {group.id!r}: two of its texts are the same; each must ask in a way of its own")
    if group.form == "number":
        if group.options:
            raise DataError("field 'options': a number has no options; leave it {}")
        if not group.answer.isdecimal():
            raise DataError(f"field 'answer': {group.answer!r} is no whole number in digits")
    elif group.answer not in group.options:
        raise DataError(f"field 'answer': {group.answer!r} is not one of {', '.join(group.options) or 'no options'}")


def _options(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise DataError(f"field 'options' must be an object of name -> spellings, found {value!r}")
    options = {name: _texts(spellings, f"options.{name}") for name, spellings in value.items()}
    spelled = [one.casefold() for spellings in options.values() for one in spellings]
    if twice := next((one for one in spelled if spelled.count(one) > 1), None):
        raise DataError(f"field 'options': {twice!r} is a spelling of two answers, or is there twice")
    return options


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise DataError(f"field {name!r} must be a non-empty list of texts, found {value!r}")
    return tuple(_text(one, name) for one in value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {name!r} must be a non-empty string, found {value!r}")
    return value
