// SPDX-License-Identifier: Apache-2.0
#include "engine/resume.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "engine/elsewhere.hpp"
#include "engine/plan_mapping.hpp"
#include "engine/prepare.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRunPrefix = "run:";
constexpr std::size_t kLargestScript = 4U << 20U;

tl::unexpected<Error> complain(const spec::LoadedRun& run, std::string message, std::string hint = {}) {
  Error error{.code = Errc::invalid, .message = std::move(message)};
  error.field = "resume_from";
  error.hint = std::move(hint);
  if (const auto* origin = spec::find_origin(run.origins, "/resume_from")) error.at = origin->at;
  return fail(std::move(error));
}

constexpr std::string_view kHostPrefix = "host:";

/// The path as the target has it.
Result<std::string> place(const fs::path& path, Elsewhere* elsewhere) {
  if (elsewhere == nullptr) return path.string();
  return elsewhere->send(path);
}

Result<> resume_from_path(const spec::LoadedRun& run, const fs::path& path, Elsewhere* elsewhere, Prepared& prepared) {
  const fs::path absolute = (path.is_absolute() ? path : run.base_directory / path).lexically_normal();
  std::error_code ignored;
  if (!fs::exists(absolute, ignored)) {
    return complain(run, absolute.string() + " does not exist", "a file, a folder, or run:NAME/FILE");
  }
  TRY_ASSIGN(std::string placed, place(absolute_path(run.base_directory, path.string()), elsewhere));
  prepared.plan.resume_from = format::PlanResume{.path = std::move(placed)};
  prepared.notes.push_back("resumes from " + absolute.string());
  return {};
}

/// `text`: NAME or NAME/below/its/outputs.
Result<> resume_from_run(const archive::Store& store, const spec::LoadedRun& run, const std::string& text,
                         Elsewhere* elsewhere, Prepared& prepared) {
  const auto slash = text.find('/');
  const std::string name = text.substr(0, slash);
  auto id = store.resolve(name);
  if (!id) return complain(run, id.error().message, id.error().hint);
  const format::RunPaths earlier = store.run(*id);
  const auto plan = format::read_plan(earlier.plan());
  const std::string below = slash == std::string::npos ? std::string() : text.substr(slash);
  const auto state = format::fold_run(earlier);
  std::string path;
  if (elsewhere != nullptr && plan && state && elsewhere->holds(*plan)) {
    path = Elsewhere::outputs_of(*id, std::max(state->attempt, 1)) + below;
  } else {
    std::error_code problem;
    const fs::path here = fs::canonical(earlier.outputs_link().string() + below, problem);
    if (problem) {
      return complain(run, name + " has no " + (below.empty() ? "outputs" : below.substr(1)),
                      "trainctl outputs " + name + " lists what it has");
    }
    TRY_ASSIGN(path, place(here, elsewhere));
  }
  if (state && !format::is_terminal(state->state)) {
    prepared.warnings.push_back(name + " has not ended: what it writes now may be half written");
  }
  prepared.plan.resume_from = format::PlanResume{.path = std::move(path), .run = *id};
  prepared.notes.push_back("resumes from " + (plan ? plan->name : name) + below);
  return {};
}

/// Does the script itself name the option? It would refuse one that it does not know.
bool has_resume_option(const spec::LoadedRun& run) {
  if (!run.config.script) return false;
  const auto text = base::read_file(source_directory(run) / *run.config.script, kLargestScript);
  if (!text) return false;
  return text->find("--resume-from") != std::string::npos || text->find("--resume_from") != std::string::npos;
}

bool is_resume_option(const std::string& word) {
  return word.starts_with("--resume-from") || word.starts_with("--resume_from");
}

}  // namespace

Result<> add_resume(const archive::Store& store, const spec::LoadedRun& run, Elsewhere* elsewhere, Prepared& prepared) {
  if (!run.config.resume_from) return {};
  const std::string& text = *run.config.resume_from;
  const fs::path beside = run.base_directory / text;
  std::error_code ignored;
  if (text.starts_with(kHostPrefix)) {
    prepared.plan.resume_from = format::PlanResume{.path = text.substr(kHostPrefix.size())};
    prepared.notes.push_back("resumes from " + text);
  } else if (text.starts_with(kRunPrefix)) {
    TRY(resume_from_run(store, run, text.substr(kRunPrefix.size()), elsewhere, prepared));
  } else if (text.find('/') != std::string::npos || (!store.resolve(text) && fs::exists(beside, ignored))) {
    TRY(resume_from_path(run, text, elsewhere, prepared));
  } else {
    TRY(resume_from_run(store, run, text, elsewhere, prepared));
  }
  auto& argv = prepared.plan.command.argv;
  if (prepared.plan.command.kind == format::CommandKind::python_script && has_resume_option(run) &&
      std::none_of(argv.begin(), argv.end(), is_resume_option)) {
    argv.emplace_back("--resume-from");
    argv.emplace_back(format::kResumeMark);
  }
  return {};
}

}  // namespace trainctl::engine
