#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Second snapshot of an unchanged tree against `git status` on the same tree, taken in turn.
# usage: benchmarks/snapshot.sh BUILD_DIR [files=20000] [rounds=15]     needs git and python3
# BUILD_DIR: a Release build with -DTRAINCTL_TESTS=ON.
set -eu
build=$(cd "${1:?usage: snapshot.sh BUILD_DIR [files] [rounds]}" && pwd)
exec python3 - "$build" "${2:-20000}" "${3:-15}" <<'PYTHON'
import json, os, random, shutil, statistics, subprocess, sys, tempfile, time

build, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
bench = os.path.join(build, "bin", "unit-snapshot")
folder = tempfile.mkdtemp(prefix="snapshot-bench-")
source, store = os.path.join(folder, "source"), os.path.join(folder, "store")
environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}


def run(argv, **more):
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=source, env=dict(environment, **more), check=True, capture_output=True, text=True)
    return (time.perf_counter() - start) * 1000, done.stdout


def snapshot(**more):
    took, out = run([bench, "[.benchmark]"], TRAINCTL_BENCH_SOURCE=source, TRAINCTL_BENCH_STORE=store, **more)
    return took, out.splitlines()[0]


try:
    words = random.Random(7)
    for number in range(count):
        path = os.path.join(source, f"package{number % 40:02}", f"part{number // 40 % 25:02}")
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, f"module_{number:05}.py"), "w") as file:
            file.write("".join(f"value_{words.randrange(10**6)} = {words.random()}\n" for _ in range(words.randrange(10, 150))))
    with open(os.path.join(source, ".gitignore"), "w") as file:
        file.write("*.pyc\n/data/\n*.ckpt\n.cache/\n")
    run(["git", "init", "-q"])
    run(["git", "add", "-A"])
    run(["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qm", "b"])
    os.makedirs(store)
    first, out = snapshot()
    print(f"first snapshot          {first:8.1f} ms   {out.strip()}")
    size = sum(os.path.getsize(os.path.join(r, n)) for r, _, names in os.walk(store) for n in names)
    print(f"store                   {size / 1e6:8.1f} MB")
    run(["git", "status", "--porcelain"])
    ours, git, bare = [], [], []
    for _ in range(rounds):
        took, out = snapshot()
        assert ", read 0 ." in out, out
        ours.append(took)
        git.append(run(["git", "status", "--porcelain"])[0])
        bare.append(run(["/bin/true"])[0])
    for name, values in (("second snapshot", ours), ("git status", git), ("bare fork+exec", bare)):
        print(f"{name:23} {statistics.median(values):8.1f} ms median, {min(values):.1f} best of {rounds}")
    copy, out = snapshot(TRAINCTL_BENCH_COPY=os.path.join(folder, "copy"))
    print(f"private copy            {copy:8.1f} ms   {out.strip()}")
finally:
    shutil.rmtree(folder)
PYTHON
