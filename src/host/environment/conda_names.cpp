// SPDX-License-Identifier: Apache-2.0
// Names that differ between conda, the Python package index and `import`, and those that are the same in both.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/environment/conda.hpp"

namespace trainctl::host {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr std::array kRenamed = {
    Pair{"blas", ""},
    Pair{"dask-core", "dask"},
    Pair{"ipython_genutils", "ipython-genutils"},
    Pair{"keras-preprocessing", "Keras-Preprocessing"},
    Pair{"matplotlib-base", "matplotlib"},
    Pair{"msgpack-python", "msgpack"},
    Pair{"opencv", "opencv-python-headless"},
    Pair{"pillow-simd", "pillow"},
    Pair{"py-opencv", "opencv-python-headless"},
    Pair{"py-xgboost", "xgboost"},
    Pair{"py-xgboost-cpu", "xgboost-cpu"},
    Pair{"pytables", "tables"},
    Pair{"pytorch", "torch"},
    Pair{"pytorch-lightning", "pytorch-lightning"},
    Pair{"seaborn-base", "seaborn"},
    Pair{"tensorflow-base", "tensorflow"},
    Pair{"tensorflow-gpu", "tensorflow"},
};

constexpr std::array<std::string_view, 128> kSame = {
    "absl-py",
    "accelerate",
    "aiohttp",
    "albumentations",
    "altair",
    "attrs",
    "azure-identity",
    "azureml-core",
    "azureml-defaults",
    "beautifulsoup4",
    "bokeh",
    "boto3",
    "catboost",
    "cffi",
    "chainer",
    "click",
    "cloudpickle",
    "cython",
    "dask",
    "datasets",
    "dill",
    "diffusers",
    "einops",
    "fastapi",
    "filelock",
    "flask",
    "flax",
    "fsspec",
    "gensim",
    "h5py",
    "horovod",
    "huggingface_hub",
    "hydra-core",
    "hyperopt",
    "imageio",
    "imbalanced-learn",
    "ipykernel",
    "ipython",
    "jax",
    "jaxlib",
    "jinja2",
    "joblib",
    "jsonschema",
    "jupyter",
    "jupyterlab",
    "keras",
    "lightgbm",
    "lightning",
    "llvmlite",
    "lxml",
    "mako",
    "matplotlib",
    "mlflow",
    "mlflow-skinny",
    "mpi4py",
    "mypy",
    "networkx",
    "nltk",
    "notebook",
    "numba",
    "numexpr",
    "numpy",
    "onnx",
    "onnxruntime",
    "openpyxl",
    "optuna",
    "packaging",
    "pandas",
    "peft",
    "pillow",
    "pip",
    "plotly",
    "polars",
    "protobuf",
    "psutil",
    "pyarrow",
    "pydantic",
    "pytest",
    "python-dateutil",
    "pytz",
    "pyyaml",
    "ray",
    "regex",
    "requests",
    "rich",
    "safetensors",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "seaborn",
    "sentencepiece",
    "setuptools",
    "shap",
    "six",
    "skl2onnx",
    "spacy",
    "sqlalchemy",
    "statsmodels",
    "sympy",
    "tabulate",
    "tensorboard",
    "tensorboardx",
    "tensorflow",
    "tensorflow-cpu",
    "threadpoolctl",
    "timm",
    "tokenizers",
    "toml",
    "torch",
    "torchaudio",
    "torchmetrics",
    "torchvision",
    "tornado",
    "tqdm",
    "transformers",
    "typing-extensions",
    "umap-learn",
    "urllib3",
    "wandb",
    "wheel",
    "xarray",
    "xgboost",
    "xlrd",
    "xgboost-cpu",
    "yapf",
    "zarr",
    "zstandard",
    "evaluate",
};

constexpr std::array kModules = {
    Pair{"bs4", "beautifulsoup4"},
    Pair{"cv2", "opencv-python-headless"},
    Pair{"dateutil", "python-dateutil"},
    Pair{"dotenv", "python-dotenv"},
    Pair{"pil", "pillow"},
    Pair{"pytorch", "torch"},
    Pair{"skimage", "scikit-image"},
    Pair{"sklearn", "scikit-learn"},
    Pair{"yaml", "pyyaml"},
    Pair{"opencv", "opencv-python-headless"},
};

}  // namespace

std::string index_name(std::string_view conda_name) {
  for (const auto& [from, to] : kRenamed) {
    if (from == conda_name) return std::string(to);
  }
  const bool same = std::find(kSame.begin(), kSame.end(), conda_name) != kSame.end();
  return same ? std::string(conda_name) : std::string();
}

std::vector<std::string_view> well_known_packages() {
  return {kSame.begin(), kSame.end()};
}

std::string package_of_module(std::string_view module) {
  for (const auto& [from, to] : kModules) {
    if (from == module) return std::string(to);
  }
  return {};
}

}  // namespace trainctl::host
