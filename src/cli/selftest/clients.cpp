// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest/clients.hpp"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/child_process.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "cli/selftest/workload.hpp"
#include "cli/signals.hpp"
#include "host/linux/process_tree.hpp"
#include "target/ssh/control.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

extern char** environ;

namespace trainctl::cli::selftest {
namespace {

constexpr int kLookEveryMs = 200;  // at Ctrl-C

std::uint64_t now_ms() {
  return base::mono_ns() / 1'000'000U;
}

/// Ours, with these in place of the user's.
std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& ours) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    const auto same = [name](const auto& one) { return one.first == name; };
    if (std::none_of(ours.begin(), ours.end(), same)) result.emplace_back(text);
  }
  for (const auto& [name, value] : ours) {
    std::string& entry = result.emplace_back(name);
    entry += '=';
    entry += value;
  }
  return result;
}

/// Beside the user's own or in /tmp: the paths of sockets must be short. Empty where none can be made: then the
/// connections are the user's.
std::filesystem::path make_runtime_folder() {
  std::vector<std::filesystem::path> places = {"/tmp"};
  if (const auto users = target::runtime_folder()) places.insert(places.begin(), users->parent_path());
  for (const std::filesystem::path& place : places) {
    std::string folder = (place / "tXXXXXX").string();
    if (target::sockets_fit(folder) && ::mkdtemp(folder.data()) != nullptr) return folder;
  }
  return {};
}

/// What a command said last, for a message of ours.
std::string last_words(const base::CommandOutput& output) {
  const std::string_view text = base::trim(output.err.empty() ? output.out : output.err);
  return text.empty() ? "it said nothing" : std::string(text);
}

}  // namespace

Result<Clients> Clients::create(const std::filesystem::path& parent, std::string target,
                                std::chrono::milliseconds patience) {
  std::error_code problem;
  Clients clients;
  clients.program_ = std::filesystem::read_symlink("/proc/self/exe", problem).string();
  if (problem) return fail(Errc::io, "cannot find the program itself: " + problem.message());
  clients.store_.root = parent / ("selftest-" + base::new_ulid());
  clients.target_ = std::move(target);
  clients.patience_ = patience;
  clients.runtime_ = make_runtime_folder();
  std::vector<std::pair<std::string, std::string>> ours = {{"TRAINCTL_HOME", clients.store_.root.string()}};
  if (!clients.runtime_.empty()) ours.emplace_back("XDG_RUNTIME_DIR", clients.runtime_.string());
  clients.environment_ = environment_with(ours);
  clients.signals_ = std::make_unique<SignalInbox>();
  TRY(base::make_directories(clients.store_.root / "selftest"));
  return clients;
}

base::Command Clients::command(const std::vector<std::string>& arguments) const {
  base::Command command;
  command.argv = {program_};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.environment = environment_;
  command.deadline = patience_;
  return command;
}

Result<> Clients::check_signals() const {
  for (int number = signals_->take(); number != 0; number = signals_->take()) {
    if (number != SIGWINCH) return fail(Errc::canceled, "interrupted");
  }
  return {};
}

Result<base::CommandOutput> Clients::run(const std::vector<std::string>& arguments) const {
  TRY(check_signals());
  return base::run_command(command(arguments));
}

Result<base::ChildProcess> Clients::start(const std::vector<std::string>& arguments) const {
  TRY(check_signals());
  return base::ChildProcess::start(command(arguments));
}

Result<Json> Clients::ask(std::vector<std::string> arguments, int exit_code) const {
  const std::string typed = "trainctl " + base::join(arguments, " ");
  arguments.emplace_back("--json");
  TRY_ASSIGN(const base::CommandOutput output, run(arguments));
  if (output.exit_code != exit_code) {
    const Errc code = output.exit_code == 75 ? Errc::unavailable : Errc::cannot_start;
    return fail(code, "`" + typed + "` ended with exit code " + std::to_string(output.exit_code) + " instead of " +
                          std::to_string(exit_code) + ": " + last_words(output));
  }
  return base::parse_json(output.out);
}

Result<std::string> Clients::configuration(const Workload& workload) {
  Json document = run_configuration(workload);
  document["target"] = target_;
  const auto path = store_.root / "selftest" / (std::to_string(++written_) + ".run.json");
  TRY(base::write_file_atomic(path, base::dump_json(document)));
  return path.string();
}

Result<bool> Following::read_until(std::size_t bytes) {
  const std::uint64_t began = now_ms();
  std::array<char, 1U << 16U> buffer{};
  while (shown_.size() < bytes) {
    TRY(clients_->check_signals());
    if (now_ms() - began > static_cast<std::uint64_t>(clients_->patience().count()))
      return fail(Errc::timeout, "a following command showed nothing for too long; it has shown " +
                                     std::to_string(shown_.size()) + " bytes");
    (void)child_.errors();  // a full pipe would stop it
    pollfd waiting{child_.out(), POLLIN, 0};
    if (::poll(&waiting, 1, kLookEveryMs) <= 0) continue;
    const ssize_t count = ::read(child_.out(), buffer.data(), buffer.size());
    if (count == 0) return false;
    if (count > 0) shown_.append(buffer.data(), static_cast<std::size_t>(count));
    if (count < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("read from a following command", errno);
  }
  return true;
}

Result<int> Following::finish() {
  TRY(read_until(SIZE_MAX));
  if (!child_.wait_ms(static_cast<int>(clients_->patience().count())))
    return fail(Errc::timeout, "a following command closed its output and did not end");
  return child_.exit_code();
}

int Clients::cut_connections() const {
  if (runtime_.empty()) return 0;
  const auto folder = runtime_ / "trainctl";
  const auto names = base::list_directory(folder);
  if (!names) return 0;
  int cut = 0;
  for (const std::string& name : *names) cut += target::end_masters(folder / name);
  return cut;
}

Result<> Clients::leave() const {
  if (runtime_.empty()) return {};
  (void)cut_connections();
  return base::remove_tree(runtime_);
}

int Following::cut_off() const {
  const std::array roots = {child_.pid()};
  int killed = clients_->cut_connections();
  for (const auto& process : host::descendants(host::list_processes(), roots)) {
    if (::kill(process.pid, SIGKILL) == 0) ++killed;
  }
  return killed;
}

}  // namespace trainctl::cli::selftest
