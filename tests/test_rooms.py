"""The plan of the house: imports point one way, and the merge core knows torch alone."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import tome_zoo

ROOT = Path(tome_zoo.__file__).parent


def rooms() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, at its top or inside functions."""
    names = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
        found[name] = (imported & set(names)) - {"tome_zoo", name}
    return found


def test_arrows_point_one_way():
    """A cycle raises; a package may be imported by what lies in it only for what it defines itself."""
    graph = rooms()
    for name, imported in graph.items():
        graph[name] = {other for other in imported if not name.startswith(f"{other}.")}
    graph.pop("tome_zoo")  # offers names of all rooms, lazily
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_the_core_stands_alone():
    graph = rooms()
    assert graph["tome_zoo.merge"] == set()
    assert graph["tome_zoo.schedule"] == {"tome_zoo.errors"}
    assert not graph["tome_zoo.vit"] & {"tome_zoo.registry", "tome_zoo.cards", "tome_zoo.modalities"}
