// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/transfer.hpp"
#include "engine/collect.hpp"
#include "format/fold.hpp"
#include "format/output_list.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "snapshot/clone.hpp"
#include "snapshot/glob.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = 32U << 20U;

struct OutputsArguments {
  std::string run = "@";
  std::vector<std::string> names;
  std::string copy_to;
  bool force = false;
  bool pull = false;
};

struct File {
  std::string path;
  std::uint64_t size = 0;
};

/// Regular files and links below `root`, by path. Links are listed, not followed.
Result<std::vector<File>> list_files(const fs::path& root) {
  std::vector<File> files;
  std::error_code problem;
  if (!fs::exists(root, problem)) return files;
  for (auto it = fs::recursive_directory_iterator(root, problem); !problem && it != fs::recursive_directory_iterator();
       it.increment(problem)) {
    std::error_code ignored;
    const bool link = it->is_symlink(ignored);
    if (!link && !it->is_regular_file(ignored)) continue;  // folders; pipes and sockets hold nothing
    const std::uint64_t size = link ? 0 : it->file_size(ignored);
    files.push_back({it->path().lexically_relative(root).string(), ignored ? 0 : size});
  }
  if (problem) return fail(Errc::io, "cannot list " + root.string() + ": " + problem.message());
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.path < b.path; });
  return files;
}

bool wanted(const std::vector<std::string>& names, const std::string& path) {
  if (names.empty()) return true;
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return path == name || path.starts_with(name + "/") || snapshot::Glob::compile(name, false).matches(path);
  });
}

/// The names as paths: an output that the configuration declares may be called by its name.
std::vector<std::string> paths_of(const std::vector<std::string>& names, const format::RunPaths& run) {
  std::vector<std::string> paths = names;
  const auto plan = format::read_plan(run.plan());
  if (!plan) return paths;
  for (const format::PlanOutput& output : plan->outputs) {
    if (std::find(names.begin(), names.end(), output.name) != names.end()) paths.push_back(output.path);
  }
  return paths;
}

/// In pieces, so that one large file shows how far it is. The kernel copies, and shares blocks where it can.
Result<> copy_bytes(const fs::path& from, const fs::path& to, const std::function<void(std::uint64_t)>& copied) {
  std::error_code ignored;
  if (fs::equivalent(from, to, ignored)) return fail(Errc::invalid, to.string() + " is the output itself");
  TRY_ASSIGN(const base::UniqueFd in, base::open_file(from, O_RDONLY));
  struct stat status{};
  if (::fstat(in.get(), &status) != 0) return fail_errno("read " + from.string(), errno);
  TRY_ASSIGN(const base::UniqueFd out, base::open_file(to, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  if (::fchmod(out.get(), status.st_mode & 07777U) != 0) return fail_errno("write " + to.string(), errno);
  for (;;) {
    std::int64_t count = snapshot::copy_in_kernel(out.get(), in.get(), kPiece);
    // Over file systems, and where the kernel says nothing is there (/proc, some network file systems).
    if (count <= 0) count = ::sendfile(out.get(), in.get(), nullptr, kPiece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("copy " + from.string() + " to " + to.string(), errno);
    if (count == 0) return {};
    copied(static_cast<std::uint64_t>(count));
  }
}

Result<> copy_file(const fs::path& from, const fs::path& to, bool force,
                   const std::function<void(std::uint64_t)>& copied) {
  std::error_code problem;
  const auto there = fs::symlink_status(to, problem);
  if (!force && fs::exists(there)) return fail(Errc::invalid, to.string() + " exists", "--force overwrites");
  fs::create_directories(to.parent_path(), problem);
  if (problem) return fail_errno("make " + to.parent_path().string(), problem.value());
  if (!fs::is_symlink(from, problem)) return copy_bytes(from, to, copied);
  fs::copy(from, to, fs::copy_options::overwrite_existing | fs::copy_options::copy_symlinks, problem);
  if (problem) return fail_errno("copy " + from.string() + " to " + to.string(), problem.value());
  return {};
}

int copy_all(Context& context, const fs::path& root, const std::vector<File>& files,
             const OutputsArguments& arguments) {
  std::uint64_t bytes = 0;
  for (const File& file : files) bytes += file.size;
  TransferLine line(context);
  target::Transfer done{.what = "copy", .files = files.size(), .bytes = bytes};
  const auto tell = line.callback();
  tell(done);
  for (const File& file : files) {
    const auto copied =
        copy_file(root / file.path, fs::path(arguments.copy_to) / file.path, arguments.force, [&](std::uint64_t count) {
          done.bytes_done += count;
          tell(done);
        });
    if (!copied) {
      line.finish();
      return report(context, copied.error());
    }
    ++done.files_done;
    tell(done);
  }
  line.finish();
  if (context.json) {
    context.print({{"copied", files.size()}, {"bytes", bytes}, {"to", fs::absolute(arguments.copy_to).string()}});
  } else {
    context.note("copied " + std::to_string(files.size()) + (files.size() == 1 ? " file, " : " files, ") +
                 base::format_size(bytes) + " to " + arguments.copy_to);
  }
  return 0;
}

/// What the run's end recorded of its outputs, by path; empty when it recorded nothing.
Result<std::map<std::string, format::OutputEntry>> recorded_outputs(const format::AttemptPaths& attempt) {
  std::map<std::string, format::OutputEntry> by_path;
  TRY_ASSIGN(auto entries, format::read_output_list(attempt.output_list()));
  if (!entries) return by_path;
  for (format::OutputEntry& entry : *entries) by_path.emplace(entry.path, std::move(entry));
  return by_path;
}

int print_json(Context& context, const fs::path& root, const std::vector<File>& files,
               const format::AttemptPaths& attempt) {
  const auto recorded = recorded_outputs(attempt);
  if (!recorded) return report(context, recorded.error());
  Json items = Json::array();
  for (const File& file : files) {
    Json item = {{"path", file.path}, {"size", file.size}};
    const auto found = recorded->find(file.path);
    if (found != recorded->end() && found->second.link) {
      item["link"] = *found->second.link;
    } else if (found != recorded->end()) {
      item["sha256"] = found->second.sha256 ? Json(*found->second.sha256) : Json(nullptr);
      if (found->second.size != file.size) item["changed"] = true;  // by somebody, after the end
    }
    items.push_back(std::move(item));
  }
  context.print({{"directory", root.string()}, {"items", items}});
  return 0;
}

void print_list(Context& context, const fs::path& root, const std::vector<File>& files) {
  for (const File& file : files) {
    if (!context.out.is_terminal()) {
      context.out.line(file.path);
      continue;
    }
    const std::string size = base::format_size(file.size);
    context.out.line(std::string(size.size() < 10 ? 10 - size.size() : 0, ' ') + size + "  " + printable(file.path));
  }
  context.note(context.err.paint(Style::dim, files.empty() ? "no outputs in " + root.string() : "in " + root.string()));
}

/// Gets what is still on the target, or of it what matches.
int pull(Context& context, const format::RunPaths& run, const std::vector<std::string>& names) {
  TransferLine line(context);
  const auto pulled =
      engine::collect(run, {.pull = true, .patterns = paths_of(names, run), .progress = line.callback()});
  line.finish();
  if (!pulled) return report(context, pulled.error());
  if (pulled->state == engine::OutputsAre::pending) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "the run has not ended: its outputs are not whole yet",
                                 .hint = "trainctl wait, then again"});
  }
  if (pulled->state == engine::OutputsAre::partial && !pulled->problem.empty())
    return report(context, Error{.code = Errc::store, .message = "not all outputs came: " + pulled->problem});
  return 0;
}

int outputs_action(Context& context, const OutputsArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto id = store->resolve(arguments.run);
  if (!id) return report(context, id.error());
  const format::RunPaths run = store->run(*id);
  if (arguments.pull) {
    if (const int code = pull(context, run, arguments.names); code != 0) return code;
  }
  const auto state = format::fold_run(run);
  if (!state) return report(context, state.error());
  const format::AttemptPaths attempt = run.attempt(std::max(state->attempt, 1));
  const fs::path root = attempt.outputs();
  auto files = list_files(root);
  if (!files) return report(context, files.error());
  const std::vector<std::string> names = paths_of(arguments.names, run);
  std::erase_if(*files, [&](const File& file) { return !wanted(names, file.path); });
  if (files->empty() && !arguments.names.empty()) {
    return report(context, Error{.code = Errc::not_found,
                                 .message = "the run has no output " + base::join(arguments.names, ", "),
                                 .hint = "trainctl outputs " + arguments.run + " lists them"});
  }
  if (files->empty() && !arguments.copy_to.empty()) {
    return report(context, Error{.code = Errc::not_found,
                                 .message = "the run has no outputs to copy",
                                 .hint = "scripts write them to outputs/ or $TRAINCTL_OUTPUTS"});
  }
  if (!arguments.copy_to.empty()) return copy_all(context, root, *files, arguments);
  if (context.json) return print_json(context, root, *files, attempt);
  print_list(context, root, *files);
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<OutputsArguments>();
  app.add_option("run", arguments->run, "The run; your last one when left out")->type_name("RUN");
  app.add_option("name", arguments->names, "Only these files, folders, patterns (\"*.pt\") or declared outputs")
      ->type_name("NAME");
  app.add_option("--copy", arguments->copy_to, "Copy them into this folder")->type_name("DIR");
  app.add_flag("--pull", arguments->pull, "Get them (or those that match NAME) from the target first");
  app.add_flag("--force", arguments->force, "Overwrite files that exist");
  return [arguments](Context& context) { return outputs_action(context, *arguments); };
}

}  // namespace

Command outputs_command() {
  return {"outputs",
          "Looking",
          "List or copy what a run wrote to its outputs folder",
          true,
          configure,
          Completes::run,
          "Scripts write to the folder outputs/ of their working directory, or to $TRAINCTL_OUTPUTS. A run in place\n"
          "(--in-place, or run -- CMD) has only the latter: its working directory is yours."};
}

}  // namespace trainctl::cli
