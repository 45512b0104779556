# SPDX-License-Identifier: Apache-2.0
"""A package that installs at once: the module `tiny`, which knows its VERSION."""

from __future__ import annotations

import io
import zipfile


def name(version: str) -> str:
    return f"tiny-{version}-py3-none-any.whl"


def content(version: str) -> bytes:
    data, info = io.BytesIO(), f"tiny-{version}.dist-info"
    with zipfile.ZipFile(data, "w") as made:
        made.writestr("tiny.py", f"VERSION = '{version}'\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return data.getvalue()
