"""A span may be ended by the garbage collector, in the middle of whatever runs just then."""

import sys

from gatewayz import Backend, BackendSettings, Tracer, hookimpl
from gatewayz.testing.sink import eventually


class Keeps(Backend):
    def __init__(self):
        super().__init__(BackendSettings(flush_interval=0))
        self.names = []

    @hookimpl
    def on_end(self, event):
        self.names.append(event.name)


def test_a_span_that_ends_while_the_preparing_thread_goes_to_sleep_stops_nothing():
    kept = Keeps()
    tracer = Tracer({}, backends={"keeps": kept})
    tracer.start()
    late = [tracer.start_inference("p", "m", name=f"late-{n}") for n in range(5)]

    def in_its_wait(frame, event, _):
        # Stands for a finalizer: Python code that runs while the thread is inside of `wait`.
        if late and event == "c_call" and frame.f_code.co_name == "wait":
            late.pop().end()

    drained = tracer._drain

    def drain():
        sys.setprofile(in_its_wait)
        drained()

    tracer._drain = drain
    assert eventually(lambda: len(kept.names) == 5, 20)
    tracer.shutdown(2)
