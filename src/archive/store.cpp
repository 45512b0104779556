// SPDX-License-Identifier: Apache-2.0
#include "archive/store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/removal.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::archive {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 63;
constexpr const char* kOtherHome = "set TRAINCTL_HOME to a writable directory";

Result<fs::path> default_home() {
  if (const auto home = base::get_env("TRAINCTL_HOME"); home && !home->empty()) return fs::absolute(*home);
  if (const auto data = base::get_env("XDG_DATA_HOME"); data && data->starts_with('/'))
    return fs::path(*data) / "trainctl";
  if (const auto home = base::get_env("HOME"); home && home->starts_with('/')) {
    return fs::path(*home) / ".local" / "share" / "trainctl";
  }
  return fail(Errc::store, "neither TRAINCTL_HOME, XDG_DATA_HOME nor HOME says where to keep runs",
              "set TRAINCTL_HOME");
}

Result<> check_owner(const fs::path& root) {
  struct stat status{};
  if (::stat(root.c_str(), &status) != 0) return fail_errno("use the store " + root.string(), errno);
  if (!S_ISDIR(status.st_mode))
    return fail(Errc::store, root.string() + " is not a directory", "set TRAINCTL_HOME to a directory");
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::denied,
                "the store " + root.string() + " belongs to uid " + std::to_string(status.st_uid) + ", not to you",
                "set TRAINCTL_HOME to a directory of your own");
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(Errc::denied, "others may write to the store " + root.string(),
                "chmod go-w " + base::shell_quote(root.string()));
  }
  return {};
}

Result<> check_format(const format::StorePaths& paths) {
  TRY_ASSIGN(const auto text, base::read_file_if_exists(paths.format()));
  if (!text) {
    const Json mark = {{"format", kStoreFormat}, {"made_by", version()}};
    auto marked = base::write_file_atomic(paths.format(), base::dump_json(mark) + "\n");
    // A store that can only be read is read; who means to write is told by check_writable.
    return marked || !base::exists(paths.runs()) ? marked : Result<>{};
  }
  const auto json = base::parse_json(*text);
  const auto number = json && json->is_object() ? json->value("format", Json(nullptr)) : Json(nullptr);
  if (!number.is_number_integer()) {
    return fail(Errc::store, paths.format().string() + " is damaged", "trainctl store check");
  }
  if (number.get<int>() > kStoreFormat) {
    return fail(Errc::store,
                "the store " + paths.root.string() + " has format " + std::to_string(number.get<int>()) +
                    ", this trainctl knows up to " + std::to_string(kStoreFormat),
                "upgrade trainctl");
  }
  return {};
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_mark(char c) {
  return c == '.' || c == '_' || c == '-';
}

std::optional<int> to_number(std::string_view text) {
  int number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

int highest_number(const fs::path& folder) {
  const auto names = base::list_directory(folder);
  int highest = 0;
  if (!names) return highest;
  for (const std::string& name : *names) highest = std::max(highest, to_number(name).value_or(0));
  return highest;
}

}  // namespace

Result<Store> Store::open(const std::optional<fs::path>& home) {
  fs::path root;
  if (home) {
    root = fs::absolute(*home);
  } else {
    TRY_ASSIGN(root, default_home());
  }
  Store store(format::StorePaths{root});
  if (!base::exists(root)) {
    auto made = base::make_directories(root);
    if (!made) {
      Error error = std::move(made).error().with_context("make the store").with_hint(kOtherHome);
      error.code = Errc::store;
      return fail(std::move(error));
    }
  }
  TRY(check_owner(root));
  TRY(check_format(store.paths_));
  return store;
}

Result<> Store::check_writable() const {
  if (::faccessat(AT_FDCWD, paths_.root.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return {};
  Error error = system_error("write to the store " + paths_.root.string(), errno).with_hint(kOtherHome);
  error.code = Errc::store;
  return fail(std::move(error));
}

Result<std::string> Store::claim_name(const std::string& base, const std::string& id) const {
  const fs::path folder = paths_.names() / base;
  TRY(base::make_directories(folder));
  // The hint saves listing a folder of 100,000 names; it may be stale or missing, the O_EXCL claim alone decides.
  const auto hint = base::read_file_if_exists(folder / ".next", 64);
  int number = hint && *hint ? to_number(base::trim(**hint)).value_or(0) : 0;
  if (number == 0) number = highest_number(folder) + 1;
  for (;; ++number) {
    TRY_ASSIGN(const bool claimed, base::create_exclusive(folder / std::to_string(number), id + "\n"));
    if (claimed) break;
  }
  // The claim stands without its hint: a hint that cannot be written only costs the next claim a listing.
  (void)base::write_file_atomic(folder / ".next", std::to_string(number + 1));
  return base + "-" + std::to_string(number);
}

Result<format::RunPaths> Store::create_run(const format::Plan& plan, const std::string& client) const {
  format::RunPaths run = paths_.run(plan.id);
  auto recorded = [&]() -> Result<> {
    TRY(base::make_directories(run.clients()));
    TRY_ASSIGN(auto writer, format::EventWriter::create(run.client(client)));
    TRY(writer.append("intent", {{"client", version()}, {"pid", ::getpid()}, {"machine", base::machine_id()}}));
    // A sync commits whatever the file system's journal holds, so the order decides how many commits there are: two
    // this way, one for the files and one for the plan's name, which is what makes the folder a run.
    base::start_sync(writer.fd());
    TRY(base::write_file_durable(run.plan(), base::dump_json(format::to_json(plan)) + "\n"));
    TRY(writer.sync());
    TRY(base::sync_directory(run.clients()));
    return base::sync_directory(paths_.runs());
  }();
  if (!recorded) {
    (void)base::remove_tree(run.root);  // half a record (the disk is full) is none: nobody was told of it
    return fail(std::move(recorded).error());
  }
  return run;
}

Result<std::vector<std::string>> Store::run_ids() const {
  TRY_ASSIGN(auto names, base::list_directory(paths_.runs()));
  std::erase_if(names, [](const std::string& name) { return !base::is_ulid(name); });
  return names;
}

Result<> Store::remove_run(const std::string& id) const {
  TRY(format::remove_run(paths_, id));
  return {};
}

Result<std::size_t> Store::sweep_removed() const {
  return format::sweep_removed(paths_);
}

bool is_valid_name(std::string_view text) {
  if (text.empty() || text.size() > kLongestName) return false;
  return is_alphanumeric(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || is_mark(c); });
}

std::string to_valid_name(std::string_view text) {
  std::string name;
  for (const char c : text) {
    if (is_alphanumeric(c) || (is_mark(c) && !name.empty())) {
      name += c;
    } else if (!is_mark(c) && !name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  if (name.size() > kLongestName) name.resize(kLongestName);
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name.empty() ? "run" : name;
}

}  // namespace trainctl::archive
