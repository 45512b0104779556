// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/environment/conda.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

CondaFile parsed(std::string_view text) {
  auto file = parse_conda_file(text, "environment.yml");
  REQUIRE(file);
  return *std::move(file);
}

CondaTranslation translated(std::vector<std::string> dependencies) {
  CondaFile file;
  file.dependencies = std::move(dependencies);
  return translate_conda(file);
}

}  // namespace

TEST_CASE("a conda file as people write it") {
  const CondaFile file = parsed(R"(# made by hand
name: "digits"   # a name
channels:
- conda-forge
- defaults
dependencies:
  - python=3.11
  - conda-forge::scikit-learn>=1.3,<2   # pinned loosely
  - pip
  - pip:
    - six==1.17.0
    - "attrs>=20; python_version > '3'"
variables:
  OMP_NUM_THREADS: 2
  NAME: 'a # b'
prefix: /nowhere
)");
  CHECK(file.name == "digits");
  CHECK(file.channels == std::vector<std::string>{"conda-forge", "defaults"});
  CHECK(file.dependencies == std::vector<std::string>{"python=3.11", "conda-forge::scikit-learn>=1.3,<2", "pip"});
  CHECK(file.pip == std::vector<std::string>{"six==1.17.0", "attrs>=20; python_version > '3'"});
  CHECK(file.variables.at("OMP_NUM_THREADS") == "2");
  CHECK(file.variables.at("NAME") == "a # b");

  const CondaTranslation result = translate_conda(file);
  CHECK(result.python == "==3.11.*");
  CHECK(result.packages ==
        std::vector<std::string>{"scikit-learn>=1.3,<2", "six==1.17.0", "attrs>=20; python_version > '3'"});
  CHECK(result.untranslated.empty());
  CHECK(result.notes.size() == 1);
}

TEST_CASE("a pip list may be indented like its item, and lists may stand on one line") {
  const CondaFile file =
      parsed("channels: [conda-forge, defaults]\ndependencies:\n- python\n- pip:\n  - six\n  - attrs\n- numpy\n");
  CHECK(file.channels.size() == 2);
  CHECK(file.dependencies == std::vector<std::string>{"python", "numpy"});
  CHECK(file.pip == std::vector<std::string>{"six", "attrs"});
}

TEST_CASE("conda versions become PEP 440") {
  const auto first = [](const std::string& item) {
    const auto result = translated({item});
    return result.packages.empty() ? "untranslated" : result.packages.front();
  };
  CHECK(first("numpy") == "numpy");
  CHECK(first("numpy=1.26") == "numpy==1.26.*");
  CHECK(first("numpy==1.26.4") == "numpy==1.26.4");
  CHECK(first("numpy=1.26.4=py311h64a7726_0") == "numpy==1.26.4");
  CHECK(first("numpy 1.26.*") == "numpy==1.26.*");
  CHECK(first("numpy 1.26.4 py311h64a7726_0") == "numpy==1.26.4");
  CHECK(first("numpy >=1.20, <2") == "numpy>=1.20,<2");
  CHECK(first("conda-forge::numpy=1.26") == "numpy==1.26.*");
  CHECK(first("numpy=1.2|1.3") == "untranslated");
  CHECK(first("matplotlib-base") == "matplotlib");
  CHECK(first("gcc_linux-64") == "untranslated");
}

TEST_CASE("torch builds are chosen by the backend") {
  const auto cuda = translated({"pytorch=2.3", "pytorch-cuda=11.8"});
  CHECK(cuda.packages == std::vector<std::string>{"torch==2.3.*"});
  CHECK(cuda.torch_backend == "cu118");
  CHECK(translated({"pytorch", "cpuonly"}).torch_backend == "cpu");
  CHECK(translated({"cudatoolkit=11.8"}).untranslated.size() == 1);
}

TEST_CASE("YAML that conda files do not use is refused with its place") {
  const auto line_of = [](std::string_view text) {
    const auto file = parse_conda_file(text, "environment.yml");
    REQUIRE_FALSE(file);
    REQUIRE(file.error().at);
    return file.error().at->line;
  };
  CHECK(line_of("name: x\ndependencies: {a: b}\n") == 2);
  CHECK(line_of("name: x\n- y\n") == 2);
  CHECK(line_of("dependencies:\n  - a\n   - b\n") == 3);
  CHECK(line_of("name: |\n  x\n") == 1);
  const auto typo = parse_conda_file("dependences:\n- a\n", "e.yml");
  REQUIRE_FALSE(typo);
  CHECK(typo.error().message.find("did you mean \"dependencies\"") != std::string::npos);
}
