# SPDX-License-Identifier: Apache-2.0
"""The part of azureml.core that training scripts use: Run. Other names can be imported; using them says what is
missing."""

from azureml.core.run import Run

__all__ = ["Run"]
__version__ = VERSION = "1.0.0+trainctl"


class _Missing:
    """Stands for a class of the SDK that needs the Azure ML service."""

    def __init__(self, name):
        self._name = name

    def _refuse(self):
        raise RuntimeError(
            "azureml.core.%s needs the Azure ML SDK, which this environment does not have: add azureml-core to its packages "
            "(trainctl's stand-in has Run only)" % self._name
        )

    def __call__(self, *args, **kwargs):
        self._refuse()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __repr__(self):
        return "<azureml.core.%s: not available>" % self._name


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(name)
    return _Missing(name)
