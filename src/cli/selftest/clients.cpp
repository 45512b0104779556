// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest/clients.hpp"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

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
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

extern char** environ;

namespace trainctl::cli::selftest {
namespace {

constexpr int kLookEveryMs = 200;  // at Ctrl-C

std::uint64_t now_ms() {
  return base::mono_ns() / 1'000'000U;
}

/// Ours, with the store in place of the user's.
std::vector<std::string> environment_for(const std::filesystem::path& store) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("TRAINCTL_HOME=")) result.emplace_back(text);
  }
  result.push_back("TRAINCTL_HOME=" + store.string());
  return result;
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
  clients.environment_ = environment_for(clients.store_.root);
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

int Following::cut_off() const {
  const std::array roots = {child_.pid()};
  int killed = 0;
  for (const auto& process : host::descendants(host::list_processes(), roots)) {
    if (::kill(process.pid, SIGKILL) == 0) ++killed;
  }
  return killed;
}

}  // namespace trainctl::cli::selftest
