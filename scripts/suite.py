# SPDX-License-Identifier: Apache-2.0
"""The parts of scripts/test, and the order they run in.

Two lanes share the machine: one builds (at low priority), the other tests what is built. A part waits for those it needs;
when one of them failed it counts as failed itself, so nothing is skipped in silence."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = REPOSITORY / "build"
LOGS = BUILD / "test-logs"
VENV_PYTHON = BUILD / "test-venv" / "bin" / "python"
JOBS = max(2, os.cpu_count() or 1)
QUICK, CI, NIGHTLY = "quick", "ci", "nightly"
# What the tests through the binaries need. At home they run on the debug build; in CI on the release build, which is what
# people get, and which has to be built anyway: a debug build beside the one with sanitizers would cost minutes and find nothing more.
BINARIES = ["trainctl", "trainctl-runner", "environment-driver", "unit-target"]
# Data races are looked for where there are threads or several processes on one file.
TSAN_LAYERS = ("base", "host", "archive", "index", "snapshot", "target")


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    output: str = ""
    skipped: int = 0

    def add(self, other: Outcome) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.output += other.output


@dataclass
class Part:
    name: str
    about: str
    lane: str  # "build" or "test"
    run: Callable[["Suite"], Outcome]
    needs: tuple[str, ...] = ()
    modes: tuple[str, ...] = (CI, NIGHTLY)
    finished: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None
    seconds: float = 0.0


class Suite:
    """Runs parts and says how each went."""

    def __init__(self, mode: str):
        self.mode = mode
        self.parts: dict[str, Part] = {}
        self.screen = threading.Lock()

    def say(self, text: str) -> None:
        with self.screen:
            print(text, flush=True)

    def command(self, name: str, *commands: list[str], nice: int = 0, env: dict[str, str] | None = None) -> tuple[int, str]:
        """Runs the commands one after the other until one fails; the output also goes to build/test-logs/NAME.log."""
        collected, code = [], 0
        with open(LOGS / f"{name.replace(' ', '-')}.log", "w", encoding="utf-8", errors="replace") as log:
            for argv in commands:
                argv = ["nice", "-n", str(nice), *argv] if nice else argv
                done = subprocess.run(argv, cwd=REPOSITORY, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
                log.write(f"$ {' '.join(argv)}\n{done.stdout}\n")
                collected.append(done.stdout)
                code = done.returncode
                if code:
                    break
        return code, "".join(collected)

    def run_part(self, part: Part) -> None:
        broken = []
        for name in part.needs:
            needed = self.parts.get(name)
            if needed is None:
                continue
            needed.finished.wait()
            if needed.outcome is None or needed.outcome.failed:
                broken.append(name)
        began = time.monotonic()
        try:
            part.outcome = Outcome(failed=1, output=f"not run, because this failed: {', '.join(broken)}\n") if broken else part.run(self)
        except Exception as error:  # a broken part must not take the others with it
            part.outcome = Outcome(failed=1, output=f"{type(error).__name__}: {error}\n")
        part.seconds = time.monotonic() - began
        result = part.outcome
        skipped = f", {result.skipped} skipped" if result.skipped else ""
        line = f"{'FAIL' if result.failed else 'ok  '} {part.name:<16} {result.passed:>5} passed, {result.failed} failed{skipped}  {part.seconds:7.1f} s"
        self.say(f"{line}\n----- {part.name}\n{result.output.rstrip()}\n-----" if result.failed else line)
        part.finished.set()

    def run(self, parts: list[Part]) -> int:
        self.parts = {part.name: part for part in parts}
        lanes = [[part for part in parts if part.lane == lane] for lane in ("build", "test")]
        if available_memory() < 4 << 30:  # a sanitizer build next to tests needs about that much
            lanes = [parts]
        began = time.monotonic()
        threads = [threading.Thread(target=self.run_lane, args=(lane,)) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.summarise(parts, time.monotonic() - began)

    def run_lane(self, parts: list[Part]) -> None:
        for part in parts:
            self.run_part(part)

    def summarise(self, parts: list[Part], seconds: float) -> int:
        total = Outcome()
        for part in parts:
            total.add(part.outcome or Outcome(failed=1))
        bad = [part.name for part in parts if part.outcome is None or part.outcome.failed]
        if bad:
            self.say(f"failed: {', '.join(bad)} (all output: build/test-logs/)")
        self.say(f"total {seconds:.1f} s")
        self.say(f"{total.passed} passed, {total.failed} failed")
        return 1 if total.failed or not total.passed else 0


def available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def check(*argv: str) -> Callable[[Suite], Outcome]:
    """A part that is one command: it passes or fails as one."""
    def run(suite: Suite) -> Outcome:
        code, output = suite.command(Path(argv[1] if argv[0] == str(VENV_PYTHON) else argv[0]).name, list(argv))
        return Outcome(passed=int(code == 0), failed=int(code != 0), output=output)
    return run


def build(preset: str, targets: Callable[[], list[str]] = lambda: []) -> Callable[[Suite], Outcome]:
    """Builds these targets; everything when there are none."""
    def run(suite: Suite) -> Outcome:
        wanted = targets()
        slow = "ON" if suite.mode == NIGHTLY else "OFF"
        options = ["-DTRAINCTL_TESTS=ON", f"-DTRAINCTL_SLOW_TESTS={slow}"] if preset == "release" else []
        code, output = suite.command(f"build {preset}", ["cmake", "--preset", preset, *options],
                                     ["cmake", "--build", "--preset", preset, "-j", str(JOBS), *(["--target", *wanted] if wanted else [])],
                                     nice=10)
        return Outcome(passed=int(code == 0), failed=int(code != 0), output=output)
    return run


def unit_targets(layers: tuple[str, ...] | None = None) -> list[str]:
    folder = REPOSITORY / "tests" / "unit"
    found = sorted(entry.name for entry in folder.iterdir() if any(entry.rglob("*.cpp"))) if folder.is_dir() else []
    return [f"unit-{name}" for name in found if layers is None or name in layers] or ["trainctl_base"]


def count_junit(path: Path) -> Outcome:
    """Passed, failed and skipped test cases of a JUnit file (pytest's and ctest's differ in the wrapper only)."""
    result = Outcome()
    for case in xml.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None or case.get("status") in ("disabled", "notrun"):
            result.skipped += 1
        elif case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            result.failed += 1
        else:
            result.passed += 1
    return result


def count_functions(cases: Path, entries: Outcome) -> Outcome:
    """The test functions of pytest's reports; a file that did not even start has no report, but its ctest entry failed."""
    result = Outcome()
    for report in sorted(cases.glob("*.xml")):
        result.add(count_junit(report))
    result.failed = max(result.failed, entries.failed)
    return result


def ctest(preset: str, *options: str, python: bool = False) -> Callable[[Suite], Outcome]:
    """ctest in build/PRESET. For Python entries the test functions are counted, not the files."""
    def run(suite: Suite) -> Outcome:
        name = f"{'python' if python else 'unit'}-{preset}"
        report, cases = LOGS / f"{name}.junit.xml", LOGS / f"{name}-cases"
        shutil.rmtree(cases, ignore_errors=True)
        cases.mkdir()
        report.unlink(missing_ok=True)
        env = {"ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
               "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
        slow = python and suite.mode == NIGHTLY
        if python:
            env.update(TRAINCTL_PYTEST_REPORTS=str(cases), TRAINCTL_PYTEST_OPTIONS="--slow" if slow else "")
        code, output = suite.command(name, ["ctest", "--test-dir", f"build/{preset}", "-j", str(JOBS), "--output-on-failure", "--no-tests=error",
                                            "--output-junit", str(report), *options], env=env)
        result = count_junit(report) if report.exists() else Outcome()
        if python:
            result = count_functions(cases, result)
        result.failed = result.failed or int(code != 0)
        result.output = "\n".join(line for line in output.splitlines() if " Passed " not in line and "      Start " not in line)
        return result
    return run


def fuzz(suite: Suite) -> Outcome:
    """Each fuzzer for a while, two at a time; what it finds on the way stays in build/fuzz-corpus."""
    seconds = 600 if suite.mode == NIGHTLY else 30

    def one(source: Path) -> tuple[int, str]:
        name = source.stem.removeprefix("fuzz_")
        corpus, artifacts = BUILD / "fuzz-corpus" / name, BUILD / "fuzz-artifacts" / name
        corpus.mkdir(parents=True, exist_ok=True)
        artifacts.mkdir(parents=True, exist_ok=True)
        seeds = REPOSITORY / "tests" / "fuzz" / "corpus" / name
        code, output = suite.command(source.stem, [str(BUILD / "fuzz" / "bin" / source.stem), f"-max_total_time={seconds}", "-timeout=10",
                                                   "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={artifacts}/",
                                                   str(corpus), *([str(seeds)] if seeds.is_dir() else [])])
        return code, f"== {source.stem}: exit {code}\n{output[-6000:]}\n" if code else ""

    sources = sorted((REPOSITORY / "tests" / "fuzz").glob("fuzz_*.cpp"))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(one, sources))
    bad = sum(1 for code, _ in done if code)
    return Outcome(passed=len(done) - bad, failed=bad, output="".join(output for _, output in done))


def public_headers(suite: Suite) -> Outcome:
    """Every public header compiles alone."""
    result = Outcome()
    for header in sorted((REPOSITORY / "include").rglob("*.hpp")):
        code, output = suite.command(f"header-{header.stem}", ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-pragma-once-outside-header",
                                                               "-I", "include", "-x", "c++", str(header.relative_to(REPOSITORY))])
        result.add(Outcome(passed=int(code == 0), failed=int(code != 0), output=output if code else ""))
    return result


def tidy(suite: Suite) -> Outcome:
    options = ["--all"] if suite.mode == NIGHTLY else ["--build", "build/asan"]  # CI has no build/dev
    return check("scripts/check-tidy", *options)(suite)


def build_aarch64(suite: Suite) -> Outcome:
    """Beside the binaries that the tests look at; the target brings the libraries it is linked with."""
    return build("dev" if suite.mode == QUICK else "release", lambda: ["trainctl-runner-aarch64"])(suite)


def end_to_end(suite: Suite) -> Outcome:
    return ctest("dev" if suite.mode == QUICK else "release", "-L", "python", python=True)(suite)


def all_parts() -> list[Part]:
    # Threads are few (the snapshot's look ahead, the mirror of a distant run): ThreadSanitizer waits for the night.
    tsan = "^(" + "|".join(TSAN_LAYERS) + "):"
    return [
        Part("build dev", "debug build", "build", build("dev"), modes=(QUICK, NIGHTLY)),
        Part("build release", "what users get", "build", build("release", lambda: BINARIES)),
        Part("build aarch64", "the runner for aarch64 hosts, with a cross compiler", "build", build_aarch64, modes=(QUICK, CI, NIGHTLY)),
        Part("build asan", "unit tests with AddressSanitizer and UBSan", "build", build("asan", unit_targets)),
        Part("build tsan", f"unit tests of {', '.join(TSAN_LAYERS)} with ThreadSanitizer", "build", build("tsan", lambda: unit_targets(TSAN_LAYERS)), modes=(NIGHTLY,)),
        Part("build fuzz", "the fuzzers, clang 19", "build", build("fuzz", lambda: ["fuzzers"])),
        Part("tidy", "clang-tidy 19 on changed files (all with --nightly)", "build", tidy, ("build dev", "build asan")),
        Part("layers", "#includes follow cmake/Layers.cmake", "test", check("scripts/check-layers")),
        Part("tree", "licence lines, no registry hosts, no machine paths", "test", check("scripts/check-tree")),
        Part("reference", "the reference pages are what the schemas say", "test", check("scripts/make-reference", "--check")),
        Part("format", "clang-format 19", "test", check("scripts/check-format")),
        Part("sizes", "files and functions stay small", "test", check(str(VENV_PYTHON), "scripts/check-sizes")),
        Part("headers", "public headers compile alone", "test", public_headers),
        Part("unit dev", "unit tests", "test", ctest("dev", "-LE", "python"), ("build dev",), (QUICK, NIGHTLY)),
        Part("e2e", "tests through the real binaries", "test", end_to_end, ("build dev", "build release", "build aarch64"), (QUICK, CI, NIGHTLY)),
        Part("unit asan", "unit tests with AddressSanitizer and UBSan", "test", ctest("asan", "-LE", "python"), ("build asan",)),
        Part("unit tsan", "unit tests with ThreadSanitizer", "test", ctest("tsan", "-R", tsan), ("build tsan",), (NIGHTLY,)),
        Part("fuzz", "each fuzzer for 30 s (10 min with --nightly)", "test", fuzz, ("build fuzz",)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Builds trainctl and passes all its tests.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", dest="mode", action="store_const", const=QUICK, help="dev build, unit tests, tests through the binaries")
    mode.add_argument("--nightly", dest="mode", action="store_const", const=NIGHTLY, help="everything long as well")
    parser.add_argument("--list", action="store_true", help="say what the parts are")
    parser.add_argument("parts", nargs="*", metavar="PART", help='only these, and what they need ("unit dev" or unit-dev)')
    parser.set_defaults(mode=CI)
    options = parser.parse_args()
    wanted = {name.replace("-", " ") for name in options.parts}
    parts = all_parts()
    if unknown := wanted - {part.name for part in parts}:
        parser.error(f"no such part: {', '.join(sorted(unknown))} (--list shows them)")
    here = {part.name for part in parts if options.mode in part.modes}
    needed = wanted | ({need for part in parts if part.name in wanted for need in part.needs} & here)
    parts = [part for part in parts if (part.name in needed if wanted else options.mode in part.modes)]
    if options.list:
        for part in parts:
            print(f"{part.name:<16} {part.about}")
        return 0
    LOGS.mkdir(parents=True, exist_ok=True)
    return Suite(options.mode).run(parts)


if __name__ == "__main__":
    sys.exit(main())
