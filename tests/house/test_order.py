"""The house: parts import downwards only, heavy libraries wait, files stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src" / "lightmeter"
ORDER = (
    "types errors parts assets meter engines media metrics report nets encoders heads search library compress generate "
    "condense profile studies cli web"
).split()
LOWEST = {"types": set(), "errors": {"types"}, "parts": {"errors", "types"}}
FILES = sorted(ROOT.rglob("*.py"))
TESTS = Path(__file__).resolve().parents[1]
LONGEST_FILE = 500
HEAVY = {
    "cv2", "av", "PIL", "onnx", "onnxruntime", "matplotlib", "torch", "transformers", "diffusers", "tokenizers",
    "pyarrow", "lance", "sklearn", "skimage", "scipy", "ray", "safetensors", "pillow_heif", "mujoco", "h5py",
}  # fmt: skip
MANY_ARGUMENTS = {"engines/run.py:run"}
"""Functions that may take more than seven: each says in its docstring why."""
BANNED = {"torchvision", "timm", "open_clip", "lpips", "pyiqa"}


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    mine = part_of(path)
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            bits = name.split(".")
            if bits[0] != "lightmeter" or len(bits) < 2 or bits[1] not in ORDER or bits[1] == mine:
                continue
            if mine in LOWEST:
                assert bits[1] in LOWEST[mine], (mine, bits[1])
            elif mine in ORDER:
                assert ORDER.index(bits[1]) < ORDER.index(mine), (mine, bits[1])
            assert not (mine == "cli" and bits[1] == "web"), "cli and web never import each other"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_fit_a_reader(path):
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 50, f"{node.name} has {lines} lines"
            required = [a for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
            limit = 40 if part_of(path) == "cli" else 7  # a command takes what the shell gives
            many = f"{path.relative_to(ROOT)}:{node.name}" in MANY_ARGUMENTS
            assert many or len(required) + len(node.args.kwonlyargs) <= limit, f"{node.name} takes too many arguments"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda p: str(p.relative_to(TESTS)))
def test_files_of_tests_fit_a_reader_too(path):
    assert path.read_text("utf-8").count("\n") <= LONGEST_FILE, "split it along what it tests"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_imports_wait_until_they_are_needed(path):
    tree = ast.parse(path.read_text())
    at_import = [n for stmt in tree.body if not isinstance(stmt, ast.FunctionDef | ast.ClassDef) for n in _eager(stmt)]
    allowed = {"torch"} if part_of(path) == "nets" else set()
    for node in at_import:
        for name in imported(node):
            assert name.split(".")[0] not in HEAVY - allowed, f"{path.name} imports {name} when it is imported"
    for node in ast.walk(tree):
        for name in imported(node):
            assert name.split(".")[0] not in BANNED, f"{name} breaks beside CPU torch"


def _eager(statement: ast.stmt) -> list[ast.AST]:
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
        return []
    return list(ast.walk(statement))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled_but_by_name(path):
    """Pickles come only from our own pipes (engines) and through the allow-listing reader (assets)."""
    names = {name.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)}
    if part_of(path) not in ("engines", "assets"):
        assert not names & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    assert "eval(" not in path.read_text().replace(".eval(", "")
