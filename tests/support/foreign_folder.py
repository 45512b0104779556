# SPDX-License-Identifier: Apache-2.0
"""A file system like a home on a file server: BACKING seen at MOUNTPOINT through FUSE. Needs root and /dev/fuse.

    foreign_folder.py BACKING MOUNTPOINT [--no-locks] [--quota-used-up FILE] [--late-bytes]

What it has in common with NFS: statfs says that it is remote; a change made in BACKING (another machine) is seen at the next
look but is no inotify event; --no-locks answers every flock with ENOLCK, as a server without a lock daemon does. While
FILE exists, nothing may grow and nothing new be made (EDQUOT); removing goes. --late-bytes: of a log that has just grown
the size is told at once, its last byte 0.3 s after it was asked for first. Ends when it is unmounted. The protocol is that of linux/fuse.h, version 7.31; nodes are O_PATH descriptors, so names may change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import time

HEADER, REPLY = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
AUTO_INVALIDATE, BIG_WRITES, DO_NOT_MASK, ATOMIC_TRUNCATE, FLOCK = 1 << 12, 1 << 5, 1 << 6, 1 << 3, 1 << 10
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME, SET_HANDLE, NOW_ATIME, NOW_MTIME = (1 << n for n in range(9))
DIRECT_IO = 1 << 0  # of an open file
MAX_WRITE = 128 << 10


class ForeignFolder:
    def __init__(self, device: int, backing: str, locks: bool, quota_used_up: str | None, late_bytes: bool):
        self.device, self.locks, self.quota_used_up, self.late_bytes = device, locks, quota_used_up, late_bytes
        self.asked: dict[int, tuple[int, float]] = {}  # node of a log -> its size, and since when its last bytes are asked for
        root = os.open(backing, os.O_PATH | os.O_DIRECTORY)
        self.nodes = {1: root}  # node -> descriptor
        self.known = {self.key(root): [1, 1]}  # (device, inode) -> [node, how often the kernel looked it up]
        self.last = 1
        self.folders: dict[int, list[bytes]] = {}  # an open folder's entries, as of its opening

    @staticmethod
    def key(fd: int) -> tuple[int, int]:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino

    @staticmethod
    def is_log(handle: int) -> bool:
        return os.readlink(f"/proc/self/fd/{handle}").endswith(".log")

    def path(self, node: int) -> str:
        return f"/proc/self/fd/{self.nodes[node]}"

    # -- answers ---------------------------------------------------------------------------------------------------------

    def attributes(self, fd: int) -> bytes:
        s = os.fstat(fd)
        times = (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        return ATTRIBUTES.pack(s.st_ino, s.st_size, s.st_blocks, *(t // 10**9 for t in times), *(t % 10**9 for t in times),
                               s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_rdev, s.st_blksize, 0)

    def entry(self, parent: int, name: bytes) -> bytes:
        """Looks a name up; nothing is cached by the kernel."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.nodes[parent])
        key = self.key(fd)
        if key in self.known:
            os.close(fd)
            self.known[key][1] += 1
        else:
            self.last += 1
            self.known[key], self.nodes[self.last] = [self.last, 1], fd
        node = self.known[key][0]
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(self.nodes[node])

    def forget(self, node: int, times: int) -> None:
        if node == 1 or node not in self.nodes:
            return
        key = self.key(self.nodes[node])
        self.known[key][1] -= times
        if self.known[key][1] <= 0:
            del self.known[key]
            os.close(self.nodes.pop(node))

    # -- requests --------------------------------------------------------------------------------------------------------

    def init(self, node: int, body: bytes) -> bytes:
        flags = AUTO_INVALIDATE | BIG_WRITES | DO_NOT_MASK | ATOMIC_TRUNCATE | (0 if self.locks else FLOCK)
        offered = struct.unpack_from("<I", body, 12)[0]
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, flags & offered, 12, 9, MAX_WRITE, 1, 0, 0, 0, *[0] * 7)

    def lookup(self, node: int, body: bytes) -> bytes:
        return self.entry(node, body.rstrip(b"\0"))

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attributes(self.nodes[node])

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, handle, size, _, atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = struct.unpack("<IIQQQQQQ3IIIIII", body)
        path, status = self.path(node), os.fstat(self.nodes[node])
        if valid & SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (SET_UID | SET_GID):
            os.chown(path, uid if valid & SET_UID else -1, gid if valid & SET_GID else -1)
        if valid & SET_SIZE:
            os.truncate(handle if valid & SET_HANDLE else path, size)
        if valid & (SET_ATIME | SET_MTIME):
            times = {} if valid & (NOW_ATIME | NOW_MTIME) else {"ns": (
                atime * 10**9 + atime_ns if valid & SET_ATIME else status.st_atime_ns,
                mtime * 10**9 + mtime_ns if valid & SET_MTIME else status.st_mtime_ns)}
            os.utime(path, **times)
        return self.getattr(node, b"")

    def readlink(self, node: int, body: bytes) -> bytes:
        return os.fsencode(os.readlink("", dir_fd=self.nodes[node]))

    def symlink(self, node: int, body: bytes) -> bytes:
        name, target = body.split(b"\0")[:2]
        os.symlink(target, name, dir_fd=self.nodes[node])
        return self.entry(node, name)

    def mknod(self, node: int, body: bytes) -> bytes:
        mode, device, umask, _ = struct.unpack_from("<IIII", body)
        name = body[16:].rstrip(b"\0")
        os.mknod(name, mode & ~umask, device, dir_fd=self.nodes[node])
        return self.entry(node, name)

    def mkdir(self, node: int, body: bytes) -> bytes:
        mode, umask = struct.unpack_from("<II", body)
        name = body[8:].rstrip(b"\0")
        os.mkdir(name, mode & ~umask, dir_fd=self.nodes[node])
        return self.entry(node, name)

    def unlink(self, node: int, body: bytes) -> bytes:
        os.unlink(body.rstrip(b"\0"), dir_fd=self.nodes[node])
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        os.rmdir(body.rstrip(b"\0"), dir_fd=self.nodes[node])
        return b""

    def rename(self, node: int, body: bytes, at: int = 8) -> bytes:
        old, new = body[at:].split(b"\0")[:2]
        os.rename(old, new, src_dir_fd=self.nodes[node], dst_dir_fd=self.nodes[struct.unpack_from("<Q", body)[0]])
        return b""

    def rename2(self, node: int, body: bytes) -> bytes:
        if struct.unpack_from("<I", body, 8)[0]:
            raise OSError(errno.EINVAL, "flags")  # as NFS does
        return self.rename(node, body, 16)

    def link(self, node: int, body: bytes) -> bytes:
        name = body[8:].rstrip(b"\0")
        os.link(self.path(struct.unpack_from("<Q", body)[0]), name, dst_dir_fd=self.nodes[node], follow_symlinks=True)
        return self.entry(node, name)

    def open(self, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        handle = os.open(self.path(node), flags | os.O_CLOEXEC)
        # The kernel would take a short answer for the end of the file and fill its page with zeros.
        return struct.pack("<QII", handle, DIRECT_IO if self.late_bytes and self.is_log(handle) else 0, 0)

    def create(self, node: int, body: bytes) -> bytes:
        flags, mode, umask, _ = struct.unpack_from("<IIII", body)
        name = body[16:].rstrip(b"\0")
        fd = os.open(name, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode & ~umask & 0o7777, dir_fd=self.nodes[node])
        return self.entry(node, name) + struct.pack("<QII", fd, 0, 0)

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        data = os.pread(handle, size, offset)
        whole = os.fstat(handle).st_size
        if self.late_bytes and offset + len(data) == whole and self.is_log(handle):
            size, since = self.asked.get(node, (0, 0.0))
            if size != whole:
                since = time.monotonic()
                self.asked[node] = whole, since
            if time.monotonic() < since + 0.3:
                return data[:-1]
        return data

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40:40 + size], offset), 0)

    def release(self, node: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def fsync(self, node: int, body: bytes) -> bytes:
        os.fsync(struct.unpack_from("<Q", body)[0])
        return b""

    def nothing(self, node: int, body: bytes) -> bytes:
        return b""

    def opendir(self, node: int, body: bytes) -> bytes:
        fd = os.open(self.path(node), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.folders[fd] = [b".", b"..", *map(os.fsencode, os.listdir(fd))]
        return struct.pack("<QII", fd, 0, 0)

    def readdir(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        answer = b""
        for at, name in enumerate(self.folders[handle][offset:], offset + 1):
            item = struct.pack("<QQII", 1, at, len(name), 0) + name
            item += bytes(-len(item) % 8)
            if len(answer) + len(item) > size:
                break
            answer += item
        return answer

    def releasedir(self, node: int, body: bytes) -> bytes:
        self.folders.pop(struct.unpack_from("<Q", body)[0], None)
        return self.release(node, body)

    def statfs(self, node: int, body: bytes) -> bytes:
        s = os.fstatvfs(self.nodes[1])
        return struct.pack("<5Q10I", s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, s.f_bsize, 255, s.f_frsize, *[0] * 7)

    def lock(self, node: int, body: bytes) -> bytes:
        raise OSError(errno.ENOLCK, "no locks here")

    HANDLERS = {1: lookup, 3: getattr, 4: setattr, 5: readlink, 6: symlink, 8: mknod, 9: mkdir, 10: unlink, 11: rmdir, 12: rename,
                13: link, 14: open, 15: read, 16: write, 17: statfs, 18: release, 20: fsync, 25: nothing, 26: init, 27: opendir,
                28: readdir, 29: releasedir, 30: fsync, 31: lock, 32: lock, 33: lock, 35: create, 38: nothing, 45: rename2}

    NEEDS_QUOTA = {6, 8, 9, 16, 35}  # symlink, mknod, mkdir, write, create

    def answer(self, request: bytes) -> bytes | None:
        _, operation, unique, node, *_ = HEADER.unpack_from(request)
        body = request[HEADER.size:]
        if operation == 2:
            return self.forget(node, struct.unpack("<Q", body)[0])
        if operation == 42:
            for at in range(8, 8 + 16 * struct.unpack_from("<I", body)[0], 16):
                self.forget(*struct.unpack_from("<QQ", body, at))
            return None
        if operation == 36:
            return None
        try:
            handler = self.HANDLERS.get(operation)
            if handler is None:
                raise OSError(errno.ENOSYS, "not known")
            if operation in self.NEEDS_QUOTA and self.quota_used_up and os.path.exists(self.quota_used_up):
                raise OSError(errno.EDQUOT, "no more")
            data = handler(self, node, body)
            return REPLY.pack(REPLY.size + len(data), 0, unique) + data
        except OSError as error:
            return REPLY.pack(REPLY.size, -(error.errno or errno.EIO), unique)

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, MAX_WRITE + 4096)
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno == errno.ENOENT:  # the caller was interrupted before we saw its request
                    continue
                return  # ENODEV: unmounted
            answer = self.answer(request)
            if answer is not None:
                try:
                    os.write(self.device, answer)
                except FileNotFoundError:  # nobody waits for it any more
                    pass


def main() -> None:
    backing, mountpoint = sys.argv[1:3]
    quota = sys.argv[sys.argv.index("--quota-used-up") + 1] if "--quota-used-up" in sys.argv else None
    os.umask(0)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"foreign", os.fsencode(mountpoint), b"fuse", 6, options.encode()) != 0:  # nosuid, nodev
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    ForeignFolder(device, backing, "--no-locks" not in sys.argv, quota, "--late-bytes" in sys.argv).serve()


if __name__ == "__main__":
    main()
