// SPDX-License-Identifier: Apache-2.0
#include "host/waiter/rank_record.hpp"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

template <class T>
T number_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_integer() ? found->get<T>() : T{};
}

RankExit read_exit(const Json& line) {
  RankExit exit;
  exit.code = number_of<int>(line, "code");
  if (const std::string name = text_of(line, "signal"); !name.empty()) {
    exit.signal = signal_number(name).value_or(0);
    exit.code = 128 + exit.signal;
  }
  exit.cause = text_of(line, "cause");
  exit.message = text_of(line, "message");
  const auto retryable = line.find("retryable");
  exit.retryable = retryable != line.end() && retryable->is_boolean() && retryable->get<bool>();
  exit.mono_ns = number_of<std::uint64_t>(line, "mono_ns");
  return exit;
}

}  // namespace

Result<RankRecord> read_rank(const std::filesystem::path& path) {
  RankRecord record;
  TRY_ASSIGN(const auto text, base::read_file_if_exists(path));
  if (!text) return record;
  record.exists = true;
  for (const Json& line : format::parse_lines(*text)) {
    const std::string type = text_of(line, "type");
    if (type == "fenced") record.fenced = true;
    if (type == "exit" && !record.exit) record.exit = read_exit(line);
    if (type != "start") continue;
    record.started = true;
    record.machine = text_of(line, "machine");
    record.boot = text_of(line, "boot");
    record.pidns = text_of(line, "pidns");
    record.process = {number_of<pid_t>(line, "pid"), number_of<std::uint64_t>(line, "starttime")};
    record.waiter = {number_of<pid_t>(line, "waiter"), number_of<std::uint64_t>(line, "waiter_starttime")};
  }
  return record;
}

RankExit exit_of_status(int wait_status) {
  RankExit exit;
  if (WIFSIGNALED(wait_status)) exit.signal = WTERMSIG(wait_status);
  exit.code = WIFSIGNALED(wait_status) ? 128 + exit.signal : WEXITSTATUS(wait_status);
  return exit;
}

Result<> append_exit(format::EventWriter& writer, const RankExit& exit, std::string_view by) {
  Json fields = {{"code", exit.signal == 0 ? Json(exit.code) : Json(nullptr)},
                 {"signal", exit.signal == 0 ? Json(nullptr) : Json(signal_name(exit.signal))}};
  if (!exit.cause.empty()) fields["cause"] = exit.cause;
  if (!exit.message.empty()) fields["message"] = exit.message;
  if (exit.retryable) fields["retryable"] = true;
  if (!by.empty()) fields["by"] = by;
  return writer.append_durable("exit", fields);
}

Result<bool> fence_rank(const std::filesystem::path& path, int node) {
  if (base::exists(path)) return false;
  const auto draft = path.parent_path() / (".fence-" + base::new_ulid());
  TRY_ASSIGN(auto writer, format::EventWriter::create(draft, node));
  TRY(writer.append_durable("fenced", Json::object()));
  const bool linked = ::link(draft.c_str(), path.c_str()) == 0;
  const int problem = errno;
  ::unlink(draft.c_str());
  if (!linked && problem == EEXIST) return false;
  if (!linked) return fail_errno("create " + path.string(), problem);
  TRY(base::sync_directory(path.parent_path()));
  return true;
}

}  // namespace trainctl::host
