"""The plan of the house: a file imports only from rooms above it, and NumPy comes in at one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad

PACKAGE = Path(minigrad.__file__).parent
PLAN = [
    "precision",
    "backend",
    "tensor_cores",
    "quotients",
    "cuda_device",
    "generators",
    "threads",
    "memory",
    "ops.primitive",
    "ops.elementwise",
    "ops.reduction",
    "ops.classes",
    "ops.logic",
    "ops.shape",
    "ops.index",
    "ops.window",
    "ops.contraction",
    "ops.examples",
    "ops",
    "cotangent",
    "messages",
    "graph",
    "mode",
    "shortcuts",
    "tape",
    "readings",
    "goal",
    "derive",
    "sweep",
    "anomaly",
    "engine",
    "indexing",
    "subscripts",
    "operators",
    "conversion",
    "tensor",
    "creation",
    "transforms",
    "recompute",
    "fusion.folder",
    "fusion.compiler",
    "fusion.expression",
    "fusion.trace",
    "fusion.gradient",
    "fusion.nest",
    "fusion.c",
    "fusion.setting",
    "fusion.c_kernel",
    "fusion.cuda",
    "fusion.cuda_kernel",
    "fusion.cuda_library",
    "fusion.numpy_writer",
    "fusion.program",
    "fusion.fused",
    "fusion.updates",
    "fusion.runtime",
    "fusion.steps",
    "fusion.cell",
    "fusion.cell_gradient",
    "fusion.c_loop",
    "fusion.cuda_grid",
    "fusion.cuda_loop",
    "fusion.run",
    "fusion.scanned",
    "fusion",
    "nn.calls",
    "nn.hooks",
    "nn.state",
    "nn.parameter",
    "nn.module",
    "nn.containers",
    "nn.init",
    "nn.functional.checks",
    "nn.functional.activation",
    "nn.functional.layer",
    "nn.functional.convolution",
    "nn.functional.loss",
    "nn.functional",
    "nn.linear",
    "nn.convolution",
    "nn.activation",
    "nn.loss",
    "nn.clip",
    "nn.utils.packed",
    "nn.utils.truncated",
    "nn.utils.rnn",
    "nn.utils",
    "nn.locked",
    "nn.cells",
    "nn.weights",
    "nn.steps",
    "nn.sequence",
    "nn.recurrent",
    "nn.variants",
    "nn.stateful",
    "nn",
    "optim.options",
    "optim.state",
    "optim.optimizer",
    "optim.sgd",
    "optim.adagrad",
    "optim.rmsprop",
    "optim.adam",
    "optim.lr_scheduler.schedule",
    "optim.lr_scheduler.decay",
    "optim.lr_scheduler.ramp",
    "optim.lr_scheduler.cycle",
    "optim.lr_scheduler.plateau",
    "optim.lr_scheduler.sequential",
    "optim.lr_scheduler",
    "optim",
    "io",
    "testing.numeric",
    "testing.gradcheck",
    "testing.application",
    "testing.recurrent",
    "testing.clauses",
    "testing.contract",
    "testing.strategies.printing",
    "testing.strategies.shapes",
    "testing.strategies.arrays",
    "testing.strategies.indices",
    "testing.strategies.applications",
    "testing.strategies.modules",
    "testing.strategies",
    "testing",
    "inspect.extras",
    "inspect.names",
    "inspect.computation",
    "inspect.slow",
    "inspect.folding",
    "inspect.shown",
    "inspect.page",
    "inspect.drawing.columns",
    "inspect.drawing.labels",
    "inspect.drawing.order",
    "inspect.drawing.parts",
    "inspect.drawing.diagram",
    "inspect.drawing.look",
    "inspect.drawing.dot",
    "inspect.drawing.mermaid",
    "inspect.drawing.spacing",
    "inspect.drawing.layers",
    "inspect.drawing.layout",
    "inspect.drawing.shapes",
    "inspect.drawing.style",
    "inspect.drawing.svg",
    "inspect.drawing.draw",
    "inspect.drawing",
    "inspect.explaining.looking",
    "inspect.explaining.saving",
    "inspect.explaining.tree",
    "inspect.explaining.marks",
    "inspect.explaining.notation",
    "inspect.explaining.latex",
    "inspect.explaining.symbols",
    "inspect.explaining.reading",
    "inspect.explaining.tidy",
    "inspect.explaining.formulas",
    "inspect.explaining.lines",
    "inspect.explaining.equations",
    "inspect.explaining.modules",
    "inspect.explaining.telling",
    "inspect.explaining.told",
    "inspect.explaining.page",
    "inspect.explaining.sheet",
    "inspect.explaining.primitives",
    "inspect.explaining.story",
    "inspect.explaining.explain",
    "inspect.explaining",
    "inspect.profiling.growth",
    "inspect.profiling.patches",
    "inspect.profiling.launches",
    "inspect.profiling.where",
    "inspect.profiling.events",
    "inspect.profiling.callers",
    "inspect.profiling.recording",
    "inspect.profiling.spans",
    "inspect.profiling.chrome",
    "inspect.profiling.leaks",
    "inspect.profiling.report",
    "inspect.profiling.profile",
    "inspect.profiling",
    "inspect.flowing.norms",
    "inspect.flowing.curves",
    "inspect.flowing.states",
    "inspect.flowing",
    "inspect.cells.activations",
    "inspect.cells.coloured",
    "inspect.cells.features",
    "inspect.cells.running",
    "inspect.cells.scores",
    "inspect.cells",
    "inspect.exploring.digest",
    "inspect.exploring.placing",
    "inspect.exploring.page_data",
    "inspect.exploring.explorer",
    "inspect.exploring",
    "inspect.figures",
    "inspect.flowing.shown",
    "inspect.flowing.flow",
    "inspect.cells.saturation",
    "inspect.cells.neurons",
    "inspect",
    "",
]


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """What a file imports when it runs: rooms of minigrad, and the top names of other packages."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # imports for the type checker alone do not run
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    here = room_of(path).split(".") if path.name == "__init__.py" else room_of(path).split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = [p for p in here if p][: len([p for p in here if p]) - node.level + 1]
            base += (node.module or "").split(".") if node.module else []
            for alias in node.names:
                inside = ".".join([*base, alias.name])
                found.add("minigrad:" + (inside if inside in PLAN else ".".join(base)))
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=room_of)
def test_imports_run_one_way(path):
    room = room_of(path)
    assert room in PLAN, f"{room} is a new room: add it to the plan here and to the map in README.md"
    below = [name for name in imports(path) if name.startswith("minigrad:")]
    wrong = [name for name in below if PLAN.index(name.removeprefix("minigrad:")) >= PLAN.index(room)]
    assert not wrong, f"{room} imports {wrong}, which stand below it"


def test_the_plan_has_no_empty_rooms():
    assert set(PLAN) == {room_of(path) for path in FILES}


def test_the_test_sees_a_wrong_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "backend.py").write_text("from .graph import Tensor\nimport numpy\n")
    assert imports(tmp_path / "backend.py") == {"minigrad:graph", "numpy"}


@pytest.mark.parametrize("path", FILES, ids=room_of)
def test_numpy_and_cupy_come_in_at_one_door(path):
    assert room_of(path) == "backend" or not imports(path) & {"numpy", "cupy", "cupyx"}


@pytest.mark.parametrize("path", FILES, ids=room_of)
def test_the_map_in_the_readme_names_every_file(path):
    if path.name != "__init__.py" and not room_of(path).startswith(("optim.", "testing.")):
        text = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
        assert path.name in text.split("## The map of the house")[1]


def test_importing_needs_numpy_alone_and_changes_nothing():
    program = """
import sys, random, numpy
options, state = numpy.get_printoptions(), (numpy.random.get_state()[1].tolist(), random.getstate())
before = set(sys.modules)
import minigrad
new = {name.partition(".")[0] for name in set(sys.modules) - before}
unwanted = {"cupy", "safetensors", "torch", "scipy", "threadpoolctl", "typer", "rich", "hypothesis", "pytest"}
unwanted |= {"jinja2", "latex2mathml", "matplotlib"}
assert not new & unwanted, new
assert "minigrad.inspect" not in sys.modules  # which takes half as long again
assert minigrad.inspect.explain and sys.modules["minigrad.inspect"] is minigrad.inspect
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not new & unwanted, new
assert numpy.get_printoptions() == options
assert state == (numpy.random.get_state()[1].tolist(), random.getstate())
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=PACKAGE.parent)


def test_models_use_only_the_public_minigrad():
    public = {
        "minigrad": minigrad,
        "minigrad.nn": minigrad.nn,
        "minigrad.nn.utils": minigrad.nn.utils,
        "minigrad.inspect": minigrad.inspect,
    }
    for path in (PACKAGE.parent / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("minigrad.") for alias in node.names), path.name
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minigrad":
                assert node.module in public, f"{path.name} imports from {node.module}"
                assert {alias.name for alias in node.names} <= set(public[node.module].__all__), path.name
