// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/request.hpp"
#include "host/environment/requirements.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() : path(fs::temp_directory_path() / ("tc-env-" + base::random_hex(8))) { fs::create_directories(path); }
  ~Folder() { (void)base::remove_tree(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    fs::create_directories((path / name).parent_path());
    REQUIRE(base::write_file_atomic(path / name, text, mode));
    return path / name;
  }
  fs::path path;
};

// A python3 that answers the question a Python is asked: version, build, one folder.
std::string fake_python(const std::string& version) {
  return "#!/bin/sh\necho " + version + "\necho 'build of " + version + "'\necho /nowhere/site-packages\n";
}

Surroundings around(const Folder& folder) {
  return {.path = (folder.path / "bin").string(),
          .home = folder.path.string(),
          .virtual_env = {},
          .pyenv_root = (folder.path / ".pyenv").string(),
          .pyenv_version = {},
          .cache = {}};
}

}  // namespace

TEST_CASE("requirements are made self-contained") {
  Folder folder;
  folder.write("base/more.txt", "attrs >= 20  # why\n-c limits.txt\n");
  folder.write("base/limits.txt", "numpy<2\n");
  folder.write(
      "requirements.txt",
      "# head\nsix==1.17.0 \\\n    --hash=sha256:abc\n-r base/more.txt\n--extra-index-url https://pkgs.example/simple\n"
      "./wheels/x-1.0-py3-none-any.whl ; python_version > '3'\npkg @ https://example.org/p.zip#sha1=1\n");
  const auto found = read_requirements(folder.path / "requirements.txt");
  REQUIRE(found);
  const std::string wheel = (folder.path / "wheels/x-1.0-py3-none-any.whl").string();
  CHECK(found->text ==
        "six==1.17.0      --hash=sha256:abc\nattrs >= 20\n--extra-index-url https://pkgs.example/simple\n" + wheel +
            " ; python_version > '3'\npkg @ https://example.org/p.zip#sha1=1\n");
  CHECK(found->constraints == "numpy<2\n");
  REQUIRE(found->notes.size() == 1);
  CHECK(found->notes[0].find("requirements.txt:6") != std::string::npos);
  CHECK(count_requirements(found->text) == 4);
  CHECK(index_options(found->text) == "--extra-index-url https://pkgs.example/simple\n");
}

TEST_CASE("what cannot be built elsewhere is refused with its line") {
  Folder folder;
  const auto refusal = [&](const std::string& text) {
    const auto found = read_requirements(folder.write("r.txt", text));
    REQUIRE_FALSE(found);
    REQUIRE(found.error().at);
    return std::pair(found.error().at->line, found.error().message);
  };
  CHECK(refusal("six\n-e .\n").first == 2);
  CHECK(refusal("\n\n-r missing.txt\n").first == 3);
  CHECK(refusal("-r r.txt\n").second.find("includes itself") != std::string::npos);
  CHECK(refusal("-i https://me:secret@pkgs.example/simple\n").second.find("secret") == std::string::npos);
  CHECK(read_requirements(folder.write("r.txt", "-i https://me:${TOKEN}@pkgs.example/simple\nsix\n")));
}

TEST_CASE("a request survives JSON and has a stable key") {
  EnvironmentRequest request;
  request.kind = EnvironmentKind::packages;
  request.python = "3.11";
  request.packages = {"six==1.17.0", "attrs"};
  request.requirements = "numpy\n";
  request.setup = {"module load cuda/12"};
  request.variables = {{"A", "1"}};
  const auto again = environment_request_from_json(to_json(request));
  REQUIRE(again);
  CHECK(*again == request);
  const Platform platform{.system = "linux", .machine = "x86_64", .driver = "1"};
  const std::string key = request_key(request, platform);
  CHECK(key.size() == 64);
  CHECK(request_key(*again, platform) == key);
  CHECK(request_key(request, {.system = "linux", .machine = "aarch64", .driver = "1"}) != key);
  CHECK(request_key(request, {.system = "linux", .machine = "x86_64", .driver = "2"}) == key);
  request.torch_backend = "auto";
  CHECK(request_key(request, platform) !=
        request_key(request, {.system = "linux", .machine = "x86_64", .driver = "2"}));
  request.packages = {"six==1.17.0attrs"};
  CHECK(request_key(request, platform) != key);
  CHECK_FALSE(environment_request_from_json(Json{{"kind", "packages"}, {"new_field", 1}}));
  CHECK_FALSE(environment_request_from_json(Json{{"kind", "other"}}));
}

TEST_CASE("the default environment follows the rule and says which") {
  Folder folder;
  Surroundings surroundings = around(folder);
  folder.write("bin/python3", fake_python("3.12.4"), 0700);
  const fs::path source = folder.path / "src";
  fs::create_directories(source);

  auto found = make_request({}, source, surroundings);
  REQUIRE(found);
  CHECK(found->request.kind == EnvironmentKind::interpreter);
  CHECK(found->description == "python 3.12.4 on PATH (" + (folder.path / "bin/python3").string() + ")");

  EnvironmentInput remote;
  remote.local = false;
  CHECK(make_request(remote, source, surroundings)->request.kind == EnvironmentKind::system);

  folder.write("src/.venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.7\n");
  folder.write("src/.venv/bin/python", "#!/bin/sh\n", 0700);
  surroundings.virtual_env = (source / ".venv").string();
  found = make_request({}, source, surroundings);
  REQUIRE(found);
  CHECK(found->request.kind == EnvironmentKind::venv);
  CHECK(found->description == "python 3.11.7 from .venv (active)");

  folder.write("src/requirements.txt", "six\nattrs\n");
  found = make_request({}, source, surroundings);
  REQUIRE(found);
  CHECK(found->description == "requirements.txt: 2 packages (found in the source directory)");

  folder.write("src/pyproject.toml", "[project]\nname = \"demo\"\nrequires-python = \">=3.10\"\n");
  folder.write("src/uv.lock",
               "[[package]]\nname = \"demo\"\nsource = { virtual = \".\" }\n[[package]]\nname = \"six\"\n");
  found = make_request({}, source, surroundings);
  REQUIRE(found);
  CHECK(found->request.kind == EnvironmentKind::project);
  CHECK(found->request.python == ">=3.10");
  CHECK(found->description == "uv project (uv.lock): 1 package, python >=3.10");
}

TEST_CASE("a broken active venv is passed over and said") {
  Folder folder;
  Surroundings surroundings = around(folder);
  folder.write("bin/python", fake_python("3.9.1"), 0700);
  surroundings.virtual_env = (folder.path / "gone").string();
  const auto found = make_request({}, folder.path, surroundings);
  REQUIRE(found);
  CHECK(found->notes.size() == 1);
  CHECK(found->description.starts_with("python 3.9.1"));
}

TEST_CASE("contradicting and unsafe inputs are refused") {
  const Surroundings surroundings;
  EnvironmentInput input;
  input.venv = "/v";
  input.packages = {"six"};
  CHECK_FALSE(make_request(input, "/", surroundings));
  input = {};
  input.venv = "/v";
  input.conda_file = "/c";
  CHECK_FALSE(make_request(input, "/", surroundings));
  input = {};
  input.packages = {"six"};
  input.index_urls = {"https://me:secret@pkgs.example/"};
  CHECK_FALSE(make_request(input, "/", surroundings));
  input = {};
  input.packages = {"-e ."};
  CHECK_FALSE(make_request(input, "/", surroundings));
  input = {};
  input.python_version = "three";
  CHECK_FALSE(make_request(input, "/", surroundings));
}

TEST_CASE("a conda file is translated, or kept for conda") {
  Folder folder;
  EnvironmentInput input;
  input.conda_file = folder.write(
      "env.yml", "dependencies:\n- python=3.11\n- numpy=1.26\n- pip:\n  - -r more.txt\nvariables:\n  X: 1\n");
  folder.write("more.txt", "six\n");
  auto found = make_request(input, folder.path, around(folder));
  REQUIRE(found);
  CHECK(found->request.kind == EnvironmentKind::packages);
  CHECK(found->request.packages == std::vector<std::string>{"numpy==1.26.*", "six"});
  CHECK(found->request.variables.at("X") == "1");
  input.conda_file = folder.write("env.yml", "dependencies:\n- python=3.11\n- r-base\n");
  found = make_request(input, folder.path, around(folder));
  REQUIRE(found);
  CHECK(found->request.kind == EnvironmentKind::conda);
  CHECK(found->notes.front().find("r-base") != std::string::npos);
}
