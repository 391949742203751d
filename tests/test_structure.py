"""The structure of the package: no import cycles, rooms import downwards only, and modules named in strings exist."""

import ast
import importlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = "onlymymodel"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
# a room imports only from itself, from the rooms before it and, where listed, from modules at the package's top
ROOMS = ("data", "surrogates", "protect", "evaluate")
ABOVE = ("app", "cli")  # import everything, and only the entry points import them
ENTRY_POINT_GROUPS = {"onlymymodel.attacks"}  # names of no module
DOTTED = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")  # a:b is b of the module a


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def is_type_checking(node: ast.If) -> bool:
    test = node.test
    return (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) == "TYPE_CHECKING"


def imports(node: ast.AST, *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run; those inside functions only if `lazy`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and is_type_checking(child):
            continue
        elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, lazy=lazy)


def imported(name: str, *, lazy: bool = False) -> set[str]:
    """Modules of the package that a module imports."""
    names: set[str] = set()
    for statement in imports(MODULES[name], lazy=lazy):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        else:
            assert statement.level == 0, f"{name} has a relative import"
            module = str(statement.module)
            members = {f"{module}.{alias.name}" for alias in statement.names}
            names |= {member if member in MODULES else module for member in members}
    return {imported for imported in names if imported in MODULES}


def room(name: str) -> str:
    """The folder below the package, or the module itself at the package's top."""
    return name.split(".")[1] if "." in name else ""


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: imported(name) - {name} for name in MODULES if name != PACKAGE}
    for name, targets in graph.items():
        assert PACKAGE not in targets, f"{name} imports the package's public names, which import it"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in ROOMS])
def test_rooms_import_downwards_only(name: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room(name)) + 1], "errors"}  # modules at the top that import no room
    if room(name) != "data":
        allowed |= {"progress", "runtime", "version"}
    upwards = {target for target in imported(name, lazy=True) if room(target) not in allowed}
    assert not upwards


def test_in_data_only_sources_and_their_scan_import_stores_and_rows() -> None:
    places = (f"{PACKAGE}.data.stores", f"{PACKAGE}.data.rows")
    users = {
        name
        for name in MODULES
        if room(name) == "data" and not name.startswith(places)
        if any(target.startswith(places) for target in imported(name, lazy=True))
    }
    assert users == {f"{PACKAGE}.data.folder", f"{PACKAGE}.data.source"}


def test_only_entry_points_import_what_is_above_the_rooms() -> None:
    for name in MODULES:
        above = {room(target) for target in imported(name, lazy=True)} & set(ABOVE)
        if room(name) not in ("cli", "__main__"):  # `omm app` is a command
            assert above <= {room(name)}, f"{name} imports {above}"


def exists(dotted: str) -> bool:
    """Return whether a dotted name is a module or an attribute of one."""
    parts = dotted.replace(":", ".").split(".")
    owner: object = None
    for index, part in enumerate(parts):
        name = ".".join(parts[: index + 1])
        try:
            owner = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name or not hasattr(owner, part):
                return False
            owner = getattr(owner, part)
    return True


def strings() -> Iterator[tuple[str, str]]:
    """(module, string constant) of the package that are not parts of f-strings."""
    for name, tree in MODULES.items():
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield name, node.value


def test_modules_named_in_strings_exist() -> None:
    missing = [
        f"{name}: {match.group()}"
        for name, text in strings()
        for match in DOTTED.finditer(text)
        if match.group() not in ENTRY_POINT_GROUPS and not exists(match.group())
    ]
    assert not missing


def test_modules_that_templates_are_loaded_from_exist() -> None:
    calls = [
        ast.unparse(node)
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PackageLoader")
    ]
    assert calls
    for call in calls:
        package, folder = [*re.findall(r"'([^']+)'", call), "templates"][:2]
        spec = importlib.util.find_spec(package)
        assert spec is not None, call
        assert spec.submodule_search_locations, call
        assert Path(spec.submodule_search_locations[0], folder).is_dir(), call


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=lambda path: path.stem)
def test_names_in_the_documentation_exist(page: Path) -> None:
    names = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert names
    assert [name for name in names if not exists(name)] == []


def test_public_names_exist() -> None:
    package = importlib.import_module(PACKAGE)
    assert package.__all__
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_names_in_pyproject_exist() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name in settings["project"]["scripts"].values():
        assert exists(name.replace(":", "."))
    for name in settings["tool"]["ruff"]["lint"]["flake8-bugbear"]["extend-immutable-calls"]:
        assert exists(name)
    assert (ROOT / settings["tool"]["hatch"]["version"]["path"]).is_file()


def test_the_map_of_the_architecture_lists_every_file() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    lines = text.partition("```\n")[2].partition("```")[0].splitlines()
    folders: list[str] = []
    listed = set()
    for line in lines:
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [name.rstrip("/")]
        if name.endswith(".py"):
            listed.add("/".join(folders))
    files = {path.relative_to(ROOT).as_posix() for path in FILES if path.name != "__init__.py"}
    assert listed == files
