// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/resolver_errors.hpp"
#include "host/environment/setup_lines.hpp"
#include "host/environment/step.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace fs = std::filesystem;

namespace {

bool fits(std::string_view spec, std::string_view version) {
  const auto parsed = PythonVersionSpec::parse(spec);
  REQUIRE(parsed);
  return parsed->matches(*PythonVersion::parse(version));
}

void make_python(const fs::path& path, const std::string& version) {
  fs::create_directories(path.parent_path());
  const std::string text = "#!/bin/sh\necho " + version + "\necho 'build of " + version + "'\necho /nowhere\n";
  REQUIRE(base::write_file_atomic(path, text, 0700));
}

Error explained(std::string_view tool, std::string_view output) {
  return explain_failure({.tool = std::string(tool), .doing = "resolving", .exit_code = 1, .output = output});
}

}  // namespace

TEST_CASE("Python versions are matched as people mean them") {
  CHECK(fits("3.11", "3.11.7"));
  CHECK_FALSE(fits("3.1", "3.11.7"));
  CHECK(fits("==3.11.*", "3.11.0"));
  CHECK(fits(">=3.10,<3.13", "3.12.9"));
  CHECK_FALSE(fits(">=3.10,<3.13", "3.13.0"));
  CHECK(fits("~=3.10", "3.12.1"));
  CHECK_FALSE(fits("~=3.10.2", "3.11.0"));
  CHECK(fits("!=3.12.*,>=3.11", "3.13.0"));
  CHECK(fits("", "3.6.1"));
  CHECK_FALSE(PythonVersionSpec::parse("3.11rc"));
}

TEST_CASE("a version can be asked for in Python") {
  const auto expression = [](std::string_view spec) { return PythonVersionSpec::parse(spec).value().expression(); };
  CHECK(expression("") == "True");
  CHECK(expression("3.11") == "v[:2] == (3, 11)");
  CHECK(expression("==3.11.*") == "v[:2] == (3, 11)");
  CHECK(expression(">=3.11,<3.15") == "v[:2] >= (3, 11) and v[:2] < (3, 15)");
  CHECK(expression("~=3.10.2,!=3.10.4") == "v[:2] == (3, 10) and v[:3] >= (3, 10, 2) and v[:3] != (3, 10, 4)");
  CHECK(expression(">2,<=3") == "v[:1] > (2,) and v[:1] <= (3,)");
}

TEST_CASE("the newest Python that fits is found, the default one first") {
  const fs::path home = fs::temp_directory_path() / ("tc-py-" + base::random_hex(8));
  make_python(home / "bin/python3", "3.10.1");
  make_python(home / ".pyenv/versions/3.9.7/bin/python3", "3.9.7");
  make_python(home / ".pyenv/versions/3.9.18/bin/python3", "3.9.18");
  make_python(home / ".pyenv/shims/python3.9", "shim");
  Surroundings around{.path = (home / ".pyenv/shims").string() + ":" + (home / "bin").string(),
                      .home = home.string(),
                      .virtual_env = {},
                      .pyenv_root = (home / ".pyenv").string(),
                      .pyenv_version = {},
                      .cache = {}};
  CHECK(find_python("3.10", around, "/")->version.text() == "3.10.1");
  CHECK(find_python("", around, "/")->version.text() == "3.10.1");
  CHECK(find_python("3.9", around, "/")->version.text() == "3.9.18");
  CHECK(find_python("3.9.7", around, "/")->version.text() == "3.9.7");
  const auto missing = find_python("3.99", around, "/");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().hint.find("3.9.18") != std::string::npos);

  SECTION("a shim stands for what pyenv would choose in the folder") {
    make_python(home / ".pyenv/shims/python3", "shim");
    CHECK(default_python(around, home)->version.text() == "3.10.1");
    REQUIRE(base::write_file_atomic(home / ".python-version", "3.9\n"));
    CHECK(default_python(around, home / "sub")->version.text() == "3.9.18");
    around.pyenv_version = "3.9.7";
    CHECK(default_python(around, home)->version.text() == "3.9.7");
  }
  (void)base::remove_tree(home);
}

TEST_CASE("installed packages are read from their metadata folders") {
  const fs::path site = fs::temp_directory_path() / ("tc-site-" + base::random_hex(8));
  for (const char* name : {"scikit_learn-1.5.2.dist-info", "six-1.17.0.dist-info", "old-0.1-py3.11.egg-info", "six"}) {
    fs::create_directories(site / name);
  }
  CHECK(installed_packages({site.string(), "/nowhere"}) == "old==0.1\nscikit-learn==1.5.2\nsix==1.17.0\n");
  (void)base::remove_tree(site);
}

TEST_CASE("the resolver's own sentence comes first") {
  const Error now = explained("uv",
                              "error: No solution found when resolving dependencies\n  cause: Because there is no "
                              "version of a==9 and you require a==9, no.\n");
  CHECK(now.message == "Because there is no version of a==9 and you require a==9, no.");
  CHECK(now.code == Errc::cannot_start);
  const Error older = explained("uv",
                                "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version "
                                "of a==9 and you\n      require a==9, no.\n");
  CHECK(older.message == "Because there is no version of a==9 and you require a==9, no.");
  CHECK(missing_version(older.message)->version == "9");
  const Error pip = explained("pip",
                              "ERROR: Could not find a version that satisfies the requirement six==9 (from versions: "
                              "1.0, 1.1)\nERROR: No matching distribution found for six==9\n");
  CHECK(pip.message == "Could not find a version that satisfies the requirement six==9");
  CHECK(explained("uv", "error: x\n  cause: failed to write\n  cause: No space left on device (os error 28)\n").code ==
        Errc::store);
  const Error offline = explained("uv",
                                  "error: No solution found\n  cause: Because six was not found in the cache and you "
                                  "require six, no.\nhint: the network was disabled\n");
  CHECK(offline.code == Errc::unavailable);
  CHECK(offline.retryable);
  CHECK(explained("python -m venv",
                  "The virtual environment was not created successfully because ensurepip is not\navailable.")
            .hint.find("python3-venv") != std::string::npos);
  CHECK(explained("uv", "error: a\n  cause: Because scikit-lern was not found in the package registry, no.\n").hint ==
        "did you mean scikit-learn?");
  CHECK(explained("uv", "").message == "uv failed with exit code 1");
}

TEST_CASE("what is not there is found in the resolver's sentence") {
  const auto none =
      missing_version("Because only six<=1.17.0 is available and you require six==9.*, we can conclude …");
  REQUIRE(none);
  CHECK(none->name == "six");
  CHECK(none->version == "9");
  CHECK(
      missing_version("Because only the following versions of numpy are available:\n numpy<1.99.dev0\n and you require "
                      "numpy==1.99.*, we can …")
          ->version == "1.99");
  CHECK_FALSE(missing_version("Because a==1 depends on b<2 and you require b==3, we can conclude …"));
}

TEST_CASE("near versions surround the wanted one and name the newest") {
  const std::vector<std::string> all = {"1.0", "1.1", "1.10", "1.2", "2.0", "2.1rc1", "3.0"};
  CHECK(near_versions("1.5", all) == std::vector<std::string>{"1.1", "1.2", "1.10", "3.0"});
  CHECK(near_versions("99", all) == std::vector<std::string>{"2.0", "3.0"});
  CHECK(near_versions("0.1", all) == std::vector<std::string>{"1.0", "1.1", "1.2", "3.0"});
}

TEST_CASE("changes of variables keep the list they were added to open") {
  using namespace std::string_literals;
  const auto changes = diff_environments("PATH=/bin:/usr/bin\0A=1\0B=2\0SHLVL=1\0"s,
                                         "PATH=/cuda/bin:/bin:/usr/bin\0A=3\0NEW=x=y\0SHLVL=2\0"s);
  REQUIRE(changes.size() == 4);
  CHECK(apply_change(changes[0], "1") == "3");
  CHECK(apply_change(changes[1], "2") == std::nullopt);
  CHECK(apply_change(changes[2], std::nullopt) == "x=y");
  CHECK(apply_change(changes[3], "/home/bin:/bin") == "/cuda/bin:/home/bin:/bin");
  CHECK(apply_change(changes[3], std::nullopt) == "/cuda/bin");
  const auto again = changes_from_json(changes_to_json(changes));
  REQUIRE(again);
  CHECK(*again == changes);
}

TEST_CASE("a step's output is kept, its failure and its absence are told") {
  Step step{.argv = {"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}};
  step.capture_output = true;
  const auto result = run_step(step);
  REQUIRE(result);
  CHECK(result->exit_code == 3);
  CHECK(result->out == "out\n");
  CHECK(result->tail == "err\n");
  const auto missing = run_step({.argv = {"/nowhere/tool"}});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::not_found);
  Step slow{.argv = {"/bin/sleep", "60"}};
  slow.deadline = std::chrono::milliseconds(50);
  const auto late = run_step(slow);
  REQUIRE_FALSE(late);
  CHECK(late.error().code == Errc::timeout);
}
