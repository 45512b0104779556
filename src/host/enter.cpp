// SPDX-License-Identifier: Apache-2.0
#include "host/enter.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "format/fold.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"
#include "host/environment/environment.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/launch.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMaxEnvironment = 16U << 20U;
constexpr int kCannotExecute = 126;
constexpr int kNoProgram = 127;
constexpr const char* kStays = "stays";
constexpr const char* kBecomes = "becomes";

void tell(std::string_view text) {
  (void)base::write_all(STDERR_FILENO, "trainctl: " + std::string(text) + "\n");
}

int exit_code_of(const Error& error) {
  switch (error.code) {
    case Errc::invalid:
      return 2;
    case Errc::not_found:
      return 4;
    case Errc::unavailable:
      return 75;
    default:
      return 3;
  }
}

int digit_of(char character) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto at = kDigits.find(character);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

/// Texts, each ended by a zero byte, in hexadecimal digits.
std::optional<std::vector<std::string>> read_word(const std::string& word) {
  std::vector<std::string> texts(1);
  if (word.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < word.size(); i += 2) {
    const int high = digit_of(word[i]);
    const int low = digit_of(word[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    const char byte = static_cast<char>(high * 16 + low);
    if (byte == '\0') {
      texts.emplace_back();
    } else {
      texts.back() += byte;
    }
  }
  if (texts.size() < 2 || !texts.back().empty()) return std::nullopt;
  texts.pop_back();
  return texts;
}

/// Of the living process; empty when there is none of this run, or not yet.
std::optional<std::vector<std::string>> living_environment(const RankRecord& rank, const std::string& run) {
  if (!rank.started || rank.exit || rank.machine != base::machine_id() || rank.boot != base::boot_id() ||
      rank.pidns != base::pid_namespace() || !is_alive(rank.process))
    return std::nullopt;
  const auto text = base::read_file("/proc/" + std::to_string(rank.process.pid) + "/environ", kMaxEnvironment);
  // The pid may have been given to somebody else meanwhile.
  if (!text || !is_alive(rank.process)) return std::nullopt;
  auto variables = base::split(*text, '\0');
  std::erase(variables, "");
  // A process that is about to start the script has the supervisor's variables.
  if (std::find(variables.begin(), variables.end(), "TRAINCTL_RUN_ID=" + run) == variables.end()) return std::nullopt;
  return variables;
}

/// The environment that the run was given, where it is still here. Nothing is built.
Prepared prepared_again(const format::Plan& plan, const format::RunPaths& run) {
  Prepared prepared;
  if (plan.environment.is_null()) return prepared;
  const auto request = environment_request_from_json(plan.environment);
  const auto root = format::StorePaths{run.store()}.environments();
  if (request && cached(*request, root).built) {
    EnsureOptions options;
    options.root = root;
    if (auto built = ensure(*request, options)) {
      prepared.python = built->python;
      prepared.variables = std::move(built->variables);
      return prepared;
    }
  }
  tell("note: the run's environment is not here any more");
  return prepared;
}

Result<std::vector<std::string>> recorded_environment(format::Plan plan, const format::RunPaths& run, int attempt) {
  if (!plan.secrets.empty()) tell("note: without the run's secrets, " + base::join(plan.secrets, ", "));
  plan.secrets.clear();
  TRY_ASSIGN(const auto variables, rank_environment(plan, run, attempt, 0, prepared_again(plan, run)));
  return variables.assignments();
}

Error in_container(const format::RunPaths& run, int attempt, bool lives) {
  Error error{.code = Errc::invalid, .message = "the run is in a container, and programs of the host see none of it"};
  if (lives) error.hint = "docker exec -it " + container_name(run.id(), attempt, 0) + " sh, or podman exec";
  return error;
}

struct Place {
  std::filesystem::path directory;
  std::vector<std::string> variables;
};

Result<Place> find_place(const format::RunPaths& run) {
  if (!base::exists(run.plan())) return fail(Errc::not_found, "there is no run in " + run.root.string());
  TRY_ASSIGN(format::Plan plan, format::read_plan(run.plan()));
  format::resolve_store_mark(plan, run.store());
  const int attempt = format::last_attempt(run);
  TRY_ASSIGN(const RankRecord rank, read_rank(run.attempt(attempt).rank(0, 0)));
  if (attempt == 0) return fail(Errc::unavailable, "the run has not begun: there is no folder to work in yet");
  auto living = living_environment(rank, run.id());
  if (plan.container) return fail(in_container(run, attempt, living.has_value()));
  if (rank.started && rank.machine != base::machine_id())
    tell("note: the script is on another machine; this is " + base::host_name() + ", which has the same folder");
  Place place{.directory = rank_directory(plan, run.attempt(attempt)), .variables = {}};
  if (living) {
    place.variables = std::move(*living);
    return place;
  }
  TRY_ASSIGN(place.variables, recorded_environment(plan, run, attempt));
  return place;
}

std::string shell_of_user() {
  const auto shell = base::get_env("SHELL");
  const bool usable =
      shell && ::access(shell->c_str(), X_OK) == 0 && !shell->ends_with("/nologin") && !shell->ends_with("/false");
  return usable ? *shell : "/bin/sh";
}

int become(std::vector<std::string> argv) {
  std::vector<char*> words;
  for (std::string& word : argv) words.push_back(word.data());
  words.push_back(nullptr);
  reset_signals();
  ::execvp(words[0], words.data());
  const int problem = errno;
  tell(argv.front() + " cannot be started: " + std::strerror(problem));
  return problem == ENOENT ? kNoProgram : kCannotExecute;
}

/// Ctrl-C is the program's: who waits for it goes on.
int wait_for(const std::vector<std::string>& argv) {
  const pid_t child = ::fork();
  if (child < 0) {
    tell(std::string("cannot start a process: ") + std::strerror(errno));
    return kCannotExecute;
  }
  if (child == 0) ::_exit(become(argv));
  for (const int number : {SIGINT, SIGQUIT}) (void)std::signal(number, SIG_IGN);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return exit_of_status(status).code;
}

/// The folder and the variables of the run become ours.
bool move_in(const Place& place) {
  if (::chdir(place.directory.c_str()) != 0) {
    tell("the run's folder " + place.directory.string() + " cannot be entered: " + std::strerror(errno));
    return false;
  }
  const auto terminal = base::get_env("TERM");
  ::clearenv();
  for (const std::string& variable : place.variables) {
    const std::size_t equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
  }
  if (terminal) ::setenv("TERM", terminal->c_str(), 1);  // the terminal's, not the run's
  return true;
}

}  // namespace

std::string enter_word(const EnterOrder& order) {
  std::string bytes = order.folder.string() + '\0' + (order.stays ? kStays : kBecomes) + '\0';
  for (const std::string& word : order.argv) bytes += word + '\0';
  return base::to_hex(bytes);
}

int enter_main(const std::string& word) {
  auto texts = read_word(word);
  if (!texts || texts->size() < 2) {
    tell("this is no order of trainctl's");
    return 2;
  }
  const format::RunPaths run{texts->front()};
  const auto place = find_place(run);
  if (!place) {
    const Error& error = place.error();
    tell("error: " + error.message + (error.hint.empty() ? "" : "\n  " + error.hint));
    return exit_code_of(error);
  }
  const bool stays = (*texts)[1] == kStays;
  std::vector<std::string> argv(texts->begin() + 2, texts->end());
  if (argv.empty()) argv = {shell_of_user()};
  if (!move_in(*place)) return 3;
  return stays ? wait_for(argv) : become(argv);
}

}  // namespace trainctl::host
