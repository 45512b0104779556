# SPDX-License-Identifier: Apache-2.0
"""azureml.core.Run for runs of trainctl: standard library only, Python 3.7 or newer.

Written are lines of docs/metrics.md to $TRAINCTL_METRICS/azureml-r<rank>.jsonl, each by one write(2), and files below
$TRAINCTL_OUTPUTS. What a script logs or uploads never raises, be it because of the disk, the folder or its arguments: what
goes wrong is said once on stderr and the training goes on. Outside a run of trainctl the SDK's offline run is imitated: it
prints.
"""

import functools
import json
import os
import shutil
import threading
import time

_MAX_LINE = 4096
_lock = threading.Lock()
_file = -1
_warned = set()


def _warn(key, text):
    """Says a thing once per process. stderr itself may be closed or full."""
    if key in _warned:
        return
    _warned.add(key)
    try:
        os.write(2, ("trainctl (azureml): %s (said once)\n" % text).encode("utf-8", "replace"))
    except Exception:
        pass


def _never_raises(method):
    """For what only records: no training ends because of it."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            _warn((method.__name__, type(error)), "%s: nothing was recorded: %s" % (method.__name__, error))

    return guarded


def _rank():
    for name in ("TRAINCTL_RANK", "RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def _write(line):
    global _file
    folder = os.environ.get("TRAINCTL_METRICS")
    if not folder:
        return
    line["rank"] = _rank()
    data = (json.dumps(line, separators=(",", ":")) + "\n").encode("ascii")
    if len(data) > _MAX_LINE:
        return _warn("long", "a line of more than 4,096 bytes was left out: %.60s" % line.get("name"))
    try:
        with _lock:
            if _file < 0:
                os.makedirs(folder, 0o700, exist_ok=True)
                path = os.path.join(folder, "azureml-r%d.jsonl" % _rank())
                _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if os.write(_file, data) != len(data):
                os.write(_file, b"\n")
                raise OSError("the disk is full")
    except OSError as error:
        _warn("disk", "metrics are not recorded: %s" % error)


def _after_fork():
    global _file, _lock
    _lock = threading.Lock()
    if _file >= 0:
        os.close(_file)
        _file = -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _plain(value):
    """numpy, torch and other one-element numbers as Python's own."""
    if not isinstance(value, (bool, int, float, str)) and hasattr(value, "item"):
        try:
            return value.item()
        except (ValueError, RuntimeError, TypeError):
            pass
    return value


def _number(value):
    """The value as the JSON of a metric line; None when it is no number."""
    value = _plain(value)
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        value = float(value) if not isinstance(value, int) or abs(value) > 1 << 53 else int(value)
    except OverflowError:
        return None
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _as_list(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple, set, range)) or hasattr(value, "__iter__") and not isinstance(value, (str, dict)) else [value]


def _safe(path):
    path = os.path.normpath(str(path))
    if os.path.isabs(path) or path in (".", "..") or path.startswith(".." + os.sep):
        raise ValueError("%r is not a path below the outputs" % (path,))
    return path


def _keep(target, write):
    """`write` fills a file beside the target, which becomes the target when it is whole; its ending stays for savefig."""
    base, ending = os.path.splitext(target)
    partial = "%s.%d.partial%s" % (base, os.getpid(), ending)
    try:
        write(partial)
        os.replace(partial, target)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise


def _write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


class _Nothing:
    """run.experiment.workspace: there is no workspace."""

    def __init__(self, name="trainctl"):
        self.name = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError("run.experiment.workspace.%s: a run of trainctl has no Azure ML workspace" % name)


class _Experiment:
    def __init__(self, name):
        self.name, self.id, self.workspace = name, name, _Nothing()


class Run:
    """A run of trainctl with the methods of azureml.core.Run that scripts call while they train."""

    def __init__(self, experiment=None, run_id=None, _prefix="", _parent=None, **_):
        self._id = run_id or os.environ.get("TRAINCTL_RUN_ID", "run")
        self._prefix, self.parent = _prefix, _parent
        self._metrics, self._tables, self._rows = {}, {}, {}
        self._tags, self._properties, self._children = {}, {}, []
        self._status = "Running"
        self.experiment = experiment or _Experiment(os.environ.get("TRAINCTL_EXPERIMENT", "Default"))

    _context = None

    @classmethod
    def get_context(cls, allow_offline=True, used_for_context_manager=False, **_):
        """The run this process belongs to."""
        if Run._context is None:
            if os.environ.get("TRAINCTL_RUN_ID"):
                Run._context = Run()
            elif allow_offline:
                Run._context = _OfflineRun()
            else:
                raise RunEnvironmentException("this is not a run of trainctl (or of Azure ML)")
        return Run._context

    # -- what it is

    @property
    def id(self):
        return self._id

    run_id = id

    @property
    def name(self):
        return self._prefix.rstrip("/") or os.environ.get("TRAINCTL_RUN_NAME", self._id)

    display_name = name

    @property
    def number(self):
        tail = self.name.rsplit("-", 1)[-1]
        return int(tail) if tail.isdigit() else 1

    @property
    def type(self):
        return "trainctl"

    @property
    def status(self):
        return self._status

    def get_status(self):
        return self._status

    def get_details(self):
        return {"runId": self._id, "status": self._status, "properties": dict(self._properties), "tags": dict(self._tags),
                "inputDatasets": [], "outputDatasets": [], "logFiles": {}}

    @property
    def input_datasets(self):
        """The run's inputs by name: their paths."""
        return _ByName("TRAINCTL_INPUT_")

    @property
    def output_datasets(self):
        return _ByName("TRAINCTL_OUTPUT_")

    # -- metrics

    @_never_raises
    def log(self, name, value, description="", step=None):
        seen = self._metrics.setdefault(name, [])
        plain = _plain(value)
        seen.append(plain)
        number = _number(plain)
        if number is None:
            return self._text(name, plain)
        self._point(name, number, len(seen) - 1 if step is None else int(step))

    @_never_raises
    def log_list(self, name, value, description=""):
        values = [_plain(v) for v in _as_list(value)]
        seen = self._metrics.setdefault(name, [])
        first = len(seen)
        seen.extend(values)
        for step, one in enumerate(values, first):
            number = _number(one)
            if number is not None:
                self._point(name, number, step)

    @_never_raises
    def log_row(self, name, description=None, **kwargs):
        self._row(name, kwargs)

    @_never_raises
    def log_table(self, name, value, description=""):
        columns = {column: _as_list(values) for column, values in value.items()}
        for row in range(max([len(values) for values in columns.values()] or [0])):
            self._row(name, {column: values[row] for column, values in columns.items() if row < len(values)})

    @_never_raises
    def log_image(self, name, path=None, plot=None, description=""):
        if path is None and plot is None:
            raise ValueError("log_image needs a path or a plot")
        target = self._output("images", *_safe("%s%s" % (name, os.path.splitext(path)[1] if path else ".png")).split(os.sep))
        if path is not None:
            _keep(target, lambda partial: shutil.copyfile(path, partial))
        else:
            _keep(target, plot.savefig)
        self._note(target)

    @_never_raises
    def log_confusion_matrix(self, name, value, description=""):
        self._document(name, value)

    log_accuracy_table = log_residuals = log_predictions = log_confusion_matrix

    def get_metrics(self, name=None, recursive=False, **_):
        every = dict(self._tables)  # a name that was logged both ways shows its values
        every.update((key, value if len(value) != 1 else value[0]) for key, value in self._metrics.items())
        return every if name is None else {key: value for key, value in every.items() if key == name}

    # -- tags

    @_never_raises
    def tag(self, key, value=None):
        self._tags[key] = value
        _write({"type": "tag", "t": time.time(), "name": self._prefix + str(key), "value": None if value is None else str(value)})

    @_never_raises
    def set_tags(self, tags):
        for key, value in tags.items():
            self.tag(key, value)

    @property
    def tags(self):
        return dict(self._tags)

    def get_tags(self):
        return dict(self._tags)

    @_never_raises
    def remove_tags(self, tags):
        for key in [tags] if isinstance(tags, str) else tags:
            self._tags.pop(key, None)

    @_never_raises
    def add_properties(self, properties):
        self._properties.update(properties)

    @property
    def properties(self):
        return dict(self._properties)

    def get_properties(self):
        return dict(self._properties)

    # -- files

    @_never_raises
    def upload_file(self, name, path_or_stream, datastore_name=None):
        target = self._output(*self._below(name).split("/"))
        if hasattr(path_or_stream, "read"):
            data = path_or_stream.read()
            _keep(target, lambda partial: _write_file(partial, data.encode() if isinstance(data, str) else data))
        elif os.path.realpath(path_or_stream) != os.path.realpath(target):
            _keep(target, lambda partial: shutil.copyfile(path_or_stream, partial))
        self._note(target)

    @_never_raises
    def upload_files(self, names, paths, return_artifacts=False, timeout_seconds=None, datastore_name=None):
        for name, path in zip(names, paths):
            self.upload_file(name, path)

    @_never_raises
    def upload_folder(self, name, path, datastore_name=None):
        if not os.path.isdir(path):
            raise NotADirectoryError("%s is no folder" % path)
        outputs = os.path.realpath(self._output())
        sources = []  # all of them before the first copy, which may lie in the same folder
        for folder, folders, files in os.walk(path):
            folders[:] = [f for f in folders if os.path.realpath(os.path.join(folder, f)) != outputs]
            sources += [os.path.join(folder, file) for file in files]
        for source in sources:
            self.upload_file(os.path.join(name, os.path.relpath(source, path)), source)

    def download_file(self, name, output_file_path=None, **_):
        target = output_file_path or os.path.basename(name)
        if os.path.isdir(target):
            target = os.path.join(target, os.path.basename(name))
        shutil.copyfile(self._output(*self._below(name).split("/")), target)

    def get_file_names(self):
        root = self._output()
        return sorted("outputs/" + os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/")
                      for folder, _, files in os.walk(root) for file in files)

    @_never_raises
    def register_model(self, model_name, model_path=None, tags=None, **_):
        self.tag("azureml.registered_model", model_name)

    # -- how it ends: trainctl goes by the exit code of the process

    def start(self):
        self._status = "Running"

    def complete(self, _set_status=True):
        self._status = "Completed"

    @_never_raises
    def fail(self, error_details=None, error_code=None, _set_status=True):
        self._status = "Failed"
        if error_details is not None:
            self._text("azureml.error", str(error_details))

    def cancel(self):
        self._status = "Canceled"

    def flush(self, timeout_seconds=300):
        pass

    def wait_for_completion(self, show_output=False, wait_post_processing=False, raise_on_error=True):
        return self.get_details()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.complete() if kind is None else self.fail(value)

    # -- children: their metrics get the child's name in front

    def child_run(self, name=None, run_id=None, outputs=None):
        name = str(name or "child-%d" % (len(self._children) + 1)).replace("/", "_")
        child = Run(self.experiment, run_id or "%s_%d" % (self._id, len(self._children)), self._prefix + name + "/", self)
        self._children.append(child)
        return child

    def create_children(self, count=None, tag_key=None, tag_values=None):
        children = [self.child_run() for _ in range(count if count is not None else len(tag_values or []))]
        for child, value in zip(children, tag_values or []):
            child.tag(tag_key, value)
        return children

    def get_children(self, *_, **__):
        return iter(self._children)

    # -- below

    def _row(self, name, columns):
        row = self._rows.get(name, 0)
        self._rows[name] = row + 1
        table = self._tables.setdefault(name, {})
        for column, value in columns.items():
            value = _plain(value)
            table.setdefault(column, []).append(value)
            number = _number(value)
            if number is None:
                self._text("%s/%s" % (name, column), value, row)
            else:
                self._point("%s/%s" % (name, column), number, row)

    def _point(self, name, number, step):
        _write({"t": round(time.time(), 6), "step": step, "name": (self._prefix + str(name))[:250], "value": number})

    def _text(self, name, text, step=None):
        _write({"type": "text", "t": time.time(), "step": step, "name": (self._prefix + str(name))[:250], "text": str(text)[:500]})

    def _output(self, *parts):
        path = os.path.join(os.environ.get("TRAINCTL_OUTPUTS") or os.path.abspath("outputs"), *parts)
        os.makedirs(os.path.dirname(path) if parts else path, exist_ok=True)
        return path

    def _below(self, name):
        name = _safe(name).replace(os.sep, "/")
        return name[len("outputs/"):] if name.startswith("outputs/") else name

    def _note(self, path):
        name = os.path.relpath(path, self._output()).replace(os.sep, "/")
        _write({"type": "file", "t": time.time(), "name": name, "bytes": os.path.getsize(path)})

    def _document(self, name, value):
        target = self._output("%s.json" % str(name).replace("/", "_"))
        text = value if isinstance(value, str) else json.dumps(value, default=_json_default)
        _keep(target, lambda partial: _write_file(partial, text.encode("utf-8", "replace")))
        self._note(target)


def _json_default(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)


class _ByName(dict):
    """Variables with a prefix, by what follows it in any case."""

    def __init__(self, prefix):
        super().__init__((k[len(prefix):].lower(), v) for k, v in os.environ.items() if k.startswith(prefix))

    def __missing__(self, name):
        key = str(name).replace("-", "_").lower()
        if key == name or key not in self:
            raise KeyError(name)
        return self[key]


class _OfflineRun(Run):
    """As azureml-core behaves outside a run: what is logged is printed."""

    def __init__(self, *args, **kwargs):
        super().__init__(run_id="OfflineRun_%d" % os.getpid())

    def log(self, name, value, description="", step=None):
        super().log(name, value, description, step)
        print("Attempted to log scalar metric %s:\n%s" % (name, value))

    def child_run(self, name=None, run_id=None, outputs=None):
        return self


class RunEnvironmentException(Exception):
    pass


_SubmittedRun = Run


def get_run(experiment=None, run_id=None, **_):
    return Run.get_context()
