// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/commands.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/linux/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

constexpr const char* kNoController = "Slurm's controller does not answer";

/// Said before anything is asked of a controller.
constexpr std::array<std::string_view, 3> kNotConfigured = {"Could not establish a configuration source",
                                                            "Unable to process configuration file",
                                                            "Unable to process slurm.conf file"};

constexpr std::array<std::string_view, 9> kUnreachable = {"Unable to contact slurm controller",
                                                          "Socket timed out",
                                                          "Connection refused",
                                                          "Zero Bytes were transmitted",
                                                          "Connection reset",
                                                          "Transport endpoint is not connected",
                                                          "standby mode",
                                                          "temporarily unavailable",
                                                          "Slurm controller not responding"};

template <std::size_t N>
bool says_one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view one) { return text.find(one) != std::string_view::npos; });
}

/// What a user set for squeue by hand would change what we read.
std::vector<std::string> clean_environment() {
  std::vector<std::string> made = {"LC_ALL=C", "SLURM_TIME_FORMAT=%s"};
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("LC_ALL=") || text.starts_with("SLURM_TIME_FORMAT=") || text.starts_with("SQUEUE_")) continue;
    made.emplace_back(text);
  }
  return made;
}

Json to_json(const Result<base::CommandOutput>& result) {
  if (!result) return {{"code", to_string(result.error().code)}, {"message", result.error().message}};
  return {{"exit", result->exit_code}, {"out", result->out}, {"err", result->err}};
}

Result<base::CommandOutput> from_json(const Json& json) {
  if (json.contains("exit")) {
    return base::CommandOutput{
        .exit_code = json.value("exit", 1), .out = json.value("out", ""), .err = json.value("err", "")};
  }
  const bool missing = json.value("code", "") == to_string(Errc::not_found);
  return fail(missing ? Errc::not_found : Errc::unavailable, json.value("message", "the question to Slurm was lost"));
}

}  // namespace

bool is_unreachable(std::string_view error) {
  return says_one_of(error, kUnreachable);
}

Result<base::CommandOutput> run_slurm(std::vector<std::string> words, std::chrono::milliseconds deadline) {
  base::Command command{.argv = std::move(words)};
  command.environment = clean_environment();
  command.deadline = deadline;
  const std::string name = command.argv[0];
  auto done = base::run_command(command);
  if (!done && done.error().code == Errc::not_found)
    return fail(Errc::not_found, "Slurm's program " + name + " is not installed here",
                "the target's launcher is slurm: it needs a host that submits jobs");
  if (!done) return fail(Errc::unavailable, name + ": " + done.error().message);
  if (done->exit_code != 0 && says_one_of(done->err, kNotConfigured))
    return fail(Errc::not_found,
                "Slurm is not configured on " + base::host_name() + ": " + name + " finds no slurm.conf",
                "the target has to be a host that submits jobs; SLURM_CONF names a file elsewhere");
  // What could not be sent at all was not heard either.
  if (done->exit_code != 0 && done->err.find("(connect failure)") != std::string::npos)
    return fail(Error{.code = Errc::unavailable, .message = kNoController, .retryable = true});
  if (done->exit_code != 0 && is_unreachable(done->err)) return fail(Errc::unavailable, kNoController);
  return done;
}

std::vector<std::string> queue_words() {
  return {"squeue", "-h", "-a", "-t", "all", "-u", std::to_string(::geteuid()), "-o", kQueueFormat};
}

Result<std::vector<Job>> ask_queue(std::chrono::milliseconds deadline) {
  TRY_ASSIGN(const auto done, run_slurm(queue_words(), deadline));
  if (done.exit_code != 0) return fail(Errc::unavailable, "squeue: " + done.err.substr(0, 300));
  return parse_queue(done.out);
}

std::optional<std::map<std::string, std::string>> ask_job(const std::string& job, std::chrono::milliseconds deadline) {
  for (int i = 0; i < 2; ++i) {
    const auto answer = run_slurm({"scontrol", "show", "job", job, "-o"}, deadline);
    if (!answer) return std::nullopt;
    auto pairs = parse_pairs(answer->out);
    if (answer->exit_code == 0 && pairs.contains("JobState")) return pairs;
  }
  return std::nullopt;
}

Result<Question> Question::ask(std::vector<std::string> words) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  base::UniqueFd read_end(ends[0]);
  const base::UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("start a process", errno);
  if (child == 0) {
    ::setpgid(0, 0);
    const std::array keep = {write_end.get()};
    close_descriptors_except(keep);
    reset_signals();
    set_process_name("trainctl-slurm");
    const std::string text = base::dump_json(to_json(run_slurm(std::move(words))));
    ::_exit(base::write_all(write_end.get(), text) ? 0 : 1);
  }
  (void)::fcntl(read_end.get(), F_SETFL, O_NONBLOCK);
  return Question(std::move(read_end), child);
}

Question::~Question() {
  if (!pipe_ || child_ <= 0) return;
  ::kill(-child_, SIGKILL);
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<Result<base::CommandOutput>> Question::answer() {
  std::array<char, 65536> buffer;  // NOLINT: filled by read
  for (;;) {
    const ssize_t count = ::read(pipe_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return std::nullopt;
    if (count <= 0) break;
    text_.append(buffer.data(), static_cast<std::size_t>(count));
  }
  // In a supervisor the reactor may have reaped it already.
  const pid_t child = std::exchange(child_, 0);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  pipe_.reset();
  const auto json = base::parse_json(text_);
  return from_json(json && json->is_object() ? *json : Json::object());
}

}  // namespace trainctl::host::slurm
