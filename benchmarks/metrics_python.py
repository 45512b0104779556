# SPDX-License-Identifier: Apache-2.0
"""Points/s of trainctl.log() next to a bare line-buffered write of the same line. Usage: metrics_python.py [points]"""
import os
import shutil
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
sys.path.insert(0, os.path.join(ROOT, "python"))
FOLDER = tempfile.mkdtemp(prefix="trainctl-bench-", dir=os.environ.get("BENCH_DIR"))
os.environ["TRAINCTL_METRICS"] = FOLDER
import trainctl  # noqa: E402


def rate(count, work):
    start = time.perf_counter()
    work(count)
    return count / (time.perf_counter() - start)


def bare(count):
    with open(os.path.join(FOLDER, "bare.jsonl"), "a", buffering=1) as file:
        for i in range(count):
            file.write('{"t":%.6f,"step":%d,"name":"loss","value":%r,"rank":0}\n' % (time.time(), i, 0.3 + i))


def single(count):
    log = trainctl.log
    for i in range(count):
        log(loss=0.3 + i, step=i)


def eight(count):
    log = trainctl.log
    names = ["m%d" % n for n in range(8)]
    for i in range(count // 8):
        log(dict.fromkeys(names, 0.3 + i), step=i)


def nothing(count):
    import subprocess

    code = "import sys,time\nsys.path.insert(0,%r)\nimport trainctl\ns=time.perf_counter()\n" % sys.path[0]
    code += "for i in range(%d): trainctl.log(loss=0.3, step=i)\nprint(%d/(time.perf_counter()-s))" % (count, count)
    env = {k: v for k, v in os.environ.items() if k != "TRAINCTL_METRICS"}
    return float(subprocess.check_output([sys.executable, "-c", code], env=env))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200000
    best = {}
    try:
        for _ in range(3):  # the best of three, taken in turn: the machine is not ours alone
            for name, work in (("bare line-buffered write", bare), ("log(loss=..., step=...)", single), ("log of 8 values", eight)):
                best[name] = max(best.get(name, 0), rate(count, work))
        best["log() outside a run"] = nothing(count)
    finally:
        shutil.rmtree(FOLDER)
    print("python %s, %d points" % (sys.version.split()[0], count))
    for name, value in best.items():
        print("%-28s %10.0f points/s" % (name, value))


main()
