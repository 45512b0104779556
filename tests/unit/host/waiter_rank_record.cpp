// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdlib.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.hpp"
#include "format/event.hpp"
#include "host/linux/process.hpp"
#include "host/waiter/rank_record.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace fs = std::filesystem;

namespace {

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "tc-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path path;
};

}  // namespace

TEST_CASE("a missing rank file is a rank that nobody started") {
  const Folder folder;
  const auto record = read_rank(folder.path / "rank-0.jsonl");
  REQUIRE(record);
  CHECK_FALSE(record->exists);
  CHECK_FALSE(record->started);
}

TEST_CASE("a fence is made once and leaves nothing beside it") {
  const Folder folder;
  const fs::path file = folder.path / "rank-0.jsonl";
  CHECK(fence_rank(file, 0).value());
  CHECK_FALSE(fence_rank(file, 0).value());
  const auto record = read_rank(file);
  REQUIRE(record);
  CHECK(record->exists);
  CHECK(record->fenced);
  CHECK_FALSE(record->started);
  CHECK(base::list_directory(folder.path)->size() == 1);
}

TEST_CASE("exits are read back as they were written; the first one counts") {
  const Folder folder;
  const fs::path file = folder.path / "rank-0.jsonl";
  auto writer = format::EventWriter::create(file);
  REQUIRE(writer);
  REQUIRE(append_exit(*writer, {.code = 137, .signal = SIGKILL}, "supervisor"));
  REQUIRE(append_exit(*writer, {.code = 0}));
  const auto record = read_rank(file);
  REQUIRE(record);
  REQUIRE(record->exit);
  CHECK(record->exit->signal == SIGKILL);
  CHECK(record->exit->code == 137);
  CHECK(record->exit->mono_ns > 0);
}

TEST_CASE("signals have names and numbers") {
  CHECK(signal_name(SIGKILL) == "SIGKILL");
  CHECK(signal_number("SIGUSR1") == SIGUSR1);
  CHECK(signal_number("TERM") == SIGTERM);
  CHECK(signal_number("9") == 9);
  CHECK_FALSE(signal_number("SIGNOPE"));
  CHECK_FALSE(signal_number("0"));
  CHECK_FALSE(signal_number("99"));
}
