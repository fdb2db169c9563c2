"""What the profiler notes while a program runs: what began and ended when, and the hooks by which it comes to know.

The functions through which everything goes (`tape.apply`, one step of a sweep, a module's call, a kernel) are replaced
for the time of a block by ones that look at the clock before and after, and put back at its end. Without a block
nothing of this runs. The program itself runs as ever, its kernels too.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from time import perf_counter as now
from types import FrameType
from typing import Any
from weakref import ref

from ... import backend, sweep, tape
from ...cotangent import Deferred
from ...fusion import c_kernel, c_loop, compiler, fused, numpy_writer, program, scanned
from ...graph import Node, Tensor
from ...nn import clip
from ...nn.module import Module
from ...nn.recurrent import GRU, LSTM, RNN
from ...nn.stateful import Stateful
from ...ops.primitive import Primitive
from ...optim.optimizer import Optimizer
from .callers import Callers
from .events import BACKWARD, COMPILE, FORWARD, LAUNCH, OPTIMIZER, OWN, SUMS, SWEEP, Here, Thread, Watched
from .launches import Clock, watch
from .patches import Patches
from .where import Places


class Recorder:
    """The hooks of one block, and what they have noted."""

    def __init__(self) -> None:
        self.threads: list[Thread] = []
        self.here = Here(self.threads)
        self.clock: Clock | None = None
        self.patches = Patches()
        self.places = Places()
        self.callers = Callers(self.here, self.places)

    def start(self) -> None:
        patches, callers = self.patches, self.callers
        for xp in backend.opened():
            self._watch(xp)
        patches.everywhere(tape.apply, self._applied(tape.apply), but=tape)
        for name in ("apply", "call"):  # tape.call calls tape's own apply
            patches.put(Primitive, name, staticmethod(self._applied(getattr(tape, name))))
        patches.put(tape, "Node", Watched)
        patches.everywhere(tape.attach, self._attached(tape.attach))
        patches.put(sweep, "_go_through", self._gone_through(sweep._go_through))
        patches.everywhere(sweep.sweep, self._swept(sweep.sweep))
        patches.put(Deferred, "_compute_sums", self._summed(Deferred._compute_sums, ("pairs", "segments")))
        patches.put(Deferred, "array", self._summed(Deferred.array, ("looked", "parts")))
        patches.put(Module, "__call__", callers.called_module(Module.__call__))
        for kind in (RNN, LSTM, GRU, Stateful):
            patches.put(kind, "step", callers.called_module(kind.step))
        patches.put(fused.Fused, "__call__", self._called_fused(fused.Fused.__call__))
        patches.put(program.Plan, "forward", self._ran(program.Plan.forward))
        patches.everywhere(scanned.loop_of, self._looped(scanned.loop_of))
        patches.put(c_kernel.Kernel, "__call__", callers.timed(LAUNCH, "kernel in C", c_kernel.Kernel.__call__))
        patches.put(c_loop.Loop, "__call__", callers.timed(LAUNCH, "time loop in C", c_loop.Loop.__call__))
        patches.put(numpy_writer.Kernel, "__call__", callers.numpy_kernel(numpy_writer.Kernel.__call__))
        patches.everywhere(compiler.load, callers.timed(COMPILE, "compile a kernel", compiler.load))
        patches.put(Optimizer, "step", callers.stepped(Optimizer.step))
        for clipping in (clip.clip_grad_norm_, clip.clip_grad_value_):
            patches.everywhere(clipping, callers.timed(OPTIMIZER, clipping.__name__, clipping))
        patches.everywhere(backend.register, self._registered(backend.register))

    def stop(self) -> float:
        """Put everything back; the moment up to which was measured."""
        try:
            self.look()
            return now()
        finally:  # whoever interrupts the look
            self.patches.undo()

    # Operations -----------------------------------------------------------------------------------

    def _applied(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here, place_of, look = self.here, self.places.of, self.look

        def apply(primitive: Primitive[Any], inputs: Any, parameters: dict[str, Any]) -> Any:
            start = now()
            y = original(primitive, inputs, parameters)
            end = now()
            if type(y) is Tensor:
                first, size = y, y._data.nbytes if y._storage is None else 0
            elif type(y) is list and y and type(y[0]) is Tensor:
                first = y[0]
                size = sum([part._data.nbytes for part in y]) if first._storage is None else 0
            else:
                return y  # a function is being traced: nothing was computed
            me, source = here.me, first._source
            if source is None:
                me.events.append((FORWARD, start, end, primitive.name, 0, size, None))
                return y
            node, growth = source[0], me.growth
            place = me.place or place_of(sys._getframe(1))
            me.events.append((FORWARD, start, end, primitive.name, node.birth, size, place))
            if type(node) is Watched:  # else a formula gave its input as it is
                nodes = growth.nodes
                nodes.append(ref(node))
                if len(nodes) > growth.enough:
                    look()
            return y

        return self._on_device(apply)

    def _on_device(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that notes one event last, with the device's own time for it where there is a clock."""
        here, clock = self.here, self.clock
        if clock is None:
            return function

        def call(*args: Any) -> Any:
            before = clock.mark()
            found = function(*args)
            me = here.me
            me.marks.append((len(me.events) - 1, before, clock.mark()))
            return found

        return call

    def _attached(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def attach(primitive: Any, parameters: Any, sources: Any, outputs: Any, unchanged: bool = False) -> None:
            original(primitive, parameters, sources, outputs, unchanged)
            me, moment, node = here.me, now(), outputs[0]._source[0]
            place = me.place or self.places.of(sys._getframe(1))
            me.events.append((FORWARD, moment, moment, primitive.name, node.birth, 0, place))
            me.growth.nodes.append(ref(node))

        return attach

    def _called_fused(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def call(function: Any, *args: Any, **keywords: Any) -> Any:
            me, start = here.me, now()
            me.ran = False
            y = original(function, *args, **keywords)
            if me.ran:  # else it was traced, or ran operation by operation
                me.ran = False
                self._note_outputs(start, function.__name__, y if type(y) is tuple else (y,), sys._getframe(1))
            return y

        return call

    def _ran(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def forward(plan: Any, *args: Any) -> Any:
            y = original(plan, *args)
            here.me.ran = True
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

    def _note_outputs(self, start: float, name: str, outputs: Any, frame: FrameType) -> None:
        me, end = self.here.me, now()
        node = next((y._source[0] for y in outputs if y._source is not None), None)
        size = sum(y._data.nbytes for y in outputs)
        if node is None:
            me.events.append((FORWARD, start, end, name, 0, size, None))
        else:
            me.events.append((FORWARD, start, end, name, node.birth, size, me.place or self.places.of(frame)))
            me.growth.nodes.append(ref(node))

    # Going backward -------------------------------------------------------------------------------

    def _gone_through(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def go_through(node: Node, edges: Any, inbox: Any, arrivals: Any) -> None:
            start = now()
            original(node, edges, inbox, arrivals)
            end = now()
            here.me.events.append((BACKWARD, start, end, node.primitive.name, node.birth, 0, None))

        return self._on_device(go_through)

    def _swept(self, original: Callable[..., Any]) -> Callable[..., Any]:
        here = self.here

        def swept(*args: Any, create_graph: bool, **keywords: Any) -> Any:
            me = here.me
            if me.sweeps:
                return original(*args, create_graph=create_graph, **keywords)
            if not me.growth.is_as_usual(now()):
                self.look()
            first = len(me.events)
            me.sweeps += 1
            failed, start = False, now()
            try:
                found = original(*args, create_graph=create_graph, **keywords)
            except RuntimeError as error:
                failed = "earlier backward pass" in str(error) or "written to since" in str(error)
                raise
            finally:
                me.sweeps -= 1
                me.events.append((SWEEP, start, now(), "backward", 0, 0, None))
                births = [event[4] for event in me.events[first:] if event[0] is BACKWARD]
                with self._own():
                    me.growth.gone_back(births, create_graph, failed)
                    me.growth.look(now())
            return found

        return swept

    def end_step(self) -> None:
        """A mark of the user's: a chunk ends, if one has begun."""
        with self._own():
            self.here.me.growth.look(now())
            self.here.me.growth.step()

    def look(self) -> None:
        """See which nodes of this thread are alive, and what they keep."""
        with self._own():
            self.here.me.growth.look(now())

    @contextlib.contextmanager
    def _own(self) -> Iterator[None]:
        """What is done here is the profiler's own, and no part of the program."""
        start = now()
        yield
        self.here.me.events.append((OWN, start, now(), "profile itself, counting nodes", 0, 0, None))

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
            here.me.events.append((SUMS, start, now(), "sums of gradients", 0, size, None))
            return found

        return compute

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
