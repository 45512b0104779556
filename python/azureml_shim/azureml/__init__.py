# SPDX-License-Identifier: Apache-2.0
"""trainctl's stand-in for the Azure ML SDK v1: `from azureml.core import Run` works without azureml-core.

Its folder is the last one on PYTHONPATH, which still comes before site-packages. So the choice is made here, where it
is known which Python runs: when the real `azureml.core` can be found anywhere else on sys.path, it takes this module's
place in sys.modules and nothing of this folder is used. When only other parts of azureml are installed, they stay
importable next to our `azureml.core`.
"""

import os as _os
import sys as _sys


def _give_way():
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = _os.path.realpath(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__))))
    rest = [p for p in _sys.path if _os.path.realpath(p or _os.curdir) != here]
    spec = PathFinder.find_spec("azureml", rest)
    if spec is None or spec.submodule_search_locations is None:
        return []
    places = list(spec.submodule_search_locations)
    if PathFinder.find_spec("azureml.core", places) is None:
        return places
    _sys.path[:] = rest  # also the parts that the real package looks for on sys.path are its own
    if _os.environ.get("TRAINCTL_METRICS"):
        try:  # tells trainctl that what the real package prints is worth reading
            _os.close(_os.open(_os.path.join(_os.environ["TRAINCTL_METRICS"], "azureml.printed"), _os.O_CREAT | _os.O_WRONLY, 0o600))
        except OSError:
            pass
    module = module_from_spec(spec)
    _sys.modules["azureml"] = module
    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
        spec.loader.exec_module(module)
    return []


__path__ = list(__path__) + _give_way()
