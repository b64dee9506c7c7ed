"""All checks and tests, one pass after the other: what `./run.sh test` runs, and with `check` `./run.sh check`.

A pass that fails does not stop the next one. At the end stand the tests that were skipped and why, the programs
that were missing, and one line that counts everything; the exit status is 0 only when nothing failed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
NODE_MODULES = ROOT / "node_modules"

LONGEST_S = 40 * 60  # of a pass

# What some tests drive, and the Debian packages that bring it.
PROGRAMS = {
    "chromium": ("chromium", "fonts-noto-cjk", "fonts-noto-color-emoji"),
    "prometheus": ("prometheus",),
    "promtool": ("prometheus",),
    "nginx": ("nginx-light",),
    "haproxy": ("haproxy",),
    "redis-server": ("redis-server",),
    "ip": ("iproute2",),
    "node": ("nodejs",),
    "npm": ("npm",),
}
CHECKS = {
    "lint": ("ruff", "check", "."),
    "formatting": ("ruff", "format", "--check", "--quiet", "."),
    "types": ("mypy",),
}
# The same for the pages and the browser client, by npm's programs: what package.json names, in node_modules.
JAVASCRIPT = ("*.js", "{client/js,static,tests/types}/**/*.{js,ts}")
JAVASCRIPT_CHECKS = {
    "lint of JavaScript": ("eslint", "."),
    "formatting of JavaScript": ("prettier", "--check", "--log-level", "warn", *JAVASCRIPT),
    "types of JavaScript": ("tsc",),
}
NODE = (18, 18)  # what eslint 9 needs at least; 10 would not run on the Node of Debian 12
# A newer processor computes as one that has nothing newer than AVX2: the most common machine that can be rented.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
ON_THE_PROCESSOR = ("tests/stream/models", "tests/server/engine")


@dataclass(frozen=True)
class Pass:
    """One run of pytest, with `environment` beside the present one."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


# Three at a time on two cores, since most of them wait for their servers most of the time.
PASSES = (
    Pass("fast tests", ("-n", "3", "--dist", "loadfile", "-m", "not slow and not e2e")),
    Pass("slow and browser tests", ("-n", "3", "--dist", "loadfile", "-m", "slow or e2e")),
    Pass("models and engine, held to AVX2", ("-n", "3", "--dist", "loadfile", *ON_THE_PROCESSOR), AVX2),
)


@dataclass
class Outcome:
    """What a pass came to. `reasons`: of the tests that were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def main(only_checks: bool) -> int:
    if not only_checks:
        install()
    checks = {name: (Path(PYTHON).parent, command) for name, command in CHECKS.items()}
    without = no_javascript()
    if not without:
        checks |= {name: (NODE_MODULES / ".bin", command) for name, command in JAVASCRIPT_CHECKS.items()}
    failed_checks = [name for name, (where, command) in checks.items() if not check(name, where, command)]
    results = {name: "failed" if name in failed_checks else "passed" for name in checks}
    if without:
        say(f"JavaScript is not checked: {without}")
        results |= {name: f"skipped: {without}" for name in JAVASCRIPT_CHECKS}
    if only_checks:
        return 1 if failed_checks else 0
    outcomes = {}
    for one in PASSES:
        if one.environment and not newer_than_avx2():
            say(f"{one.name}: left out, since this processor has nothing newer: the passes before were that")
            continue
        began = time.monotonic()
        outcomes[one.name] = run(one)
        say(f"{one.name}: {time.monotonic() - began:.0f} s")
    return summary(results, outcomes)


def no_javascript() -> str | None:
    """Why JavaScript cannot be checked here; None when it can. Installs what package-lock.json names, once."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return "no node, no npm: apt-get install nodejs npm"
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if tuple(int(part) for part in told.removeprefix("v").split(".")[:2]) < NODE:
        return f"node {told} is older than {'.'.join(map(str, NODE))}"
    installed, wanted = NODE_MODULES / ".package-lock.json", ROOT / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime:
        return None
    say("Installing what package-lock.json names into node_modules …")
    done = subprocess.run([npm, "ci", "--silent"], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    return "npm ci failed" if done.returncode else None


def install() -> None:
    """The programs that are missing, where this may be done. Tests that find none are skipped, and say so."""
    packages = [package for name in missing() for package in PROGRAMS[name]]
    if not packages:
        return
    command = ["apt-get", "install", "-y", "-qq", *dict.fromkeys(packages)]
    if not shutil.which("apt-get") or os.geteuid() != 0:
        say(f"For all tests: {' '.join(command[:2])} {' '.join(command[4:])}")
        return
    say(f"Installing {' '.join(command[4:])} for the tests …")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-qq"], command):
        if subprocess.run(step, env=environment, capture_output=True, check=False).returncode:
            say(f"{' '.join(step[:2])} failed: the tests that need them will be skipped.")
            return


def missing() -> list[str]:
    path = (
        f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian has nginx, and who is not root does not look
    )
    return [name for name in PROGRAMS if not shutil.which(name, path=path)]


def check(name: str, where: Path, command: tuple[str, ...]) -> bool:
    say(f"{name}: {' '.join(command)}")
    return subprocess.run([where / command[0], *command[1:]], cwd=ROOT, check=False).returncode == 0


def newer_than_avx2() -> bool:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    told = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False).stdout
    return told.strip().startswith("AVX512")


def run(one: Pass) -> Outcome:
    """Run it to its end. A run that breaks off counts as one failure more."""
    say(f"{one.name}: pytest {' '.join(one.arguments)}")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [PYTHON, "-m", "pytest", *one.arguments, f"--junitxml={report}"]
        status = ended(command, {**os.environ, **one.environment})
        outcome = read(report) if report.exists() else Outcome()
    if status not in (0, 1) or (status and not outcome.failed):
        say(f"{one.name}: pytest ended with status {status}")
        outcome.failed += 1
    return outcome


def ended(command: list[str], environment: dict[str, str]) -> int:
    """The exit status; of a run that hangs, though each of its tests has a time-out, that of its killing."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        return process.wait(LONGEST_S)
    except BaseException as broken:  # Ctrl-C, too: it does not reach a session of its own
        os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        if isinstance(broken, subprocess.TimeoutExpired):
            return status
        raise


def read(report: Path) -> Outcome:
    """The counts of pytest's JUnit report."""
    outcome = Outcome()
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        elif (skip := case.find("skipped")) is not None:
            outcome.skipped += 1
            outcome.reasons[skip.get("message", "no reason given")] += 1
        else:
            outcome.passed += 1
    return outcome


def summary(results: dict[str, str], outcomes: dict[str, Outcome]) -> int:
    """`results`: what became of each check."""
    print("\n== in all ==")
    for name, result in results.items():
        print(f"{name}: {result}")
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped")
        for reason, n in outcome.reasons.most_common():
            print(f"    {n} skipped: {reason}")
    print(f"programs that were missing: {', '.join(missing()) or 'none'}")
    checks = Counter(result.split(":")[0] for result in results.values())
    passed = checks["passed"] + sum(outcome.passed for outcome in outcomes.values())
    failed = checks["failed"] + sum(outcome.failed for outcome in outcomes.values())
    skipped = checks["skipped"] + sum(outcome.skipped for outcome in outcomes.values())
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(only_checks=sys.argv[1:] == ["check"]))
