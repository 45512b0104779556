// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/control.hpp"

#include <unistd.h>

#include <string>
#include <utility>

#include "../base/temp_dir.hpp"
#include "base/child_process.hpp"
#include "base/file.hpp"
#include "support/catch.hpp"

using namespace trainctl;

namespace {

/// A process that /proc shows as `name` with `arguments`; it lasts until its stdin closes.
base::ChildProcess shown_as(const std::string& name, const std::string& arguments) {
  const std::string script = "exec -a '" + name + "' bash -c 'echo; read -r line' " + arguments;
  auto child = base::ChildProcess::start({.argv = {"bash", "-c", script}});
  REQUIRE(child);
  char first = 0;
  while (::read(child->out(), &first, 1) != 1) REQUIRE_FALSE(child->wait_ms(10));
  return std::move(*child);
}

}  // namespace

TEST_CASE("masters are ended by the folder they belong to, with a socket there or without") {
  const test::TempDir temp;
  const auto folder = temp.path() / "0123abcd";
  const auto other = temp.path() / "0123abcde";
  REQUIRE(base::make_directories(folder));
  auto titled = shown_as("ssh: " + (folder / "f00").string() + " [mux]", "");
  auto connecting = shown_as("ssh", "-N -o ControlPath=" + (folder / "%C").string());
  auto others = shown_as("ssh: " + (other / "f00").string() + " [mux]", "");
  auto session = shown_as("ssh", "-o ControlPath=" + (folder / "%C").string());
  REQUIRE(base::write_file_atomic(folder / "f00", ""));

  CHECK(target::end_masters(folder) == 2);
  CHECK(titled.wait_ms(10000));
  CHECK(connecting.wait_ms(10000));
  CHECK_FALSE(others.wait_ms(0));
  CHECK_FALSE(session.wait_ms(0));
  CHECK_FALSE(target::has_master(folder));
  CHECK(target::end_masters(folder) == 0);
}

TEST_CASE("ending masters where there is no folder ends none") {
  const test::TempDir temp;
  CHECK(target::end_masters(temp.path() / "none") == 0);
}
