// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/collection.hpp"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/keep.hpp"
#include "host/supervisor/list_outputs.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kTries = 3;

sigset_t only_sigterm() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  return mask;
}

/// SIGTERM is blocked in the child: that it is pending is the message to hurry.
bool was_told_to_hurry() {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1;
}

Json listed(const format::AttemptPaths& attempt, std::vector<std::string> warnings) {
  Json result = Json::object();
  if (auto listing = list_outputs(attempt.outputs(), attempt.output_list(), was_told_to_hurry)) {
    result["files"] = listing->files;
    result["bytes"] = listing->bytes;
    for (std::string& problem : listing->problems) warnings.push_back(std::move(problem));
    if (listing->unread > 0) {
      warnings.push_back("canceled while outputs were hashed: " + std::to_string(listing->unread) + " of " +
                         std::to_string(listing->files) + " files are listed without a hash");
    }
  } else {
    warnings.push_back("the outputs are not listed: " + listing.error().message);
  }
  result["warnings"] = std::move(warnings);
  return result;
}

/// The child's whole life. The report goes to memory: the disk may be full.
[[noreturn]] void collect(const format::Plan& plan, const format::AttemptPaths& attempt, bool list, int report,
                          pid_t parent) {
  const std::array keep = {report};
  close_descriptors_except(keep);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  set_process_name("trainctl-collec");
  std::vector<std::string> warnings = keep_files(plan, attempt);
  const Json result = list ? listed(attempt, std::move(warnings)) : Json{{"warnings", std::move(warnings)}};
  ::_exit(base::write_all(report, base::dump_json(result)) ? 0 : 1);
}

std::string read_report(int fd) {
  struct stat file{};
  if (::fstat(fd, &file) != 0) return {};
  std::string text(static_cast<std::size_t>(file.st_size), '\0');
  if (::pread(fd, text.data(), text.size(), 0) != file.st_size) return {};
  return text;
}

Collected from_report(const std::string& text) {
  Collected collected;
  const auto json = base::parse_json(text);
  if (!json || !json->is_object()) {
    collected.warnings.emplace_back("the outputs are not listed: the report of their process is damaged");
    return collected;
  }
  const auto files = json->find("files");
  if (files != json->end()) collected.files = files->get<std::uint64_t>();
  collected.bytes = json->value("bytes", std::uint64_t{0});
  collected.warnings = json->value("warnings", std::vector<std::string>{});
  return collected;
}

}  // namespace

Collection::~Collection() {
  if (busy()) ::kill(child_, SIGKILL);
}

void Collection::start(const format::Plan& plan, const format::AttemptPaths& attempt, bool list, Done done) {
  plan_ = &plan;
  attempt_ = attempt;
  list_ = list;
  done_ = std::move(done);
  tries_ = 0;
  fork_child();
}

void Collection::fork_child() {
  ++tries_;
  result_.reset(::memfd_create("trainctl-outputs", MFD_CLOEXEC));
  const pid_t parent = ::getpid();
  // Blocked over the fork, and for ever in the child: see was_told_to_hurry().
  const sigset_t mask = only_sigterm();
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &mask, &before);
  const pid_t pid = result_ ? ::fork() : -1;
  if (pid == 0) collect(*plan_, attempt_, list_, result_.get(), parent);
  const int problem = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return finish({.warnings = {"the outputs are not listed: " + system_error("fork", problem).message}});
  child_ = pid;
  reactor_.on_child(pid, [this](int status, std::uint64_t) { on_exit(status); });
}

void Collection::hurry() const {
  if (busy()) ::kill(child_, SIGTERM);
}

void Collection::on_exit(int status) {
  child_ = 0;
  if (!WIFSIGNALED(status)) return finish(from_report(read_report(result_.get())));
  if (tries_ < kTries) return fork_child();  // somebody killed it: what it had begun is begun again
  finish({.warnings = {"the outputs are not listed: their process was killed by " + signal_name(WTERMSIG(status))}});
}

void Collection::finish(Collected collected) {
  result_.reset();
  const Done call = std::move(done_);
  call(std::move(collected));
}

}  // namespace trainctl::host
