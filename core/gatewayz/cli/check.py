"""`gatewayz check`: whether the settings are right and every enabled backend answers."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from gatewayz.cli.output import (
    EXIT_FAILED,
    EXIT_USAGE,
    one_line,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from gatewayz.canary import Canary
    from gatewayz.hookspecs import Backend
    from gatewayz.registry import Instance

__all__ = ["HELP", "add_arguments", "run"]

HELP = "check the settings, and reach every enabled backend with its real credentials"

_GRACE_S = 2.0
_READ_BACK_S = 20.0
_READ_EVERY_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `gatewayz check` takes."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--send",
        action="store_true",
        help="send one made-up inference, and read it back from the backends that can tell",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check all; status 1 where a backend fails, 2 where a setting is wrong."""
    from gatewayz.cli.hidden import hidden
    from gatewayz.cli.sections import all_sections, quiet_logs, suspects
    from gatewayz.gateway.sections import owned
    from gatewayz.registry import discover, open_instances
    from gatewayz.settings import Config, CoreSettings, load

    with quiet_logs():
        config = Config.load()
        found = discover()
        instances, _ = open_instances(config, found)
        sections = all_sections(config, instances, found)
        enabled = {i.name for i in instances if i.enabled}
        kinds = {i.name for i in instances}
        # A disabled backend's settings are nobody's problem yet.
        errors = [s.problem for s in sections if s.problem and s.title not in kinds]
        errors += _whole_gateway(config) if not errors else []
        warnings = suspects(sections, config.environ) + hidden()
        off = not errors and not load(CoreSettings, config, known=owned)[0].tracing_enabled
        results = [] if errors or off else _reach_all(send=arguments.send)
    failed = [r["name"] for r in results if not r["ok"]]
    report = {
        "ok": not errors and not failed,
        "errors": errors,
        "warnings": warnings,
        "backends": results,
        "tracing_enabled": not off,
    }
    if arguments.json:
        print_json(report)
    else:
        _print_report(report, nothing_enabled=not enabled)
    if errors:
        return EXIT_USAGE
    return EXIT_FAILED if failed else 0


def _whole_gateway(config: Any) -> list[str]:
    """Return what is wrong with settings that only make sense together."""
    from gatewayz.errors import SettingsError
    from gatewayz.gateway.settings import load_gateway
    from gatewayz.prepare import Preparer
    from gatewayz.settings import CoreSettings, load

    try:
        load_gateway(config)
        Preparer(load(CoreSettings, config, known=lambda _: True)[0])
    except SettingsError as error:
        return [str(error)]
    return []


def _reach_all(*, send: bool) -> list[dict[str, Any]]:
    """Ask every enabled backend at the same time; return one result for each, in their order."""
    from gatewayz.canary import send_canary
    from gatewayz.tracer import Tracer

    tracer = Tracer(os.environ)
    try:
        tracer.start()
        asked = [(i, _ask(i)) for i in tracer.instances() if i.enabled]
        results = [_result(i, answer) for i, answer in asked]
        well = {r["name"] for r in results if r["ok"]}
        if send and well:
            patience_s = max(_patience_s(i) for i, _ in asked if i.name in well)
            canary = send_canary(tracer, patience_s, well)
            for (instance, _), result in zip(asked, results, strict=True):
                if instance.name in well:
                    _add_canary(result, instance, canary)
        return results
    finally:
        tracer.shutdown()


def _patience_s(instance: Instance) -> float:
    settings = None if instance.backend is None else instance.backend.settings
    return float(getattr(settings, "timeout_s", 10.0)) + _GRACE_S


class _Answer:
    """What `Backend.check` said on a thread of its own; it may never return."""

    def __init__(self, backend: Backend, wait_s: float) -> None:
        self._wait_s = wait_s
        self._until = time.monotonic() + wait_s
        self._words: str | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(backend,), daemon=True)
        self._thread.start()

    def _run(self, backend: Backend) -> None:
        try:
            self._words = backend.check()
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything: that is its answer
            self._error = error

    def wait(self) -> tuple[bool, str]:
        """Return whether it is well, and its words."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if self._thread.is_alive():
            return False, f"check() did not return within {self._wait_s:g} s"
        if self._error is not None:
            return False, str(self._error) or type(self._error).__name__
        return True, self._words or "nothing to reach"


def _ask(instance: Instance) -> _Answer | None:
    if instance.backend is None or instance.state != "active":
        return None
    return _Answer(instance.backend, _patience_s(instance))


def _result(instance: Instance, answer: _Answer | None) -> dict[str, Any]:
    from gatewayz.redact import redact_text

    ok, words = (False, instance.reason or "failed") if answer is None else answer.wait()
    return {
        "name": instance.name,
        "state": instance.state,
        "destination": "" if instance.backend is None else instance.backend.destination(),
        "ok": ok,
        "message": one_line(redact_text(words)),
    }


def _add_canary(result: dict[str, Any], instance: Instance, canary: Canary) -> None:
    """Add to a result whether the canary was delivered, and whether it can be read back."""
    reason = canary.backends.get(instance.name)
    result["delivered"] = reason is None
    result["read_back"] = None
    if reason is not None:
        result["ok"] = False
        result["message"] += f"; test trace not delivered: {reason}"
        return
    read_back, why_not = _read_back(instance, canary.trace_id)
    result["read_back"] = read_back
    if read_back is False:
        result["ok"] = False
        result["message"] += f"; test trace {canary.trace_id} delivered but {why_not}"
    else:
        how = "delivered and read back" if read_back else "delivered"
        result["message"] += f"; test trace {canary.trace_id} {how}"


def _read_back(instance: Instance, trace_id: str) -> tuple[bool | None, str]:
    """Tell whether the backend's service holds the trace, None where it cannot be asked; and why not."""
    backend = instance.backend
    why = "not found again"
    deadline = time.monotonic() + _READ_BACK_S
    while backend is not None:
        try:
            # None: it cannot be asked. Nothing in it: not there yet, services take their time.
            found = backend.read_back(trace_id)
            if found is None:
                return None, ""
            if found:
                return True, ""
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything: asked again
            why = f"cannot be read back: {str(error) or type(error).__name__}"
        if time.monotonic() >= deadline:
            return False, why
        time.sleep(_READ_EVERY_S)
    return None, ""


def _print_report(report: Mapping[str, Any], *, nothing_enabled: bool) -> None:
    for error in report["errors"]:
        print(f"error    {one_line(error)}")
    for warning in report["warnings"]:
        print(f"warning  {one_line(warning)}")
    if not report["errors"]:
        print("settings are valid")
    if not report["tracing_enabled"]:
        print("tracing is off: GATEWAYZ_TRACING_ENABLED=false")
    elif report["backends"]:
        print()
        print_table(
            ("BACKEND", "", "DESTINATION", "RESULT"),
            (
                (r["name"], "ok" if r["ok"] else "FAILED", r["destination"] or "-", r["message"])
                for r in report["backends"]
            ),
        )
    elif nothing_enabled and not report["errors"]:
        print("no backend is enabled; switch one on with <NAME>_ENABLED=true")
