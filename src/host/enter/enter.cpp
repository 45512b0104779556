// SPDX-License-Identifier: Apache-2.0
#include "host/enter/enter.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/exit_code.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/container/engine.hpp"
#include "host/container/image.hpp"
#include "host/enter/order.hpp"
#include "host/enter/place.hpp"
#include "host/enter/program.hpp"
#include "host/enter/relay.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/runners.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using Words = std::vector<std::string>;

void tell(std::string_view text) {
  (void)base::write_all(STDERR_FILENO, "trainctl: " + std::string(text) + "\n");
}

bool on_terminal() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

Error is_over(const Visited& visited, const std::string& what) {
  return Error{.code = Errc::unavailable,
               .message = "the run is " + std::string(format::to_string(visited.state)) + ", and " + what,
               .hint = "trainctl outputs and trainctl logs have what it left"};
}

/// A step of the run's job, beside its own: on the rank's node, with what the job was given there.
Result<Words> into_job(const Visited& visited, EnterOrder order) {
  TRY_ASSIGN(const auto owner, slurm::owner_of(visited.run.attempt(visited.attempt)));
  TRY_ASSIGN(const auto runner, slurm::provide_runner(visited.run.store()));
  order.stand = Stand::job;
  order.stays = true;
  Words words = {"srun",       "--jobid=" + owner.job, "--overlap",        "--nodes=1",
                 "--ntasks=1", "--mpi=none",           "--disable-status", "--quiet"};
  if (visited.place.node > 0) words.push_back("--relative=" + std::to_string(visited.place.node));
  // Slurm hands on whole lines; a connection is none.
  if (order.port != 0) words.emplace_back("--unbuffered");
  if (order.port == 0 && on_terminal()) words.emplace_back("--pty");
  words.insert(words.end(), {runner.string(), "enter", enter_word(order)});
  return words;
}

/// The runner is in every container of ours, and the run's folder is there under the same path.
Result<Words> into_container(const Visited& visited, EnterOrder order) {
  if (!visited.goes_on()) return fail(is_over(visited, "its container is gone"));
  const auto image = recorded_image(visited.run.attempt(visited.attempt));
  if (!image) return fail(Errc::store, "the run's records do not say which engine runs its container");
  order.stand = Stand::container;
  order.stays = true;
  Words words = {image->engine.path, "exec", "--interactive"};
  if (order.port == 0 && on_terminal()) words.emplace_back("--tty");
  const std::string name = container_name(visited.run.id(), visited.attempt, visited.place.rank);
  words.insert(words.end(), {name, kRunnerInside, "enter", enter_word(order)});
  return words;
}

/// How the order goes on to where the script is; empty: it is here.
Result<Words> way_further(const Visited& visited, const EnterOrder& order) {
  if (order.stand == Stand::outside && slurm::is_slurm(visited.plan) && visited.goes_on())
    return into_job(visited, order);
  if (order.stand != Stand::container && visited.plan.container) return into_container(visited, order);
  return Words{};
}

std::string shell_of_user() {
  const auto own = base::get_env("SHELL");
  for (const std::string& shell : {own.value_or(""), std::string("/bin/bash")}) {
    if (!shell.empty() && ::access(shell.c_str(), X_OK) == 0 && !shell.ends_with("/nologin") &&
        !shell.ends_with("/false"))
      return shell;
  }
  return "/bin/sh";
}

/// The folder and the variables of the run become ours.
Result<> move_in(const Place& place) {
  if (::chdir(place.directory.c_str()) != 0)
    return fail(Errc::cannot_start,
                "the run's folder " + place.directory.string() + " cannot be entered: " + errno_text(errno));
  const auto terminal = base::get_env("TERM");
  // NOLINTBEGIN(concurrency-mt-unsafe): there is one thread here
  ::clearenv();
  for (const std::string& variable : place.variables) {
    const std::size_t equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    ::setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
  }
  if (terminal) ::setenv("TERM", terminal->c_str(), 1);  // the terminal's, not the run's
  // NOLINTEND(concurrency-mt-unsafe)
  return {};
}

Result<int> carry_out(const EnterOrder& order) {
  TRY_ASSIGN(const Visited visited, visit_run(order.folder, order.rank));
  TRY_ASSIGN(Words argv, way_further(visited, order));
  if (argv.empty() && order.port != 0) {
    TRY(relay(order.port));
    return 0;
  }
  if (argv.empty()) {
    argv = order.argv.empty() ? Words{shell_of_user()} : order.argv;
    std::vector<std::string> notes;
    if (!visited.goes_on())
      notes.push_back("the run is " + std::string(format::to_string(visited.state)) +
                      ": this is what it left, with the variables that are recorded");
    TRY_ASSIGN(const Place place, find_place(visited, order.stand, notes));
    for (const std::string& note : notes) tell("note: " + note);
    TRY(move_in(place));
  }
  return order.stays ? run_program(argv) : become_program(argv);
}

}  // namespace

int enter_main(const std::string& word) {
  const auto order = read_enter_word(word);
  const auto code = order ? carry_out(*order) : Result<int>(fail(Errc::invalid, "this is no order of trainctl's"));
  if (code) return *code;
  const Error& error = code.error();
  tell("error: " + error.message + (error.hint.empty() ? "" : "\n  " + error.hint));
  return base::exit_code_for(error.code);
}

bool has_own_loopback(const format::Plan& plan) {
  return slurm::is_slurm(plan) || (plan.container && !is_in_host_network(*plan.container));
}

}  // namespace trainctl::host
