// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/queue.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "format/state.hpp"

namespace trainctl::host::slurm {
namespace {

using format::Cause;
using format::State;

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 18 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::int64_t number_of(std::string_view text) {
  std::int64_t value = 0;
  if (is_number(text)) std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// Cuts the text before the next `separator`; the rest when there is none.
std::string_view cut(std::string_view& text, char separator) {
  const std::size_t at = std::min(text.find(separator), text.size());
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return head;
}

std::string cleaned(std::string_view text) {
  text = base::trim(text);
  return text == "(null)" || text == "N/A" ? std::string() : std::string(text);
}

/// Upper case with "_": what every state of Slurm looks like.
bool is_state(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; });
}

struct Known {
  std::string_view state;
  Stage stage;
};
constexpr std::array kStates = {
    Known{"PENDING", Stage::waiting},      Known{"REQUEUED", Stage::waiting},
    Known{"REQUEUE_HOLD", Stage::waiting}, Known{"REQUEUE_FED", Stage::waiting},
    Known{"SPECIAL_EXIT", Stage::waiting}, Known{"RESV_DEL_HOLD", Stage::waiting},
    Known{"CONFIGURING", Stage::starting}, Known{"POWER_UP_NODE", Stage::starting},
    Known{"RUNNING", Stage::running},      Known{"SUSPENDED", Stage::running},
    Known{"STOPPED", Stage::running},      Known{"SIGNALING", Stage::running},
    Known{"RESIZING", Stage::running},     Known{"STAGE_OUT", Stage::leaving},
    Known{"COMPLETING", Stage::leaving},   Known{"COMPLETED", Stage::over},
    Known{"CANCELLED", Stage::over},       Known{"FAILED", Stage::over},
    Known{"TIMEOUT", Stage::over},         Known{"NODE_FAIL", Stage::over},
    Known{"PREEMPTED", Stage::over},       Known{"BOOT_FAIL", Stage::over},
    Known{"DEADLINE", Stage::over},        Known{"OUT_OF_MEMORY", Stage::over},
    Known{"REVOKED", Stage::over},         Known{"LAUNCH_FAILED", Stage::over},
    Known{"RECONFIG_FAIL", Stage::over},   Known{"EXPEDITING", Stage::waiting},
};

struct Ended {
  std::string_view word;
  State state;
  Cause cause;
  std::string_view message;
};
constexpr std::array kEndings = {
    Ended{"CANCELLED", State::canceled, Cause::canceled, "the job was canceled in Slurm"},
    Ended{"TIMEOUT", State::timed_out, Cause::time_limit, "Slurm ended the job at its time limit"},
    Ended{"DEADLINE", State::timed_out, Cause::queue_timeout, "the job could not end before its deadline"},
    Ended{"NODE_FAIL", State::failed, Cause::node, "a node of the job failed"},
    Ended{"BOOT_FAIL", State::failed, Cause::node, "a node of the job could not be booted"},
    Ended{"LAUNCH_FAILED", State::failed, Cause::node, "Slurm could not launch the job on its node"},
    Ended{"RECONFIG_FAIL", State::failed, Cause::node, "a node of the job could not be reconfigured"},
    Ended{"PREEMPTED", State::failed, Cause::preempted, "a job with precedence took the nodes"},
    Ended{"REVOKED", State::canceled, Cause::canceled, "the job was revoked in Slurm"},
    Ended{"OUT_OF_MEMORY", State::failed, Cause::memory_limit, "Slurm ended the job: it used more memory than it has"},
    Ended{"FAILED", State::lost, Cause::lost, "the job failed before its supervisor had written an end"},
    Ended{"COMPLETED", State::lost, Cause::lost, "the job ended and its supervisor had written no end"},
};

}  // namespace

std::vector<Job> parse_queue(std::string_view text) {
  std::vector<Job> jobs;
  while (!text.empty()) {
    std::string_view rest = cut(text, '\n');
    Job job;
    job.id = base::trim(cut(rest, '|'));
    job.state = base::trim(cut(rest, '|'));
    if (!is_number(job.id) || !is_state(job.state)) continue;
    job.reason = cleaned(cut(rest, '|'));
    job.nodes = cleaned(cut(rest, '|'));
    job.start = number_of(cut(rest, '|'));
    job.end = number_of(cut(rest, '|'));
    job.text = rest;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<Partition> parse_partitions(std::string_view text) {
  std::vector<Partition> partitions;
  while (!text.empty()) {
    std::string_view rest = cut(text, '\n');
    Partition one;
    one.name = base::to_utf8(base::trim(cut(rest, '|')));
    one.is_default = one.name.ends_with('*');
    if (one.is_default) one.name.pop_back();
    const std::string_view available = base::trim(cut(rest, '|'));
    const std::string_view nodes = base::trim(cut(rest, '|'));
    if (one.name.empty() || !is_number(nodes)) continue;
    one.up = available == "up";
    one.nodes = static_cast<std::uint64_t>(number_of(nodes));
    one.time_limit = base::to_utf8(base::trim(rest));
    partitions.push_back(std::move(one));
  }
  return partitions;
}

bool belongs_to(const Job& job, std::string_view run) {
  if (run.size() < 6) return false;
  if (job.text.find("trainctl:" + std::string(run)) != std::string::npos) return true;
  // Where a site writes its own comments there is the name, which ends in the run's last six characters.
  return job.text.ends_with("." + std::string(run.substr(run.size() - 6)));
}

bool belongs_to_another(const Job& job, std::string_view run) {
  return job.text.find("trainctl:") != std::string::npos && !belongs_to(job, run);
}

std::map<std::string, std::string> parse_pairs(std::string_view text) {
  std::map<std::string, std::string> pairs;
  for (const std::string& line : base::split(text, '\n')) {
    if (const auto at = line.find(" = "); at != std::string::npos) {
      pairs.try_emplace(std::string(base::trim(line.substr(0, at))), base::trim(line.substr(at + 3)));
      continue;
    }
    for (const std::string& word : base::split(line, ' ')) {
      const auto equals = word.find('=');
      if (equals != std::string::npos) pairs.try_emplace(word.substr(0, equals), word.substr(equals + 1));
    }
  }
  return pairs;
}

std::optional<std::int64_t> parse_time_left(std::string_view text) {
  text = base::trim(text);
  std::int64_t days = 0;
  if (const auto dash = text.find('-'); dash != std::string_view::npos) {
    if (!is_number(text.substr(0, dash))) return std::nullopt;
    days = number_of(text.substr(0, dash));
    text.remove_prefix(dash + 1);
  }
  std::int64_t seconds = 0;
  const auto parts = base::split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) return std::nullopt;
  for (const std::string& part : parts) {
    if (!is_number(part)) return std::nullopt;
    seconds = seconds * 60 + number_of(part);
  }
  return days * 86400 + seconds;
}

std::optional<std::string> parse_submitted(std::string_view text) {
  std::optional<std::string> found;
  while (!text.empty()) {
    std::string_view line = base::trim(cut(text, '\n'));
    const std::string_view id = cut(line, ';');
    if (is_number(id) && line.find_first_of(" \t") == std::string_view::npos) found = std::string(id);
  }
  return found;
}

std::optional<Accounted> parse_accounting(std::string_view text, std::string_view job) {
  while (!text.empty()) {
    std::string_view rest = cut(text, '\n');
    if (base::trim(cut(rest, '|')) != job) continue;
    Accounted row;
    const std::string_view state = base::trim(cut(rest, '|'));
    if (const auto by = state.find(" by "); by != std::string_view::npos) row.by = state.substr(by + 4);
    row.state = state.substr(0, state.find_first_of(" +"));
    std::string_view code = base::trim(cut(rest, '|'));
    row.exit_code = static_cast<int>(number_of(cut(code, ':')));
    row.signal = static_cast<int>(number_of(code));
    if (is_state(row.state)) return row;
  }
  return std::nullopt;
}

Stage stage_of(std::string_view state) {
  const auto found = std::find_if(kStates.begin(), kStates.end(), [&](const Known& one) { return one.state == state; });
  return found == kStates.end() ? Stage::unknown : found->stage;
}

Ending ending_of(std::string_view state) {
  for (const Ended& one : kEndings) {
    if (one.word == state) return {one.state, one.cause, std::string(one.message)};
  }
  return {State::lost, Cause::lost, "the job ended as " + std::string(state) + " without an end of its supervisor"};
}

}  // namespace trainctl::host::slurm
