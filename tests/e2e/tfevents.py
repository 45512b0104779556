# SPDX-License-Identifier: Apache-2.0
"""Writes TensorBoard event files with the standard library alone; scripts of tests import a copy of it."""

import os
import struct
import time


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return table


_TABLE = _table()


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def record(payload):
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc(length)) + payload + struct.pack("<I", masked_crc(payload))


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def simple(tag, value):
    return field(1, tag.encode()) + varint(2 << 3 | 5) + struct.pack("<f", value)


def tensor(tag, value, plugin="scalars", content=True):
    """As TensorFlow 2 writes it: a float tensor without dimensions; `content` False: float_val instead of bytes."""
    raw = struct.pack("<f", value)
    proto = varint(1 << 3) + varint(1) + field(2, b"") + (field(4, raw) if content else field(5, raw))
    return field(1, tag.encode()) + field(8, proto) + field(9, field(1, field(1, plugin.encode())))


def event(*values, step=0, wall_time=None):
    payload = b"\x09" + struct.pack("<d", time.time() if wall_time is None else wall_time)
    if step:
        payload += varint(2 << 3) + varint(step)
    if values:
        payload += field(5, b"".join(field(1, value) for value in values))
    return record(payload)


class Writer:
    _count = 0

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        Writer._count += 1
        name = "events.out.tfevents.%d.host.%d.%d" % (time.time(), os.getpid(), Writer._count)
        self.file = open(os.path.join(folder, name), "ab")
        self.write(record(b"\x09" + struct.pack("<d", time.time()) + field(3, b"brain.Event:2")))

    def write(self, data):
        self.file.write(data)
        self.file.flush()

    def scalar(self, tag, value, step, wall_time=None):
        self.write(event(simple(tag, value), step=step, wall_time=wall_time))

    def scalar2(self, tag, value, step, **options):
        self.write(event(tensor(tag, value, **options), step=step))
