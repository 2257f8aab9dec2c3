"""Runs the capabilities of one client and prints one JSON line for each.

A capability is a function that raises when the client did not get what it expects.
The harness reads the lines; a script that breaks before its last line has failed.
"""

import asyncio
import inspect
import json
import sys
import traceback


class Report:
    """One client, by name and version as people know them."""

    def __init__(self, client):
        self.client = client
        self.capabilities = []

    def capability(self, name):
        """Registers the decorated function under the capability's name."""

        def keep(function):
            self.capabilities.append((name, function))
            return function

        return keep

    def run(self, *arguments):
        """Runs all, each on its own: one failure does not hide the next."""
        asyncio.run(self._run(arguments))

    async def _run(self, arguments):
        for name, function in self.capabilities:
            line = {"client": self.client, "capability": name, "passed": True}
            try:
                outcome = function(*arguments)
                if inspect.isawaitable(outcome):
                    await asyncio.wait_for(outcome, 60)
            except Exception as error:
                line["passed"] = False
                line["why"] = f"{type(error).__name__}: {error}"[:600]
                traceback.print_exc(file=sys.stderr)
            print(json.dumps(line), flush=True)


def equal(got, wanted, what):
    """Raises, with both values, unless they are equal."""
    if got != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, got {got!r}")


def true(condition, what):
    """Raises unless the condition holds."""
    if not condition:
        raise AssertionError(what)
