"""Speed, measured side by side: `python -m tests.benches` from the root of the repository.

    __main__   which benches, how many rounds, what becomes of the results
    rounds     the arms of a bench in turn (A B C A B C …), each in a fresh process
    report     tables, what was to be reached, the machine; as text and as docs/benchmarks.md

    inference  what tracing one inference costs the caller, and the process
    gateway    requests through the gateway, and the time to a stream's first token
    hanging    clients of a gateway one of whose backends hangs
    web        clients of a web application that traces to four backends
    footprint  a large prompt, memory behind a dead backend, import time

Processes that the benches start: `inference_arm` (with `four_sdks` and `litellm_callbacks`),
`footprint_arm` and `web_app` (what is measured),
`collector` (takes spans and counts them), `upstream` (answers in a provider's place), `bare_tee`
(the least that a gateway can be), `load` (clients). Nothing here is part of the test suite.
"""
