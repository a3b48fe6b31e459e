"""Dataclasses and arguments from what JSON or TOML gives, every name and type checked: how recipes are read."""

import inspect
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from helptune.errors import SettingError


def built(kind: Any, values: Any, where: str = "") -> Any:
    """A dataclass `kind` from a dict, nested dataclasses and tuples of them included.

    Raises ValueError naming the field, as `optimizer.clip_norm`, that is unknown, missing or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where.rstrip('.') or 'the file'} must be an object, found {values!r}")
    known, hints = [f.name for f in fields(kind)], get_type_hints(kind)
    for name in values:
        if name not in known:
            raise ValueError(f"{where}{name} is not one of {', '.join(sorted(known))}")
    try:
        return kind(**{name: _value(hints[name], value, f"{where}{name}") for name, value in values.items()})
    except TypeError as error:  # a field without a default that is not there
        raise ValueError(f"{where.rstrip('.') or 'the file'}: {str(error).split('__init__() ')[-1]}") from error


def arguments(
    function: Callable[..., Any], values: Any, where: str = "", without: Collection[str] = ()
) -> dict[str, Any]:
    """A dict as keyword arguments of `function`: those behind its `*`, but for the ones that are not to be given.

    Raises SettingError naming the argument, as `options.languages`, that is unknown or of another type.
    """
    if not isinstance(values, dict):
        raise SettingError(f"{where} must be a table of parameters, found {values!r}")
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    hints = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in without}
    for name in values:
        if name not in hints:
            raise SettingError(f"{where} takes no {name!r}, but {', '.join(hints) or 'no parameters'}")
    return {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return built(hint, value, f"{where}.")
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{where} must be one of {', '.join(map(str, get_args(hint)))}, found {value!r}")
        return value
    if isinstance(hint, UnionType):  # X | None: no JSON null or TOML is needed for the None, it is the default
        (hint,) = (option for option in get_args(hint) if option is not type(None))
        return None if value is None else _value(hint, value, where)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        item = get_args(hint)[0]
        return tuple(_value(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    check_type(get_origin(hint) or hint, value, where)
    return value


def check_type(kind: type, value: Any, where: str) -> None:
    """Raises SettingError unless `value` is of type `kind`; a whole number is a float too, and a bool is neither."""
    number = kind is float and isinstance(value, int) and not isinstance(value, bool)
    if not (number or type(value) is kind):
        name = "list" if kind is tuple else kind.__name__
        raise SettingError(f"{where} must be of type {name}, found {value!r}")
