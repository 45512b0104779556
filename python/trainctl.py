# SPDX-License-Identifier: Apache-2.0
"""Metrics, parameters, texts and files of a trainctl run.

    import trainctl

    trainctl.log_params(lr=0.1, model="svc")
    for step in range(100):
        trainctl.log(loss=0.3, step=step)
        trainctl.log({"val/loss": 0.1, "val/accuracy": 0.9}, step=step)
    trainctl.log_text("note", "converged early")
    trainctl.log_file("confusion.png")
    model.save(trainctl.outputs("model.bin"))

One file, standard library only, Python 3.6 or newer. trainctl puts it on PYTHONPATH; copy it next to your script if you
like: outside a run every call does nothing. No call raises because of its arguments, the disk or the folder: what goes
wrong is said once on stderr and the training goes on.

Written are JSON lines to $TRAINCTL_METRICS/script-r<rank>.jsonl. The file is opened with O_APPEND and a call is one
write(2) without any buffer (several when it is longer than 4,096 bytes), so SIGKILL loses nothing, and threads and forked
processes may log at the same time. A line has at most 4,096 bytes and is one of:

    {"t":1795400881.123456,"step":1,"name":"loss","value":0.3,"rank":0}
    {"type":"param","t":...,"name":"lr","value":0.1,"rank":0}
    {"type":"text","t":...,"step":null,"name":"note","text":"...","rank":0}
    {"type":"file","t":...,"name":"confusion.png","bytes":1234,"rank":0}

t: seconds since 1970 (UTC). step: a whole number or null. value of a metric: a number, or "NaN", "Infinity",
"-Infinity". value of a parameter: any JSON; "truncated":true follows when it was too long. text: the whole text, or its
beginning, and then "file" names the whole text below the outputs folder. name of a file: its path below the outputs
folder. Empty lines mean nothing; readers skip lines that they do not know.
"""

import os as _os
from _thread import allocate_lock as _allocate_lock
from os import write as _write
from time import time as _time

__all__ = ["log", "log_params", "log_text", "log_file", "outputs", "run_id"]

MAX_LINE = 4096  # bytes, with the newline
MAX_NAME = 250  # characters; escaped, one is at most 12 bytes

_RETRY_SECONDS = 5.0  # between two tries to open a file that could not be opened
_HIGH_FD = 512  # our descriptor lies above those of the script, see _open
_EXACT = 1 << 53

_fd = -1  # the metrics file; -1: not open (not yet, not any more, or outside a run)
_retry_at = 0.0
_torn = False  # the file may end in the middle of a line
_tail = ',"rank":0}\n'
_names = {}  # metric name -> its escaped piece of a line
_warned = set()
_lock = _allocate_lock()


def log(metrics=None, step=None, **values):
    """Log values: log(loss=0.3, step=1) or log({"val/loss": 0.1}, step=1). numpy, torch and other one-element numbers
    are taken as what their item() gives."""
    data = b""
    try:
        fd = _fd
        if fd < 0:
            fd = _open()
            if fd < 0:
                return
        if metrics is not None:
            values = _merge(metrics, values)
        if step is None:
            head = '{"t":%.6f,"step":null,"name":' % _time()
        elif type(step) is int and -_EXACT < step < _EXACT:
            head = '{"t":%.6f,"step":%d,"name":' % (_time(), step)
        else:
            head = '{"t":%.6f,"step":%s,"name":' % (_time(), _whole(step))
        tail = _tail
        lines = ""
        for name, value in values.items():
            piece = _names.get(name)
            if piece is None:
                piece = _name_piece(name)
            kind = type(value)
            if kind is float and value - value == 0.0:  # false for infinities and NaN
                text = repr(value)
            elif kind is int and -_EXACT < value < _EXACT:
                text = repr(value)
            else:
                text = _number(name, value)
                if text is None:
                    continue
            line = head + piece + text + tail
            if lines and len(lines) + len(line) > MAX_LINE:
                _append(lines.encode("ascii"))
                lines = line
            else:
                lines += line
        if lines:
            data = lines.encode("ascii")
            written = -1 if _torn else _write(fd, data)
            if written != len(data):
                _mend(data, written)
    except OSError as error:
        _failed(error, data)
    except Exception as error:  # never break a training
        _warn("log", "could not log: %r" % (error,))


def log_params(params=None, **values):
    """Record parameters of the run: log_params(lr=0.1) or log_params({"optim/lr": 0.1}) or log_params(args) with an
    argparse namespace. A value is any JSON; what is not JSON is recorded as its text."""
    try:
        if _fd < 0 and _open() < 0:
            return
        if params is not None:
            if not hasattr(params, "items") and hasattr(params, "__dict__"):
                params = vars(params)
            values = _merge(params, values)
        for name, value in values.items():
            head = '{"type":"param","t":%.6f,"name":%s,"value":' % (_time(), _escape_name(name))
            text = _plain(value)
            room = MAX_LINE - len(head) - len(_tail)
            if len(text) > room:
                text = _cut(text, room - len(',"truncated":true')) + ',"truncated":true'
            _append((head + text + _tail).encode("ascii"))
    except Exception as error:
        _warn("log_params", "could not log parameters: %r" % (error,))


def log_text(name, text, step=None):
    """Record a text. One that does not fit into a line is kept whole below outputs/texts."""
    try:
        if _fd < 0 and _open() < 0:
            return
        text = text if isinstance(text, str) else str(text)
        step = "null" if step is None else _whole(step)
        head = '{"type":"text","t":%.6f,"step":%s,"name":%s,"text":' % (_time(), step, _escape_name(name))
        escaped = _dumps(text) if len(text) <= MAX_LINE else None
        if escaped is None or len(head) + len(escaped) + len(_tail) > MAX_LINE:
            more = ""
            if _os.environ.get("TRAINCTL_OUTPUTS"):
                more = ',"file":' + _dumps(_keep_text(name, text, step))
            more += ',"truncated":true'
            escaped = _cut(text[:MAX_LINE], MAX_LINE - len(head) - len(more) - len(_tail)) + more
        _append((head + escaped + _tail).encode("ascii"))
    except Exception as error:
        _warn("log_text", "could not log the text %r: %r" % (name, error))


def log_file(path, name=None):
    """Copy a file or a folder into the run's outputs, under its own name or `name` ("plots/roc.png"). A file that lies
    there already is only recorded. Returns where it lies now, None outside a run."""
    try:
        folder = _os.environ.get("TRAINCTL_OUTPUTS")
        if not folder:
            return None
        import shutil

        source = _os.path.realpath(_os.fspath(path))
        folder = _os.path.realpath(folder)
        inside = _os.path.relpath(source, folder)
        if name is None:
            here = inside != ".." and not inside.startswith(".." + _os.sep)
            name = inside if here else _os.path.basename(_os.path.normpath(_os.fspath(path)))
        name = _os.path.normpath(_os.fspath(name))
        if _os.path.isabs(name) or name in (".", "..") or name.startswith(".." + _os.sep):
            _warn("log_file", "%r is not a path below the outputs folder" % (name,))
            return None
        target = _os.path.join(folder, name)
        if target != source:
            _os.makedirs(_os.path.dirname(target), exist_ok=True)
            if _os.path.isdir(source):
                _copy_tree(shutil, source, target, folder)
            else:
                partial = "%s.%d.partial" % (target, _os.getpid())
                try:
                    shutil.copy2(source, partial)
                    _os.replace(partial, target)
                except BaseException:
                    _unlink(partial)
                    raise
        size = _size(target)
        if _fd >= 0 or _open() >= 0:
            line = '{"type":"file","t":%.6f,"name":%s,"bytes":%d%s' % (_time(), _dumps(_clean(name)), size, _tail)
            if len(line) <= MAX_LINE:
                _append(line.encode("ascii"))
        return target
    except Exception as error:
        _warn("log_file", "could not keep the file %r: %s" % (path, error))
        return None


def run_id():
    """The id of the run, None outside one."""
    return _os.environ.get("TRAINCTL_RUN_ID") or None


def outputs(*parts):
    """The folder whose files are kept after the run, or a path in it: outputs("models", "best.bin"); the folders are
    made. Outside a run it is ./outputs."""
    path = _os.path.join(_os.environ.get("TRAINCTL_OUTPUTS") or _os.path.abspath("outputs"), *parts)
    try:
        _os.makedirs(_os.path.dirname(path) if parts else path, exist_ok=True)
    except OSError as error:
        _warn("outputs", "could not make the outputs folder: %s" % (error,))
    return path


# Below: the slow paths. They are kept out of log() so that a call with plain numbers costs little more than its write.


def _warn(key, text):
    """Says a thing once per process. stderr itself may be closed or full."""
    if key in _warned:
        return
    _warned.add(key)
    try:
        _write(2, ("trainctl: %s (said once)\n" % (text,)).encode("utf-8", "replace"))
    except Exception:
        pass


def _merge(first, more):
    if hasattr(first, "items"):
        if not more:
            return first
        both = dict(first)
        both.update(more)
        return both
    both = {"metrics": first}  # log(metrics=0.5): a metric of that name
    both.update(more)
    return both


def _dumps(value):
    import json

    return json.dumps(value, ensure_ascii=True)


def _clean(text):
    """Without lone surrogates, which no strict JSON reader accepts."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _escape_name(name):
    text = _clean(name if isinstance(name, str) else str(name))
    if len(text) > MAX_NAME:
        import zlib

        mark = "~%08x" % (zlib.crc32(text.encode("utf-8")) & 0xFFFFFFFF)
        _warn("name", "a name of %d characters was cut to %d: %s..." % (len(text), MAX_NAME, text[:40]))
        text = text[: MAX_NAME - len(mark)] + mark
    return _dumps(text)


def _name_piece(name):
    piece = _escape_name(name) + ',"value":'
    if len(_names) >= 10000:  # a script that makes up names without end must not grow
        _names.clear()
    _names[name] = piece
    return piece


def _float_text(value):
    if value != value:
        return '"NaN"'
    if value in (float("inf"), float("-inf")):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    return repr(value)


def _number(name, value):
    """A number as JSON, or None (said once per name) when it is none."""
    try:
        if not isinstance(value, (int, float)):
            item = getattr(value, "item", None)
            value = item() if item is not None else value
            if isinstance(value, (str, bytes, complex)) or value is None:
                raise TypeError("not a number")
        if isinstance(value, int):
            value = int(value)
            if -_EXACT < value < _EXACT:
                return repr(value)
        try:
            return _float_text(float(value))  # float(): a subclass may have a repr of its own
        except OverflowError:
            return '"Infinity"' if value > 0 else '"-Infinity"'
    except Exception as error:
        _warn(("value", str(name)[:100]), "metric %s: a %s is no number: %s" % (name, type(value).__name__, error))
        return None


def _whole(step):
    """A step as JSON."""
    try:
        if not isinstance(step, (int, float)) and hasattr(step, "item"):
            step = step.item()
        whole = int(step)
        if whole != step:
            _warn("step", "steps are whole numbers: %r was taken as %d" % (step, whole))
        if not -(1 << 63) <= whole < 1 << 63:
            raise OverflowError("out of range")
        return "%d" % whole
    except Exception as error:
        _warn("step", "the step %.100r is not a whole number: %s" % (step, error))
        return "null"


def _plain(value):
    """Any value as JSON text."""
    if isinstance(value, float):
        return _float_text(float(value))
    if not isinstance(value, (str, int, bool, list, tuple, dict)) and hasattr(value, "item"):
        try:
            value = value.item()
        except Exception:
            pass
    if isinstance(value, str):
        return _dumps(_clean(value))
    import json

    try:
        text = json.dumps(value, ensure_ascii=True, default=str, allow_nan=False)
        if "\\ud" not in text:  # no surrogate in it, be it half a pair
            return text
    except Exception:
        pass
    return _dumps(_clean(str(value)))


def _cut(text, room):
    """`text` as a JSON string of at most `room` bytes."""
    text = _clean(text[: max(0, room)])
    escaped = _dumps(text)
    while len(escaped) > room and text:
        text = text[: int(len(text) * (room / float(len(escaped))))]
        escaped = _dumps(text)
    return escaped


def _keep_text(name, text, step):
    """Writes a long text below the outputs; its path there."""
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in str(name))[:80].lstrip(".") or "text"
    relative = "texts/%s%s.txt" % (safe, "" if step == "null" else "-" + step)
    path = outputs(*relative.split("/"))
    with open(path, "w", encoding="utf-8", errors="replace", newline="") as file:
        file.write(text)
    return relative


def _copy_tree(shutil, source, target, outputs_folder):
    """copytree that may run twice and does not copy the outputs into themselves."""
    for folder, folders, files in _os.walk(source):
        folders[:] = [f for f in folders if _os.path.realpath(_os.path.join(folder, f)) != outputs_folder]
        there = _os.path.normpath(_os.path.join(target, _os.path.relpath(folder, source)))
        _os.makedirs(there, exist_ok=True)
        for file in files:
            shutil.copy2(_os.path.join(folder, file), _os.path.join(there, file))


def _size(path):
    if not _os.path.isdir(path):
        return _os.path.getsize(path)
    return sum(_os.path.getsize(_os.path.join(f, n)) for f, _, names in _os.walk(path) for n in names)


def _unlink(path):
    try:
        _os.unlink(path)
    except OSError:
        pass


def _rank():
    for name in ("TRAINCTL_RANK", "RANK"):
        text = _os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return 0


def _open():
    """Opens the metrics file; -1 outside a run, or when it cannot be opened (tried again every few seconds)."""
    global _fd, _retry_at, _tail
    if _retry_at and _time() < _retry_at:
        return -1
    folder = _os.environ.get("TRAINCTL_METRICS")
    if not folder:
        _retry_at = float("inf")
        return -1
    with _lock:
        if _fd >= 0:
            return _fd
        rank = _rank()
        try:
            _os.makedirs(folder, 0o700, exist_ok=True)
            path = _os.path.join(folder, "script-r%d.jsonl" % rank)
            fd = _os.open(path, _os.O_RDWR | _os.O_CREAT | _os.O_APPEND | _os.O_CLOEXEC, 0o600)
        except Exception as error:
            _retry_at = _time() + _RETRY_SECONDS
            _warn("open", "metrics are not recorded: %s" % (error,))
            return -1
        fd = _move_up(fd)
        try:
            end = _os.fstat(fd).st_size
            if end and _os.pread(fd, 1, end - 1) != b"\n":  # a killed process before us left half a line
                _write(fd, b"\n")
        except OSError:
            pass
        _tail = ',"rank":%d}\n' % rank
        _fd = fd
        return fd


def _move_up(fd):
    """The same file under a high number. A script that closes all its descriptors (daemons do) and opens files of its own
    gets the lowest numbers: so its file never takes the number that we write to."""
    try:
        import fcntl

        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD)
    except Exception:
        return fd
    _os.close(fd)
    return high


def _append(data):
    """Writes whole lines; what fails is said once."""
    try:
        written = -1 if _torn else _write(_fd, data)
        if written != len(data):
            _mend(data, written)
    except OSError as error:
        _failed(error, data)


def _mend(data, written):
    """After a short write (a full disk): end the torn line, so that the next one is whole, and write what is missing.
    `written` is -1 when the line was torn by an earlier call."""
    global _torn
    if written < 0:
        data = b"\n" + data
    elif data[written : written + 1] == b"\n":
        data = data[written:]
    else:
        begin = data.rfind(b"\n", 0, written) + 1
        data = b"\n" + data[begin:] if begin < written else data[begin:]
    _torn = True  # until the write below went well: it may raise
    _torn = _write(_fd, data) != len(data)
    if _torn:
        _warn("disk", "metrics are lost: the disk is full")


def _failed(error, data):
    """A write failed. A closed descriptor is opened again, everything else is said once."""
    global _fd
    import errno

    try:
        if error.errno == errno.EBADF and data:
            _fd = -1
            fd = _open()
            if fd >= 0:
                _write(fd, data)
                return
        _warn("disk", "metrics are lost: %s" % (error,))
    except Exception as again:
        _warn("disk", "metrics are lost: %s" % (again,))


def _after_fork():
    """A child gets its own descriptor: it may close all that it inherited, and its rank may be another."""
    global _fd, _retry_at, _torn, _lock
    fd, _fd = _fd, -1
    _retry_at, _torn, _lock = 0.0, False, _allocate_lock()
    if fd >= 0:
        try:
            _os.close(fd)
        except OSError:
            pass


if hasattr(_os, "register_at_fork"):  # Python 3.7; before, a child shares the descriptor, which O_APPEND allows
    _os.register_at_fork(after_in_child=_after_fork)
