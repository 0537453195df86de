"""The cases about what a backend is before it runs: its settings, its hooks, its construction."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from gatewayz.errors import BackendRefused, SettingsError
from gatewayz.settings import BackendSettings, instance_prefix
from gatewayz.testing.bench import Bench, find_class
from gatewayz.testing.sink import dead_address
from gatewayz.testing.stand import Stand
from gatewayz.testing.watch import watching

__all__ = ["SettingsCases"]

_IMPORT_SCRIPT = """
import json, os, sys
from gatewayz.registry import discover
from gatewayz.settings import Config, load
from gatewayz.testing.watch import watching
with watching() as at_import:
    cls = discover()[sys.argv[1]].load()
settings, _ = load(cls.Settings, Config(os.environ, {}), instance=sys.argv[1])
with watching() as at_construction:
    cls(settings)
sys.stdout.flush()
print("\\n<conformance>" + json.dumps([at_import, at_construction]) + "</conformance>", flush=True)
"""


class SettingsCases(Stand):
    """Rules about settings, hooks and construction."""

    def test_settings_load_from_the_environment_under_the_backends_own_prefix(self) -> None:
        """Every setting can be given by a variable that begins with the backend's name."""
        rule = "settings are a subclass of BackendSettings, read from variables of its own prefix"
        name, cls = find_class(self.backend)
        if not issubclass(cls.Settings, BackendSettings):
            self._broken(rule, "make `Settings` a subclass of gatewayz.BackendSettings")
        environ, _ = self._environ(dead_address())
        try:
            bench = Bench(name, cls, environ)
        except SettingsError as error:
            self._broken(rule, f"{error}. Give the variable in `env` if the kit cannot guess it")
        prefix = instance_prefix(name)
        for variable in environ:
            read = [o for o in bench.origins.values() if o.source == f"variable {variable}"]
            if variable.startswith(prefix) and not read and variable != f"{prefix}ENABLED":
                self._broken(rule, f"{variable} is set but no setting took its value")

    def test_hooks_are_plain_marked_functions_of_known_arguments(self) -> None:
        """What registration refuses: unmarked, async, generator or wrapper hooks, odd arguments."""
        rule = "hooks are plain functions, marked with @hookimpl, of the contract's arguments"
        try:
            bench = self._bench(dead_address())
        except BackendRefused as error:
            self._broken(rule, str(error))
        if not bench.hooks:
            self._broken(rule, "it has no hook at all: implement on_end, for a start")
        if bench.hooks.keys() == {"export"}:
            self._broken(rule, "it has an export but translates nothing: implement on_end")

    def test_importing_and_constructing_has_no_side_effect(self) -> None:
        """No connection, thread, process or file before `startup`."""
        rule = "importing and constructing do nothing: connections, threads and files wait for startup()"
        name, cls = find_class(self.backend)
        environ, _ = self._environ(dead_address())
        if isinstance(self.backend, str):
            done = subprocess.run(  # noqa: S603 - our own script, this interpreter
                [sys.executable, "-c", _IMPORT_SCRIPT, name],
                env={**os.environ, **environ},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode != 0:
                self._broken(rule, done.stderr[-2000:])
            at_import, at_construction = json.loads(
                done.stdout.rpartition("<conformance>")[2].partition("</conformance>")[0]
            )
            if at_import:
                self._broken(rule, f"importing it {', '.join(at_import)}")
        else:
            bench = Bench(name, cls, environ)
            with watching() as at_construction:
                cls(bench.settings)
        if at_construction:
            self._broken(rule, f"constructing it {', '.join(at_construction)}")
