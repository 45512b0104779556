// SPDX-License-Identifier: Apache-2.0
// Slurm's programs, always with a deadline of ours: with its controller down squeue takes 18 s to say so.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/process.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {

/// Runs a program of Slurm to its end, with times as seconds since 1970. Errc::unavailable when the controller does not
/// answer: nothing about jobs is known then, but when the error is retryable, the controller certainly did not hear the
/// question. Errc::not_found when the program is not installed or Slurm is not configured here; an exit code that is
/// not 0 is a result.
Result<base::CommandOutput> run_slurm(std::vector<std::string> words,
                                      std::chrono::milliseconds deadline = std::chrono::seconds(30));

/// The controller did not answer, as far as the words of its program tell.
bool is_unreachable(std::string_view error);

/// All jobs of this user that the controller still knows.
std::vector<std::string> queue_words();
Result<std::vector<Job>> ask_queue(std::chrono::milliseconds deadline = std::chrono::seconds(30));

/// What the controller holds of a job ("JobState", "Restarts", "ExitCode" …); empty when it does not answer or has
/// forgotten it.
std::optional<std::map<std::string, std::string>> ask_job(const std::string& job, std::chrono::milliseconds deadline);

/// One question that does not hold up a loop: a child asks, fd() becomes readable when it is done.
class Question {
 public:
  static Result<Question> ask(std::vector<std::string> words);
  ~Question();
  Question(Question&&) noexcept = default;
  Question& operator=(Question&&) = delete;

  [[nodiscard]] int fd() const { return pipe_.get(); }
  /// Empty while the child is at work.
  std::optional<Result<base::CommandOutput>> answer();

 private:
  Question(base::UniqueFd pipe, pid_t child) : pipe_(std::move(pipe)), child_(child) {}
  base::UniqueFd pipe_;
  pid_t child_ = 0;
  std::string text_ = {};
};

}  // namespace trainctl::host::slurm
