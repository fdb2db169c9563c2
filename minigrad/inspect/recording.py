"""What the profiler notes while a program runs: what began and ended when, and the hooks by which it comes to know.

The functions through which everything goes (`tape.apply`, one step of a sweep, a module's call, a kernel) are replaced
for the time of a block by ones that look at the clock before and after, and put back at its end. Without a block
nothing of this runs. The program itself runs as ever, its kernels too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import perf_counter_ns as now
from types import CodeType, FrameType
from typing import Any, Final
from weakref import ref

from .. import backend, derive, graph, sweep, tape
from ..cotangent import Deferred
from ..fusion import c_kernel, c_loop, compiler, fused, numpy_writer, program, scanned
from ..graph import Node, Tensor
from ..nn import clip
from ..nn.module import Module
from ..nn.recurrent import GRU, LSTM, RNN
from ..nn.stateful import Stateful
from ..ops.primitive import Primitive
from ..optim.optimizer import Optimizer
from .growth import Growth
from .launches import Clock, watch
from .patches import Patches

# What an event is of. Each is a tuple: kind, start and end in nanoseconds, name, birth of the node or 0, bytes, place.
FORWARD: Final = "forward"
BACKWARD: Final = "backward"
MODULE: Final = "module"
SWEEP: Final = "sweep"
OPTIMIZER: Final = "optimizer"
SUMS: Final = "sums"
COMPILE: Final = "compile"
LAUNCH: Final = "launch"
COPY: Final = "copy"
WAIT: Final = "wait"
OWN: Final = "profile"  # the profiler's own time

Event = tuple[str, int, int, str, int, int, Any]
Place = tuple[CodeType, int]  # a line of a program: its code, and which instruction

PACKAGE: Final = __name__.partition(".")[0]


class Here(threading.local):
    """What is known of one thread."""

    def __init__(self, recorder: Recorder) -> None:
        self.events: list[Event] = []
        self.marks: list[tuple[int, Any, Any]] = []  # on a GPU: which event, and the device's clock before and after
        self.growth = Growth(threading.current_thread().name)
        self.place: Place | None = None  # the line that called the layer of minigrad which is running
        self.names: dict[int, str] | None = None  # the modules of the outermost one that is running, by id
        self.sweeps = 0  # that are running, one in the other
        self.made = 0  # bytes of the gradients that the last derivative formulas gave
        self.ran = False  # whether a kernel has run
        self.quiet = 0  # in how many library functions we are
        recorder.threads.append(self._as_told(recorder))

    def _as_told(self, recorder: Recorder) -> Thread:
        return Thread(threading.current_thread(), self.events, self.marks, self.growth)


class Thread:
    """One thread's events, for those who read them."""

    def __init__(self, thread: threading.Thread, events: list[Event], marks: list[Any], growth: Growth) -> None:
        self.name, self.is_main = thread.name, thread is threading.main_thread()
        self.events, self.marks, self.growth = events, marks, growth


class Recorder:
    """The hooks of one block, and what they have noted."""

    def __init__(self) -> None:
        self.threads: list[Thread] = []
        self.here = Here(self)
        self.clock: Clock | None = None
        self.patches = Patches()
        self._inside: dict[CodeType, bool] = {}  # whether code is minigrad's own
        self._called: dict[int, tuple[Any, dict[int, str]]] = {}  # outermost modules by id, and the names in them
        self._numbers: dict[str, int] = {}  # how many outermost modules of a class there are

    def start(self) -> None:
        patches, here = self.patches, self.here
        patches.everywhere(tape.apply, self._applied(tape.apply), but=tape)
        for name in ("apply", "call"):  # tape.call calls tape's own apply
            patches.put(Primitive, name, staticmethod(self._applied(getattr(tape, name))))
        patches.put(tape, "Node", _node_type(here))
        patches.everywhere(tape.attach, self._attached(tape.attach))
        patches.put(sweep, "_go_through", self._gone_through(sweep._go_through))
        patches.put(sweep, "differentiate", self._differentiated(derive.differentiate))
        patches.everywhere(sweep.sweep, self._swept(sweep.sweep))
        patches.put(Deferred, "_compute_sums", self._summed(Deferred._compute_sums, ("pairs", "segments")))
        patches.put(Deferred, "array", self._summed(Deferred.array, ("looked", "parts")))
        patches.put(Module, "__call__", self._called_module(Module.__call__))
        for kind in (RNN, LSTM, GRU, Stateful):
            patches.put(kind, "step", self._called_module(kind.step))
        patches.put(fused.Fused, "__call__", self._called_fused(fused.Fused.__call__))
        patches.put(program.Plan, "forward", self._ran(program.Plan.forward))
        patches.everywhere(scanned.loop_of, self._looped(scanned.loop_of))
        patches.put(c_kernel.Kernel, "__call__", self._timed(LAUNCH, "kernel in C", c_kernel.Kernel.__call__))
        patches.put(c_loop.Loop, "__call__", self._timed(LAUNCH, "time loop in C", c_loop.Loop.__call__))
        patches.put(numpy_writer.Kernel, "__call__", self._numpy_kernel(numpy_writer.Kernel.__call__))
        patches.everywhere(compiler.load, self._timed(COMPILE, "compile a kernel", compiler.load))
        patches.put(Optimizer, "step", self._stepped(Optimizer.step))
        for clipping in (clip.clip_grad_norm_, clip.clip_grad_value_):
            patches.everywhere(clipping, self._timed(OPTIMIZER, clipping.__name__, clipping))
        for xp in backend.opened():
            self._watch(xp)
        patches.everywhere(backend.register, self._registered(backend.register))

    def stop(self) -> None:
        self.patches.undo()
        self._called.clear()

    # Operations -----------------------------------------------------------------------------------

    def _applied(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here, place_of, recorder = self.here, self._place, self

        def apply(primitive: Primitive[Any], inputs: Any, parameters: dict[str, Any]) -> Any:
            clock = recorder.clock
            before = clock and clock.mark()
            start = now()
            y = original(primitive, inputs, parameters)
            end = now()
            if type(y) is Tensor:
                first, size = y, y._data.nbytes if y._storage is None else 0
            elif type(y) is list and y and type(y[0]) is Tensor:
                first, size = y[0], sum(part._data.nbytes for part in y if part._storage is None)
            else:
                return y  # a function is being traced: nothing was computed
            source = first._source
            if source is None:
                here.events.append((FORWARD, start, end, primitive.name, 0, size, None))
            else:
                place = here.place or place_of(sys._getframe(1))
                here.events.append((FORWARD, start, end, primitive.name, source[0].birth, size, place))
                if len(here.growth.nodes) > here.growth.enough:
                    recorder.look(here)
            if clock:
                here.marks.append((len(here.events) - 1, before, clock.mark()))
            return y

        return apply

    def _attached(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def attach(primitive: Any, parameters: Any, sources: Any, outputs: Any, unchanged: bool = False) -> None:
            original(primitive, parameters, sources, outputs, unchanged)
            moment, place = now(), here.place or self._place(sys._getframe(1))
            here.events.append((FORWARD, moment, moment, primitive.name, outputs[0]._source[0].birth, 0, place))

        return attach

    def _called_fused(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def call(function: Any, *args: Any, **keywords: Any) -> Any:
            start, here.ran = now(), False
            y = original(function, *args, **keywords)
            if here.ran:  # else it was traced, or ran operation by operation
                here.ran = False
                self._note_outputs(start, function.__name__, y if type(y) is tuple else (y,), sys._getframe(1))
            return y

        return call

    def _ran(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def forward(plan: Any, *args: Any) -> Any:
            y = original(plan, *args)
            here.ran = True
            return y

        return forward

    def _looped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def loop_of(*args: Any, **keywords: Any) -> Any:
            start = now()
            found = original(*args, **keywords)
            if found is not None:
                self._note_outputs(start, scanned.scanned.name, found, sys._getframe(1))
            return found

        return loop_of

    def _note_outputs(self, start: int, name: str, outputs: Any, frame: FrameType) -> None:
        here, end = self.here, now()
        birth = next((y._source[0].birth for y in outputs if y._source is not None), 0)
        place = here.place or self._place(frame) if birth else None
        here.events.append((FORWARD, start, end, name, birth, sum(y._data.nbytes for y in outputs), place))

    # Going backward -------------------------------------------------------------------------------

    def _gone_through(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here, recorder = self.here, self

        def go_through(node: Node, edges: Any, inbox: Any, arrivals: Any) -> None:
            clock = recorder.clock
            before = clock and clock.mark()
            start = now()
            original(node, edges, inbox, arrivals)
            here.events.append((BACKWARD, start, now(), node.primitive.name, node.birth, here.made, None))
            if clock:
                here.marks.append((len(here.events) - 1, before, clock.mark()))

        return go_through

    def _differentiated(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def differentiate(node: Node, edges: Any, inbox: Any, xp: Any, create_graph: bool) -> Any:
            found = original(node, edges, inbox, xp, create_graph)
            here.made = 0 if create_graph else _bytes_made(found, inbox.values)
            return found

        return differentiate

    def _swept(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def swept(*args: Any, create_graph: bool, **keywords: Any) -> Any:
            if here.sweeps:
                return original(*args, create_graph=create_graph, **keywords)
            growth = here.growth
            self.look(here)
            first = len(here.events)
            here.sweeps += 1
            failed, start = False, now()
            try:
                found = original(*args, create_graph=create_graph, **keywords)
            except RuntimeError as error:
                failed = "earlier backward pass" in str(error) or "written to since" in str(error)
                raise
            finally:
                here.sweeps -= 1
                here.events.append((SWEEP, start, now(), "backward", 0, 0, None))
                births = [event[4] for event in here.events[first:] if event[0] is BACKWARD]
                growth.gone_back(births, create_graph, failed)
                self.look(here)
            return found

        return swept

    def end_step(self) -> None:
        """A mark of the user's: a chunk ends, if one has begun."""
        self.look(self.here)
        self.here.growth.step()

    def look(self, here: Here) -> None:
        """See which nodes are alive, and what they keep."""
        start = now()
        here.growth.look(start)
        here.events.append((OWN, start, now(), "looking at the graph", 0, 0, None))

    def _summed(self, original: Callable[..., Any], parts: tuple[str, str]) -> Callable[..., Any]:
        here, (one, other) = self.here, parts

        def compute(deferred: Deferred) -> Any:
            count = bool(getattr(deferred, one)) + bool(getattr(deferred, other))
            if not count:
                return original(deferred)
            start = now()
            found = original(deferred)
            dense = deferred.dense
            size = 0 if dense is None else count * dense.nbytes
            here.events.append((SUMS, start, now(), "sums of gradients", 0, size, None))
            return found

        return compute

    # Modules, optimizers, kernels -----------------------------------------------------------------

    def _called_module(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here, is_inside = self.here, self._is_inside

        def call(module: Any, *args: Any, **keywords: Any) -> Any:
            names, place = here.names, here.place
            if names is None:
                here.names = self._names_in(module)
            frame = sys._getframe(1)
            called_at = place if is_inside(frame.f_code) else (frame.f_code, frame.f_lasti)
            here.place = called_at if type(module).__module__.partition(".")[0] == PACKAGE else None
            start = now()
            try:
                return original(module, *args, **keywords)
            finally:
                name = (here.names or {}).get(id(module)) or type(module).__name__
                here.events.append((MODULE, start, now(), name, 0, 0, called_at))
                here.names, here.place = names, place

        return call

    def _names_in(self, module: Any) -> dict[int, str]:
        """The name of a module that was called by no other, and those of the modules in it."""
        known = self._called.get(id(module))
        if known is None:
            kind = type(module).__name__
            self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
            names = {id(part): f"{path} ({type(part).__name__})" for path, part in module.named_modules() if path}
            names[id(module)] = kind if number == 1 else f"{kind} #{number}"
            known = self._called[id(module)] = module, names
        return known[1]

    def _stepped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def step(optimizer: Any, *args: Any, **keywords: Any) -> Any:
            start = now()
            try:
                return original(optimizer, *args, **keywords)
            finally:
                here.events.append((OPTIMIZER, start, now(), f"{type(optimizer).__name__}.step", 0, 0, None))

        return step

    def _timed(self, kind: str, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def call(*args: Any, **keywords: Any) -> Any:
            start = now()
            found = original(*args, **keywords)
            here.events.append((kind, start, now(), name, 0, 0, None))
            return found

        return call

    def _numpy_kernel(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """On a device it is many launches, which are counted one by one."""
        timed = self._timed(LAUNCH, "kernel of NumPy's functions", original)

        def call(kernel: Any, arrays: Any, scalars: Any) -> Any:
            xp = backend.namespace_of(next(a for a in arrays if a is not None))
            return (timed if xp.on_host else original)(kernel, arrays, scalars)

        return call

    # Devices --------------------------------------------------------------------------------------

    def _watch(self, xp: Any) -> None:
        if not xp.on_host:
            watch(xp, self.patches, self.here)
            self.clock = self.clock or Clock.of(xp)

    def _registered(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A device that is opened inside of the block."""

        def register(xp: Any) -> None:
            original(xp)
            self._watch(xp)

        return register

    # Where in the program -------------------------------------------------------------------------

    def _is_inside(self, code: CodeType) -> bool:
        found = self._inside.get(code)
        if found is None:
            found = self._inside[code] = code.co_filename.startswith(FOLDER)
        return found

    def _place(self, frame: FrameType | None) -> Place | None:
        """The line outside of minigrad that led here."""
        inside = self._inside
        while frame is not None:
            code = frame.f_code
            found = inside.get(code)
            if found is False or (found is None and not self._is_inside(code)):
                return code, frame.f_lasti
            frame = frame.f_back
        return None


FOLDER: Final = graph.__file__.removesuffix("graph.py")


def _node_type(here: Here) -> type[Node]:
    """Nodes that are known while they are alive."""

    class Watched(Node):
        __slots__ = ("__weakref__",)

        def __init__(self) -> None:
            here.growth.nodes.append(ref(self))

    return Watched


def _bytes_made(found: list[Any], received: list[Any]) -> int:
    """Of the gradients that formulas gave: those in memory of their own, not what they received, or a view of it."""
    total = 0
    for g in found:
        if g is None or type(g) is Deferred or not hasattr(g, "nbytes"):
            continue
        owner = _owner(g)
        if not any(type(r) is type(g) and _owner(r) is owner for r in received):
            total += g.nbytes
    return total


def _owner(array: Any) -> Any:
    while getattr(array, "base", None) is not None:
        array = array.base
    return array
