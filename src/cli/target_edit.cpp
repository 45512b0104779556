// SPDX-License-Identifier: Apache-2.0
#include "cli/target_edit.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/output.hpp"
#include "spec/layer.hpp"
#include "spec/overrides.hpp"
#include "spec/target.hpp"
#include "spec/target_file.hpp"
#include "spec/trust.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

namespace fs = std::filesystem;

/// Where the file of that name is or would be.
Result<spec::TargetPlace> place_of(const TargetEdit& edit, const spec::TargetFolders& folders) {
  if (!spec::is_target_name(edit.name)) {
    return fail(Errc::invalid, "\"" + edit.name + "\" cannot name a target",
                "letters, digits, \"-\", \"_\" and \".\", at most 63, a letter or digit first, and not \"local\"");
  }
  if (edit.project && !folders.project)
    return fail(Errc::not_found, "there is no project here",
                "a project is a folder with a trainctl.json ({} is enough)");
  if (!edit.project && !folders.user) return fail(Errc::invalid, "there is no home folder: HOME is not set");
  const fs::path& folder = edit.project ? *folders.project : *folders.user;
  return spec::TargetPlace{.name = edit.name, .file = folder / (edit.name + ".json"), .project = edit.project};
}

/// What the options say, as a target file.
ResultAll<Json> document_of(const TargetEdit& edit) {
  Json document = {{"type", "target"}};
  if (edit.hosts.size() == 1) document["host"] = edit.hosts.front();
  if (edit.hosts.size() > 1) document["hosts"] = edit.hosts;
  std::error_code ignored;
  if (edit.ssh_config) document["ssh_config"] = fs::absolute(*edit.ssh_config, ignored).lexically_normal().string();
  if (edit.directory) document["directory"] = *edit.directory;
  if (edit.launcher) document["launcher"] = *edit.launcher;
  if (edit.accept_new_host_keys) document["accept_new_host_keys"] = true;
  Errors errors;
  const spec::Layer fields = spec::override_layer({.set = edit.set}, spec::target_table(), errors);
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  document.merge_patch(fields.value);
  return document;
}

/// Whoever writes a project's target has read it.
Result<> trust(const spec::TargetPlace& place, const std::string& text, const spec::TargetFolders& folders) {
  if (!place.project || !folders.trusted) return {};
  TRY_ASSIGN(auto list, spec::TrustList::load(*folders.trusted));
  list.trust(place.file, text);
  return list.save(*folders.trusted);
}

Result<> write(const spec::TargetPlace& place, const std::string& text, const spec::TargetFolders& folders) {
  TRY(base::make_directories(place.file.parent_path()));
  TRY(base::write_file_durable(place.file, text));
  return trust(place, text, folders);
}

}  // namespace

int add_target(Context& context, const TargetEdit& edit) {
  auto folders = spec::TargetFolders::around(fs::current_path());
  const auto place = place_of(edit, folders);
  if (!place) return report(context, place.error());
  if (base::exists(place->file) && !edit.replace) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "there is a target \"" + edit.name + "\" already: " + place->file.string(),
                                 .hint = "change that file, or write it anew with --replace"});
  }
  auto document = document_of(edit);
  if (!document) return report(context, document.error());
  const std::string text = base::pretty_json(*document);
  spec::TargetPlace checked = *place;
  checked.project = false;  // what a person types needs no trust
  if (auto file = spec::parse_target_file(checked, text, folders); !file) {
    Errors errors = std::move(file).error();
    for (Error& error : errors) error.at.reset();  // a file nobody has seen yet
    return report(context, errors);
  }
  if (auto written = write(*place, text, folders); !written) return report(context, written.error());
  if (!edit.project && spec::find_target_file(folders, edit.name)->project)
    context.warn("here the project's target of the same name comes first");
  if (context.json) {
    context.print({{"name", edit.name}, {"file", place->file.string()}, {"project", edit.project}});
  } else {
    context.note("written: " + printable(place->file.string()) + "\n  what is there: trainctl target test " +
                 edit.name + "   use it: trainctl submit FILE --target " + edit.name);
  }
  return 0;
}

int remove_target(Context& context, const TargetEdit& edit) {
  const auto folders = spec::TargetFolders::around(fs::current_path());
  auto place = place_of(edit, folders);
  if (!place) return report(context, place.error());
  std::error_code problem;
  if (!fs::remove(place->file, problem)) {
    if (problem) {
      return report(context, Error{.code = Errc::io, .message = place->file.string() + ": " + problem.message()});
    }
    const auto other = spec::find_target_file(folders, edit.name);
    return report(context,
                  Error{.code = Errc::not_found,
                        .message = "there is no file " + place->file.string(),
                        .hint = other && other->project ? "the project's: trainctl target rm --project " + edit.name
                                                        : "trainctl target ls"});
  }
  if (context.json) {
    context.print({{"name", edit.name}, {"file", place->file.string()}, {"removed", true}});
  } else {
    context.note("removed: " + printable(place->file.string()));
  }
  return 0;
}

}  // namespace trainctl::cli
