"""The plan of the house: imports point downwards, room by room, and the merge core knows torch alone."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import tome_zoo

ROOT = Path(tome_zoo.__file__).parent

ORDER = (  # from the top; what stands higher may import what stands lower
    "__main__",
    "commands",
    "app",
    "paper",
    "benchmark",
    "demo",
    "reports",
    "visualize",
    "training",
    "evaluation",
    "registry",
    "weights",
    "data",
    "cards",
    "modalities",
    "transformer",
    "merge",
    "schedule",
    "system",
    "errors",
)


def modules() -> dict[str, Path]:
    """Module -> its file."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, at its top or inside functions."""
    paths = modules()
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
        found[name] = (imported & set(paths)) - {"tome_zoo", name}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_stands_in_the_order_and_the_root_holds_nothing_else():
    assert {room(name) for name in modules() if name != "tome_zoo"} == set(ORDER)


def test_arrows_point_downwards():
    graph = imports()
    graph.pop("tome_zoo")  # offers names of all rooms, lazily
    upwards = [
        (name, other)
        for name, imported in graph.items()
        for other in imported
        if ORDER.index(room(other)) < ORDER.index(room(name))
    ]
    assert upwards == []


def test_no_circle_of_modules():
    """A cycle raises; a package may be imported by what lies in it only for what it defines itself."""
    graph = imports()
    for name, imported in graph.items():
        graph[name] = {other for other in imported if not name.startswith(f"{other}.")}
    graph.pop("tome_zoo")
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_the_core_stands_alone():
    graph = imports()
    for name in graph.keys() - {"tome_zoo"}:
        if room(name) == "merge":
            assert {room(other) for other in graph[name]} <= {"merge", "errors"}, name
    assert graph["tome_zoo.schedule"] == {"tome_zoo.errors"}
    assert {room(name) for name in graph["tome_zoo.transformer.vit"]} <= {
        "transformer", "merge", "schedule", "system", "errors",
    }  # fmt: skip


def test_no_submodule_hides_a_function_of_the_package():
    assert not {room(name) for name in modules() if name != "tome_zoo"} & {
        *tome_zoo.__all__, "train", "draw", "embed", "tune", "export",
    }  # fmt: skip


def test_pyproject_names_every_package():
    packages = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")}
    named = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    cards = {
        "tome_zoo.cards.models",
        "tome_zoo.cards.datasets",
        "tome_zoo.cards.eval",
    }
    assert set(named) - cards == packages


def test_tests_mirror_the_rooms():
    here = Path(__file__).parent
    folders = {path.parent.relative_to(here) for path in here.rglob("test_*.py")} - {Path(".")}
    packages = {path.parent.relative_to(ROOT) for path in ROOT.rglob("__init__.py")}
    assert folders <= packages
