#!/usr/bin/env python3
"""Everything one does with this project, by one command each. It needs Python 3.11 and nothing else.

    python3 dev.py demo [ARGS]   see the product do its main job, in under a minute
    python3 dev.py test [ARGS]   the whole check: lint, format, types, imports, every test
    python3 dev.py quick [ARGS]  the everyday subset: the same without the slow tests
    python3 dev.py lint          the static half alone: lint, format, types, imports
    python3 dev.py run ARGS      the command line, as in: python3 dev.py run incidents list
    python3 dev.py bench [NAME]  run a benchmark of bench/; without a name, list them
    python3 dev.py screenshots   make the pictures of docs/screenshots anew; needs Debian's Chromium
    python3 dev.py setup         only make the environment ready, which all of the above do by themselves
    python3 dev.py lock [ARGS]   write requirements/*.txt anew from pyproject.toml; --upgrade takes newer versions

ARGS of test and quick go to pytest: `python3 dev.py quick -n0 -k workflow` runs the tests that match, in one process.
The environment is .venv: made when missing, updated when the lock has changed, made anew when broken. Delete it freely.
`test` also installs what its tests speak with: the packages of requirements/debian.txt where it may (as root on
Debian), and the JavaScript clients of tests/clients/javascript. What is missing is a failure where CI=true is set;
elsewhere the tests that need it are skipped.
"""

# Parsed by Python 3.8 too (a test sees to it): an old interpreter must come as far as the check that names it.
from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
SDK = ROOT / "sdk"
LOCK = ROOT / "requirements" / "dev.txt"
STAMP = VENV / "tocsin-setup.txt"  # where the environment was made and for which lock
UNFINISHED = "unfinished\n"  # the stamp's text while somebody works on the environment
CLUSTER_CONFIG = Path("/etc/postgresql-common/createcluster.conf")
UNITS = Path("/etc/systemd/system")  # a unit that leads to /dev/null here is masked: nothing starts it
SERVICES = ("prometheus", "prometheus-alertmanager")  # packages whose service starts when they are installed
JAVASCRIPT = ROOT / "tests" / "clients" / "javascript"
NODE_MODULES = JAVASCRIPT / "node_modules"
GRACE_SECONDS = 30  # for an interrupted child to stop its servers
LOG_TAIL_LINES = 15
LINT = [
    ("ruff check", [str(BIN / "ruff"), "check", "."]),
    ("ruff format", [str(BIN / "ruff"), "format", "--check", "."]),
    ("mypy", [str(BIN / "mypy"), "-n", "2"]),  # two processes, for two cores
    ("import contracts", [str(BIN / "lint-imports"), "--no-logo"]),
]
# Two processes, for two cores: with a third one the tests that race four workers starve beside the browser's.
PYTEST = [str(BIN / "pytest"), "-n", "2", "--dist", "loadgroup"]
EVERYDAY = ["-m", "not slow", "--hypothesis-profile", "everyday"]  # a fifth of the examples of each property


def say(text: str) -> None:
    """Tell what is being done, on standard error: standard output belongs to the command that is run."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def refuse(text: str) -> NoReturn:
    say(text)
    raise SystemExit(1)


def call(command: Sequence[str], log: IO[str] | None = None, keep: Sequence[int] = ()) -> int:
    """Run a command to its end and return its exit code; when interrupted, let it clean up before leaving.

    The child inherits the descriptors of `keep`: the set-up lock must outlive us if we alone are killed.
    """
    nothing = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdin=nothing, stdout=log, stderr=log, pass_fds=keep) as child:
        try:
            return child.wait()
        except (KeyboardInterrupt, SystemExit) as reason:
            if isinstance(reason, SystemExit):  # our SIGTERM; a terminal's Ctrl-C has reached the child already
                child.send_signal(signal.SIGINT)
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
            raise


def wanted_stamp() -> str:
    """What the stamp says when the environment stands in this place and fits pyproject.toml and the lock."""
    import tomllib  # noqa: PLC0415  # new in 3.11: an older Python must come as far as main()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [project["project"], project["build-system"], project["tool"]["hatch"]]
    parts.append((SDK / "pyproject.toml").read_text(encoding="utf-8"))
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode() + LOCK.read_bytes())
    return f"{ROOT}\n{digest.hexdigest()}\n"


def environment_runs() -> bool:
    """Whether .venv has a Python that starts, is new enough and has pip."""
    probe = [str(BIN / "python"), "-I", "-c", "import sys, pip; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment(lock: int) -> None:
    """Make .venv from nothing. The stamp comes first and stays: killed anywhere here, the next run begins again."""
    if importlib.util.find_spec("ensurepip") is None:
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        refuse(f"this Python cannot make environments (no ensurepip). On Debian or Ubuntu: apt-get install {name}")
    say(f"{'repairing' if VENV.exists() else 'making'} .venv with Python {sys.version.split()[0]}")
    VENV.mkdir(exist_ok=True)
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != STAMP:
            entry.unlink()
    # Not sys.executable: that one may be the .venv/bin/python that has just been removed.
    if call([getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(VENV)], keep=[lock]):
        refuse("python -m venv failed (its words are above); .venv is made anew next time")


def install(wanted: str, lock: int) -> None:
    """Install the locked packages, every hash checked, then the project itself so that edits take effect."""
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    pip = [str(BIN / "python"), "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check"]
    log_path = VENV / "setup.log"
    say(f"installing the locked packages of {LOCK.relative_to(ROOT)} (the first time takes about half a minute)")
    with log_path.open("w+", encoding="utf-8") as log:
        # The lock is complete. Left to itself, pip asks a locked package's extras for hashes that no lock can give.
        code = call([*pip, "--require-hashes", "--no-deps", "-r", str(LOCK)], log, [lock])
        code = code or call([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT), "-e", str(SDK)], log, [lock])
    if code:
        # pip ended by itself and tidied up: what stands there is sound, only not complete.
        STAMP.write_text("", encoding="utf-8")
        lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        print("\n".join(lines), file=sys.stderr)
        refuse("pip could not install them, its last words are above. Is there a network? Then run the same again")
    STAMP.write_text(wanted, encoding="utf-8")


def set_up() -> None:
    """Make the environment fit; says nothing and takes 50 ms when it does already."""
    import fcntl  # noqa: PLC0415  # missing on Windows, where main() has said so by now

    started = time.monotonic()
    with Path(__file__).open() as itself:  # the lock is this very file: nothing to clean up
        try:
            fcntl.flock(itself, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is setting up; waiting for it")
            fcntl.flock(itself, fcntl.LOCK_EX)
        wanted = wanted_stamp()
        found = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
        runs = environment_runs()
        if runs and found == wanted and (BIN / "tocsin").exists():
            return
        # Scripts carry absolute paths, so a moved environment is a broken one; an unfinished one may have halves.
        if not runs or (found and not found.startswith(f"{ROOT}\n")):
            make_environment(itself.fileno())
        install(wanted, itself.fileno())
    say(f"ready after {time.monotonic() - started:.0f} s")


def missing_packages() -> dict[str, str]:
    """The packages of requirements/debian.txt that are not installed, each with the tests that need it."""
    lines = (ROOT / "requirements" / "debian.txt").read_text(encoding="utf-8").splitlines()
    wanted = dict(line.split("  # ", 1) for line in lines if line and not line.startswith("#"))
    if not shutil.which("dpkg-query"):
        return wanted
    # A package may bring another one: Node.js as its makers package it provides npm, and conflicts with Debian's.
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}, ${Package}, ${Provides}\n"]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    installed = (line.split(", ")[1:] for line in listed if line.startswith("installed, "))
    there = {name.split(" ")[0] for names in installed for name in names}
    return {name: tests for name, tests in wanted.items() if name not in there}


def keep_services_off(packages: Iterable[str]) -> None:
    """See to it that what is installed for the tests alone does not run on its own, now or after a restart."""
    if not CLUSTER_CONFIG.exists():  # else Debian makes and starts a PostgreSQL server that nobody here wants
        CLUSTER_CONFIG.parent.mkdir(exist_ok=True)
        CLUSTER_CONFIG.write_text("create_main_cluster = false\n", encoding="utf-8")
    for package in packages:
        unit = UNITS / f"{package}.service"
        if package in SERVICES and UNITS.is_dir() and not unit.is_symlink() and not unit.exists():
            unit.symlink_to("/dev/null")
            say(f"its service stays off; to want it after all: systemctl unmask {package}")


def provide_packages() -> bool:
    """Install what is missing where we may; False when it still is and this is CI, which has no excuse."""
    missing = missing_packages()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing Debian packages for the tests: {' '.join(missing)}")
        keep_services_off(missing)
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=60"]
        fetch = [*apt, "install", "-y", "--no-install-recommends"]
        if call([*fetch, *missing]) and call([*apt, "update"]) == 0 and call([*fetch, *missing]):
            # Another release may lack one of them, which must not cost us the others.
            for name in missing:
                call([*fetch, name])
        missing = missing_packages()
    for name, tests in missing.items():
        say(f"without {name} these are skipped: {tests}. On Debian, as root: apt-get install {name}")
    return not missing or os.environ.get("CI") != "true"


def provide_javascript() -> bool:
    """Install the locked JavaScript clients of the tests; False when that fails and this is CI, as with packages."""
    files = [JAVASCRIPT / name for name in ("package.json", "package-lock.json", ".npmrc")]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    stamp = NODE_MODULES / "tocsin-setup.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return True
    if shutil.which("npm"):
        say("installing the locked JavaScript clients of the tests (the first time takes about half a minute)")
        # `ci` empties node_modules first, so the stamp is gone until all of it is there. No package runs code here.
        npm = ["npm", "ci", "--prefix", str(JAVASCRIPT), "--ignore-scripts", "--no-audit", "--no-fund"]
        if call([*npm, "--no-update-notifier", "--loglevel=error"]) == 0:
            stamp.write_text(wanted, encoding="utf-8")
            return True
    # Half of an installation, or that of another lock, would fail tests in odd ways: without any, they are skipped.
    shutil.rmtree(NODE_MODULES, ignore_errors=True)
    say("without the packages of tests/clients/javascript the tests with JavaScript clients are skipped")
    return os.environ.get("CI") != "true"


def check(steps: Sequence[tuple[str, Sequence[str]]], whole: bool = False) -> int:
    """Run every step whatever the others say, then a line for each; returns the exit code for all of them."""
    set_up()
    # Without bytecode each process that a test starts compiles Tocsin anew, and each of pytest's every test.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    provisions = {"Debian packages": provide_packages, "JavaScript clients": provide_javascript} if whole else {}
    results = [("FAILED", 0.0, name) for name, provide in provisions.items() if not provide()]
    for name, command in steps:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        code = call(command)
        results.append(("FAILED" if code else "ok", time.monotonic() - started, name))
    print("\n== summary")
    for verdict, seconds, name in results:
        print(f"{verdict:6} {seconds:7.1f} s  {name}", flush=True)
    return int(any(verdict != "ok" for verdict, _, _ in results))


def lock_versions(arguments: Sequence[str]) -> int:
    """Write the two lock files; versions stay as they are unless pyproject.toml or `--upgrade` asks for others."""
    uv = shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        refuse("lock needs uv: .venv/bin/python -m pip install uv")
    compile_ = [uv, "pip", "compile", "-q", "--universal", "--python-version", "3.11", "--generate-hashes"]
    compile_ += ["--no-emit-index-url", "--custom-compile-command", "python3 dev.py lock", "--extra", "demo"]
    everything = [*compile_, "--extra", "apprise", "--group", "dev"]
    everything += ["pyproject.toml", "-o", "requirements/dev.txt", *arguments]
    operators = [*compile_, "-c", "requirements/dev.txt", "pyproject.toml", "-o", "requirements/runtime.txt"]
    return call(everything) or call([*operators, *arguments])


def bench(arguments: Sequence[str]) -> int:
    names = sorted(path.stem for path in (ROOT / "bench").glob("[!_]*.py"))
    if not arguments or arguments[0] not in names:
        say(f"benchmarks: {' '.join(names) or 'none yet'}")
        return 2 if arguments else 0
    set_up()
    return call([str(BIN / "python"), "-m", f"bench.{arguments[0]}", *arguments[1:]])


def screenshots() -> int:
    set_up()
    return call([str(BIN / "python"), "-m", "tools.screenshots"])


def become_tocsin(arguments: Sequence[str]) -> NoReturn:
    """Turn into `tocsin`, so that signals, the terminal and the exit code are its own."""
    set_up()
    os.execv(BIN / "tocsin", ["tocsin", *arguments])  # replaces this process


COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    "demo": lambda arguments: become_tocsin(["demo", *arguments]),
    "run": become_tocsin,
    "test": lambda arguments: check([*LINT, ("pytest", [*PYTEST, *arguments])], whole=True),
    "quick": lambda arguments: check([*LINT, ("pytest, not slow", [*PYTEST, *EVERYDAY, *arguments])]),
    "lint": lambda _: check(LINT),
    "bench": bench,
    "screenshots": lambda _: screenshots(),
    "setup": lambda _: set_up(),
    "lock": lock_versions,
}


def main(arguments: Sequence[str]) -> int:
    if sys.version_info < (3, 11) or os.name != "posix":  # whatever `python3` is starts this file
        refuse(f"Tocsin needs Python 3.11 or newer on Linux or macOS; this is {sys.version.split()[0]}, {sys.platform}")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print((__doc__ or "").strip())
        return 0
    if arguments[0] not in COMMANDS:
        say(f"there is no command {arguments[0]!r}; python3 dev.py --help lists them")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return COMMANDS[arguments[0]](arguments[1:]) or 0
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    except OSError as error:
        say(f"cannot go on: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
