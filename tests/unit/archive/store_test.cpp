// SPDX-License-Identifier: Apache-2.0
#include "archive/store.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/plan.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"
#include "unit/base/temp_dir.hpp"

namespace {

using namespace trainctl;
using archive::Store;

std::string add_run(const Store& store, const std::string& base) {
  format::Plan plan;
  plan.id = base::new_ulid();
  plan.name = store.claim_name(base, plan.id).value();
  plan.command.argv = {"true"};
  REQUIRE(store.create_run(plan, base::new_ulid()).has_value());
  return plan.id;
}

TEST_CASE("a store is private and refuses what is not ours") {
  const test::TempDir folder;
  const auto root = folder.path() / "store";
  const auto store = Store::open(root);
  REQUIRE(store.has_value());
  CHECK(std::filesystem::status(root).permissions() == std::filesystem::perms::owner_all);
  REQUIRE(::chmod(root.c_str(), 0777) == 0);
  CHECK(Store::open(root).error().code == Errc::denied);
  REQUIRE(::chmod(root.c_str(), 0700) == 0);
  REQUIRE(base::write_file_atomic(root / "format.json", "{\"format\":999}\n").has_value());
  const auto newer = Store::open(root);
  REQUIRE_FALSE(newer.has_value());
  CHECK(newer.error().code == Errc::store);
}

TEST_CASE("runs are found by every way to name them") {
  const test::TempDir folder;
  const auto store = Store::open(folder.path() / "store").value();
  CHECK(store.resolve("@").error().code == Errc::not_found);
  const std::string first = add_run(store, "digits");
  const std::string second = add_run(store, "digits");
  const std::string third = add_run(store, "resnet");
  CHECK(store.resolve("@").value() == third);
  CHECK(store.resolve("@2").value() == second);
  CHECK(store.resolve("@4").error().code == Errc::not_found);
  CHECK(store.resolve("digits-1").value() == first);
  CHECK(store.resolve("digits").value() == second);
  CHECK(store.resolve(first).value() == first);
  CHECK(store.resolve(first.substr(first.size() - 6)).value() == first);
  CHECK(store.resolve("digts").error().hint.starts_with("did you mean digits?"));
  CHECK(store.resolve("../digits").error().code == Errc::not_found);
  CHECK(store.resolve("0").error().code == Errc::invalid);  // the beginning of all three
  const std::string unsaid = base::new_ulid();              // its submit is at work: a folder, and no plan yet
  CHECK(store.claim_name("digits", unsaid).value() == "digits-3");
  std::filesystem::create_directories(store.run(unsaid).root);
  CHECK(store.resolve("digits-3").error().code == Errc::not_found);
  CHECK(store.resolve("digits").value() == second);
  REQUIRE(store.remove_run(second).has_value());
  CHECK(store.resolve("digits").value() == first);
  CHECK(store.claim_name("digits", base::new_ulid()).value() == "digits-4");
}

TEST_CASE("many processes never get the same name") {
  const test::TempDir folder;
  const auto store = Store::open(folder.path() / "store").value();
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int n = 0; n < 25; ++n) {
        if (!store.claim_name("digits", base::new_ulid())) ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  std::set<std::string> ids;
  for (int n = 1; n <= 200; ++n)
    ids.insert(base::read_file(store.paths().names() / "digits" / std::to_string(n)).value());
  CHECK(ids.size() == 200);
}

}  // namespace
