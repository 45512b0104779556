// SPDX-License-Identifier: Apache-2.0
// What an environment may contain.
#include "spec/bind.hpp"
#include "spec/run_configuration.hpp"
#include "spec/run_tables.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {
namespace {
void path(Type& type) {
  type.path = true;
}
void path_or_name(Type& type) {
  type.path = type.needs_slash = true;
}
}  // namespace

template <>
const Table& table_of<PythonEnvironment>() {
  using T = PythonEnvironment;
  static const Table table{
      .name = "python",
      .doc =
          "Which Python, and which packages. One of: an interpreter, a venv, a version with packages or a requirements "
          "file, a conda file, a uv project.",
      .fields =
          {
              field("interpreter", &T::interpreter,
                    "Use this Python as it is: a path, or a name found on the target's PATH. Nothing is installed.",
                    path_or_name),
              field("venv", &T::venv, "Use this virtual environment as it is. Nothing is installed.", path),
              field("version", &T::version,
                    "Python version to build with, as text: \"3.11\", \"3.11.7\" or \">=3.10,<3.13\"."),
              field("packages", &T::packages, "Packages to install, as pip writes them: \"scikit-learn==1.5.2\"."),
              field("conda_packages", &T::conda_packages,
                    "More packages, as conda writes them: \"scipy=1.11\". Those with a known counterpart on the Python "
                    "package index."),
              field("build_constraints", &T::build_constraints,
                    "Versions of what packages without a wheel are built with: \"setuptools==65.5.1\"."),
              field("requirements_file", &T::requirements_file, "A pip requirements file.", path),
              field("conda_file", &T::conda_file, "A conda environment file.", path),
              field("project", &T::project, "Folder of a project with pyproject.toml and uv.lock, installed as locked.",
                    path),
              field("groups", &T::groups, "Dependency groups of the project."),
              field("extras", &T::extras, "Extras of the project."),
              field("index_urls", &T::index_urls,
                    "Package indexes, the first one first. Credentials belong in secrets."),
              field("torch_backend", &T::torch_backend,
                    "Which PyTorch build: \"auto\" (by the GPU found), \"cpu\" or \"cu124\" and the like."),
          },
      .aliases = {{"pip_packages", "packages"},
                  {"python_version", "version"},
                  {"interpreter_path", "interpreter"},
                  {"pip_requirements_file", "requirements_file"},
                  {"conda_dependencies_file", "conda_file"}}};
  return table;
}

template <>
const Table& table_of<ContainerBuild>() {
  using T = ContainerBuild;
  static const Table table{
      .name = "container build",
      .doc = "What the image is built from, before the run starts; what has not changed is not built again.",
      .fields =
          {
              field("dockerfile", &T::dockerfile, "The Dockerfile; default: \"Dockerfile\" in the context.", path),
              field("context", &T::context, "The folder its COPY lines count from; default: that of the Dockerfile.",
                    path),
          },
      .aliases = {{"dockerfile_path", "dockerfile"}},
      .shorthand = "dockerfile"};
  return table;
}

template <>
const Table& table_of<ContainerRegistry>() {
  using T = ContainerRegistry;
  static const Table table{
      .name = "container registry",
      .doc = "Who may take the image from its registry; without it the engine's own logins are used.",
      .fields = {
          field("address", &T::address, "Host of the registry; default: the first part of the image's name."),
          field("username", &T::username, "User name."),
          field("password_secret", &T::password_secret, "Name of the secret with the password."),
      }};
  return table;
}

template <>
const Table& table_of<ContainerEnvironment>() {
  using T = ContainerEnvironment;
  static const Table table{
      .name = "container",
      .doc = "The container image the run happens in, with docker or podman: an image, or what builds one.",
      .fields =
          {
              field("image", &T::image, "Image name with tag or digest."),
              field("build", &T::build, "Build the image; a text is the Dockerfile."),
              field("engine", &T::engine,
                    "Which program runs it; default: docker when its daemon answers, else podman.",
                    [](Type& type) {
                      type.kind = Type::Kind::word;
                      type.words = {"docker", "podman"};
                    }),
              field("arguments", &T::arguments, "More arguments for the engine's run command."),
              field("shm_size", &T::shm_size, "Size of /dev/shm; default: that of the host."),
              field("volumes", &T::volumes,
                    "More folders of the host: \"/data:/data:ro\". The run's own folders and its inputs are there "
                    "anyway."),
              field("registry", &T::registry, "Who may take the image from its registry."),
              field("gpus", &T::gpus, "Give it the run's GPUs; default: when resources.gpus is more than 0."),
          },
      .aliases = {{"base_image", "image"},
                  {"docker_args", "arguments"},
                  {"dockerfile", "build.dockerfile"},
                  {"context", "build.context"}},
      .shorthand = "image"};
  return table;
}

template <>
const Table& table_of<Environment>() {
  using T = Environment;
  static const Table table{
      .name = "environment",
      .doc =
          "What is built and hashed: Python and packages, container image, setup lines. A text is a reference to a "
          "JSON "
          "file with these fields.",
      .fields =
          {
              field("reference", &T::reference, "A JSON file with the environment.", path),
              field("python", &T::python, "Python and packages."),
              field(
                  "setup", &T::setup,
                  "Lines a login shell runs once before the script; the variables they change are kept: \"module load "
                  "cuda/12\"."),
              field("container", &T::container, "Run in this container image; a text is the image."),
              word_field("build", &T::build, {{"submit_host", BuildOn::submit_host}, {"job", BuildOn::job}},
                         "Where it is built for a job of Slurm: on the submit host, or in the job; default: as the "
                         "target's slurm.environment_build says. Other targets build on the host that runs."),
          },
      .aliases = {{"image", "container.image"},
                  {"conda_file", "python.conda_file"},
                  {"pip_packages", "python.packages"}},
      .shorthand = "reference"};
  return table;
}

const Table& environment_table() {
  return table_of<Environment>();
}

}  // namespace trainctl::spec
