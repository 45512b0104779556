// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/preparation.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/linux/process.hpp"
#include "host/linux/process_tree.hpp"

namespace trainctl::host {
namespace {

using format::Cause;

bool has_snapshot(const format::Plan& plan) {
  return plan.source.value("kind", "none") == "snapshot";
}

bool resumes(const format::Plan& plan, int attempt) {
  return plan.retry.resume && attempt > 1;
}

Result<> copy_outputs(const format::AttemptPaths& from, const format::AttemptPaths& to) {
  if (!base::exists(from.outputs())) return {};
  std::error_code problem;
  using Option = std::filesystem::copy_options;
  std::filesystem::copy(from.outputs(), to.outputs(),
                        Option::recursive | Option::copy_symlinks | Option::overwrite_existing, problem);
  if (problem) return fail(Errc::store, "cannot copy the outputs of the last attempt: " + problem.message());
  return {};
}

Result<> prepare_work(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  const format::AttemptPaths paths = run.attempt(attempt);
  // What an attempt that was killed while preparing left behind.
  if (has_snapshot(plan)) TRY(base::remove_tree(paths.work()));
  TRY(base::make_directories(paths.outputs()));
  if (resumes(plan, attempt)) TRY(copy_outputs(run.attempt(attempt - 1), paths));
  return {};
}

Json to_json(const PreparationResult& result) {
  if (!result) {
    return {{"cause", to_string(result.error().cause)}, {"message", result.error().message}};
  }
  Json variables = Json::object();
  for (const auto& [name, value] : result->variables) variables[name] = value;
  return {{"python", result->python}, {"variables", variables}};
}

PreparationResult from_json(const Json& json) {
  if (const auto cause = json.find("cause"); cause != json.end()) {
    return tl::make_unexpected(PreparationError{format::parse_cause(cause->get<std::string>()).value_or(Cause::start),
                                                json.value("message", "")});
  }
  Prepared prepared;
  prepared.python = json.value("python", "python3");
  for (const auto& item : json.at("variables").items())
    prepared.variables[item.key()] = item.value().get<std::string>();
  return prepared;
}

PreparationResult died(int status) {
  const std::string how = WIFSIGNALED(status) ? "was killed by " + signal_name(WTERMSIG(status))
                                              : "ended with code " + std::to_string(WEXITSTATUS(status));
  return tl::make_unexpected(PreparationError{Cause::start, "the process that prepares the run " + how});
}

}  // namespace

bool is_quick_to_prepare(const format::Plan& plan, int attempt) {
  return !has_snapshot(plan) && plan.environment.is_null() && !resumes(plan, attempt);
}

std::string preparation_message(const format::Plan& plan) {
  return plan.environment.is_null() ? "copying the source" : "preparing the environment";
}

PreparationResult prepare_attempt(const format::Plan& plan, const format::RunPaths& run, int attempt) {
  if (auto work = prepare_work(plan, run, attempt); !work) {
    return tl::make_unexpected(PreparationError{Cause::start, work.error().message});
  }
  return Prepared{};
}

Preparation::~Preparation() {
  if (busy()) signal(SIGKILL);
}

Result<> Preparation::start(const format::Plan& plan, const format::RunPaths& run, int attempt, Done done) {
  result_.reset(::memfd_create("trainctl-preparation", MFD_CLOEXEC));
  if (!result_) return fail_errno("start preparing", errno);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process", errno);
  if (pid == 0) {
    const std::array keep = {result_.get()};
    close_descriptors_except(keep);
    ::setpgid(0, 0);
    reset_signals();
    set_process_name("trainctl-prepar");
    const std::string text = base::dump_json(to_json(prepare_attempt(plan, run, attempt)));
    ::_exit(base::write_all(result_.get(), text) ? 0 : 1);
  }
  ::setpgid(pid, pid);
  child_ = pid;
  done_ = std::move(done);
  reactor_.on_child(pid, [this](int status) { finish(status); });
  return {};
}

void Preparation::finish(int status) {
  child_ = 0;
  std::string text;
  struct stat file{};
  if (status == 0 && ::fstat(result_.get(), &file) == 0) {
    text.resize(static_cast<std::size_t>(file.st_size));
    if (::pread(result_.get(), text.data(), text.size(), 0) != file.st_size) text.clear();
  }
  result_.reset();
  const auto json = base::parse_json(text);
  const Done done = std::move(done_);
  done(json && json->is_object() ? from_json(*json) : died(status));
}

void Preparation::signal(int number) const {
  if (!busy()) return;
  if (number == SIGKILL) {
    const std::array roots = {child_};
    for (const ProcessStatus& process : descendants(list_processes(), roots)) ::kill(process.pid, SIGKILL);
  }
  ::kill(-child_, number);
}

}  // namespace trainctl::host
