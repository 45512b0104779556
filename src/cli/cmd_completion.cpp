// SPDX-License-Identifier: Apache-2.0
// Completion scripts ask trainctl itself (`trainctl completion --words …`), so they never lag behind the commands.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "archive/store.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"

namespace trainctl::cli {
namespace {

struct CompletionArguments {
  std::string shell;
  bool words = false;
  std::vector<std::string> line;
};

constexpr const char* kBash = R"sh(# trainctl completion for bash: add to ~/.bashrc
#   source <(trainctl completion bash)
_trainctl() {
  local IFS=$'\n'
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
  COMPREPLY=($(compgen -W "$(trainctl completion --words bash -- "${words[@]}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
# Runs come newest first; shells before bash 4.4 cannot keep an order.
complete -o default -o nosort -F _trainctl trainctl 2>/dev/null || complete -o default -F _trainctl trainctl
)sh";
constexpr const char* kZsh = R"sh(#compdef trainctl
# trainctl completion for zsh: save as _trainctl in a folder of $fpath, or
#   source <(trainctl completion zsh)
_trainctl() {
  local -a found
  found=("${(@f)$(trainctl completion --words zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[*]}" ]]; then compadd -Q -V trainctl -- "${found[@]}"; else _files; fi
}
if [ "$funcstack[1]" = "_trainctl" ]; then _trainctl "$@"; else compdef _trainctl trainctl; fi
)sh";
constexpr const char* kFish = R"sh(# trainctl completion for fish: save as ~/.config/fish/completions/trainctl.fish
function __trainctl_words
    set -l words (commandline -opc) (commandline -ct)
    trainctl completion --words fish -- $words[2..-1] 2>/dev/null
end
complete -c trainctl -k -a '(__trainctl_words)'
)sh";

/// Names of runs, the newest first; at most a few hundred.
void add_run_names(std::vector<std::string>& found) {
  constexpr std::size_t kMost = 300;
  const auto store = archive::Store::open();
  if (!store) return;
  const auto ids = store->run_ids();
  if (!ids || ids->empty()) return;
  found.emplace_back("@");
  const std::size_t count = std::min(ids->size(), kMost);
  std::for_each(ids->rbegin(), ids->rbegin() + static_cast<std::ptrdiff_t>(count), [&](const std::string& id) {
    if (const auto plan = format::read_plan(store->run(id).plan())) found.push_back(plan->name);
  });
}

std::vector<std::string> candidates(const std::vector<std::string>& line) {
  std::vector<std::string> found;
  if (line.size() <= 1) {
    for (const Command& command : all_commands()) found.emplace_back(command.name);
    return found;
  }
  const Command* command = find_command(line.front());
  if (command == nullptr) return found;
  found = option_words(*command, line);
  if (line.back().starts_with('-')) return found;
  const std::string& before = line[line.size() - 2];
  if (before == "--state") {
    for (const format::State state : format::kAllStates) found.emplace_back(format::to_string(state));
  }
  if (command->completes == Completes::run) add_run_names(found);
  if (command->completes == Completes::shell) found.insert(found.end(), {"bash", "zsh", "fish"});
  if (std::string_view(command->name) == "help") {
    for (const Command& other : all_commands()) found.emplace_back(other.name);
  }
  return found;
}

int completion_action(Context& context, const CompletionArguments& arguments) {
  if (arguments.words) {
    const std::string prefix = arguments.line.empty() ? "" : arguments.line.back();
    for (const std::string& word : candidates(arguments.line)) {
      if (word.starts_with(prefix)) context.out.line(word);
    }
    return 0;
  }
  if (arguments.shell == "bash") context.out.write(kBash);
  if (arguments.shell == "zsh") context.out.write(kZsh);
  if (arguments.shell == "fish") context.out.write(kFish);
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<CompletionArguments>();
  app.add_option("shell", arguments->shell, "bash, zsh or fish")
      ->type_name("SHELL")
      ->required()
      ->one_of({"bash", "zsh", "fish"});
  app.add_flag("--words", arguments->words)->hidden();
  app.add_option("line", arguments->line)->hidden();
  return [arguments](Context& context) { return completion_action(context, *arguments); };
}

}  // namespace

Command completion_command() {
  return {"completion",
          "Other",
          "Print the completion script for a shell, run names included",
          false,
          configure,
          Completes::shell,
          "bash: source <(trainctl completion bash)   zsh: source <(trainctl completion zsh)\nfish: trainctl "
          "completion fish > ~/.config/fish/completions/trainctl.fish"};
}

}  // namespace trainctl::cli
