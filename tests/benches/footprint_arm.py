"""One run of the benches `prompt` and `memory`, in a process of its own.

Argument: {"what": "prompt", "sink": URL, "inferences": count, "prompt_bytes": size} or
{"what": "memory", "inferences": count, "queue_max_bytes": size}.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.benches.inference_arm import COST_USD, MODEL, PROVIDER, TOKENS_IN, TOKENS_OUT, Call

_PAGE = os.sysconf("SC_PAGE_SIZE")


def rss_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def prompt(config: dict[str, Any]) -> dict[str, float]:
    """Time inferences with a large prompt, content sent, ten back to back, then a flush."""
    os.environ.update(
        OTEL_ENABLED="true", OTEL_ENDPOINT=config["sink"], OTEL_CAPTURE_CONTENT="true"
    )
    from gatewayz import AITracer

    AITracer.start()
    words = "lorem ipsum dolor sit amet "
    text = (words * (config["prompt_bytes"] // len(words) + 1))[: config["prompt_bytes"]]
    prompts = [[{"role": "user", "content": f"{number} {text}"}] for number in range(8)]

    def infer(number: int) -> int:
        at = time.perf_counter_ns()
        with AITracer.trace_inference(provider=PROVIDER, model=MODEL, user_id="u") as ctx:
            ctx.set_input(prompts[number % 8])
            ctx.set_output("ok")
            ctx.set_token_usage(TOKENS_IN, TOKENS_OUT)
            ctx.set_cost(COST_USD)
        return time.perf_counter_ns() - at

    count = config["inferences"]
    for number in range(10):
        infer(number)
    flush(AITracer)
    took: list[int] = []
    cpu = time.process_time()
    for first in range(0, count, 10):
        took += [infer(number) for number in range(first, first + 10)]
        flush(AITracer)
    cpu_s = time.process_time() - cpu
    took.sort()
    return {
        "p50_us": took[len(took) // 2] / 1000,
        "p99_us": took[int(len(took) * 0.99)] / 1000,
        "cpu_us": cpu_s / len(took) * 1e6,
        "inferences": 10 + len(took),
    }


def flush(tracer: Any) -> None:
    """Deliver everything, or stop."""
    if not tracer.flush(60)["complete"]:
        msg = f"not everything was delivered: {tracer.status()}"
        raise RuntimeError(msg)


def memory(config: dict[str, Any]) -> dict[str, float]:
    """Do inferences as fast as they go while nobody takes them; return what memory that took."""
    closed = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    os.environ.update(
        OTEL_ENABLED="true",
        OTEL_ENDPOINT=address,
        OTEL_CAPTURE_CONTENT="true",
        GATEWAYZ_QUEUE_MAX_BYTES=str(config["queue_max_bytes"]),
    )
    from gatewayz import AITracer

    AITracer.start()
    before = rss_bytes()
    count = config["inferences"]
    half = highest = 0
    for number in range(count):
        call = Call(number)
        with AITracer.trace_inference(
            provider=PROVIDER, model=MODEL, user_id=call.user, session_id=call.session
        ) as ctx:
            ctx.set_input(call.messages)
            ctx.set_output(call.answer)
            ctx.set_token_usage(TOKENS_IN, TOKENS_OUT)
            ctx.set_cost(COST_USD)
        del call, ctx
        if not number % 500:
            highest = max(highest, rss_bytes())
        if number == count // 2:
            half = highest
    row: dict[str, Any] = {"accepted": 0}
    give_up = time.monotonic() + 60
    while row["accepted"] < count and time.monotonic() < give_up:
        AITracer.flush(1)  # what still waits to be prepared
        highest = max(highest, rss_bytes())
        row = AITracer.status()["backends"]["otel"]
    return {
        "grown_bytes": highest - before,
        "half_bytes": half - before,
        "pending": row["pending"],
        "dropped": sum(row["dropped"].values()),
        "accounted": row["pending"] + sum(row["dropped"].values()) + row["dead_lettered"],
        "accepted": row["accepted"],
    }


def main() -> None:
    """Run one, and print the figures."""
    config = json.loads(sys.argv[1])
    figures = {"prompt": prompt, "memory": memory}[config["what"]](config)
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    # A backend that is not there need not be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
