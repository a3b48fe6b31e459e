"""What an answer's text says before it runs: does it ask the library for what it was to write?

A look finds the plain ways: an import of helptune, and the tools to import or read it by detours. It does not find
every way, and a person who reads the answer does: course/instructors.md says which.
"""

import ast

_MODULES = {"helptune", "importlib", "pkgutil", "runpy", "inspect", "gc", "ctypes", "builtins"}
_NAMES = {
    "helptune", "__import__", "eval", "exec", "compile", "open", "globals", "vars", "__builtins__", "__loader__",
    "__spec__",
}  # fmt: skip
_ATTRIBUTES = {
    "modules", "_getframe", "__globals__", "__builtins__", "__subclasses__", "__loader__", "__import__", "f_globals",
    "f_back", "f_builtins", "__closure__", "run_cell", "meta_path",
}  # fmt: skip


def ways_to_the_library(source: str) -> set[str]:
    """Each as words that follow "the answer"."""
    try:
        tree = ast.parse(_plain(source))
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # it will not run, either
    ways = set()
    remarks = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
    for node in nodes:
        match node:
            case ast.Import(names=names):
                ways |= {f"imports {root}" for alias in names if (root := alias.name.partition(".")[0]) in _MODULES}
            case ast.ImportFrom(module=str(module)) if (root := module.partition(".")[0]) in _MODULES:
                ways.add(f"imports {root}")
            case ast.ImportFrom(module="sys", names=names) if any(alias.name == "modules" for alias in names):
                ways.add("uses sys.modules")
            case ast.Name(id=name) if name in _NAMES:
                ways.add(f"uses {name}")
            case ast.Attribute(attr=name) if name in _ATTRIBUTES:
                ways.add(f"uses {name}")
            case ast.Constant(value=str(text)) if "helptune" in text and id(node) not in remarks:
                ways.add("names helptune in a text")
    return ways


def _plain(source: str) -> str:
    """Python, as IPython makes it of a cell with magics."""
    if not any(line.lstrip().startswith(("%", "!", "?")) or line.endswith("?") for line in source.splitlines()):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)
