# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Many commands at once on one host whose sshd has the limits of every installation: ten sessions a connection, and connections that
are thrown away at random while more than ten have not logged in yet."""

from __future__ import annotations


import os
import signal

import pytest
from harness import wait_until
from remote import nothing_left

DEFAULTS = ["MaxSessions 10", "MaxStartups 10:30:100"]


def followed_by_as_many_commands(make_box, trainctl, count: int) -> None:
    box = make_box(options=DEFAULTS)
    works = [box.workload(seed=number, lines=40, gate=True) for number in range(count)]
    for work in works:
        trainctl.ok("submit", work.spec, "--detach")
    for master in box.masters():  # all of them come to a host that nobody is connected with
        os.kill(master, signal.SIGKILL)
    wait_until(lambda: not box.masters(), "no connection is open")
    shown = [trainctl.root / f"shown-{number}" for number in range(count)]
    clients = []
    for work, path in zip(works, shown):
        with open(path, "wb") as out, open(path.with_suffix(".err"), "wb") as err:
            clients.append(trainctl.start("logs", "-f", work.name, stdout=out, stderr=err))
    for work, path, client in zip(works, shown, clients):
        wait_until(lambda: path.read_bytes() == work.half or client.poll() is not None, f"{path.name} shows the first half")
        assert client.poll() is None, path.with_suffix(".err").read_text()
    for work in works:
        work.open()
    for work, path, client in zip(works, shown, clients):
        assert client.wait(timeout=120) == 0 and path.read_bytes() == work.log, path.with_suffix(".err").read_text()
        work.check(outputs=False)
        assert path.with_suffix(".err").read_text() == "", "nobody hears of refused sessions and thrown away connections"
    nothing_left(box)


def test_a_dozen_commands_follow_a_dozen_runs(make_box, trainctl):
    """Two more than one connection has sessions."""
    followed_by_as_many_commands(make_box, trainctl, 12)


@pytest.mark.slow
def test_fifty_commands_follow_fifty_runs(make_box, trainctl):
    followed_by_as_many_commands(make_box, trainctl, 50)
