"""The verb `doctor`: hardware and software of this machine."""

from __future__ import annotations

from dataclasses import asdict

from autophage.cli.output import AsJson, print_json, print_table, say

VERDICTS = {True: "ok", False: "WRONG", None: "-"}


def doctor(*, as_json: AsJson = False) -> int:
    """Check hardware and software of this machine, and show a remedy for each problem."""
    from autophage.host.doctor import diagnose

    checks = diagnose()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(["", "check", "found"], [(VERDICTS[check.ok], check.name, check.found) for check in checks])
        for check in checks:
            if check.remedy:
                say(f"{check.name}: {check.remedy}")
    return 1 if any(check.ok is False for check in checks) else 0
