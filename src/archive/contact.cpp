// SPDX-License-Identifier: Apache-2.0
#include "archive/contact.hpp"

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {
namespace {

constexpr std::size_t kMostBytes = 64U << 10U;

std::filesystem::path file_of(const format::RunPaths& run) {
  return run.clients() / "contact.json";
}

Result<> write(const format::RunPaths& run, const Contact& contact) {
  Json document = Json::object();
  if (contact.seen) document["seen"] = base::format_utc(*contact.seen);
  if (contact.tried) document["tried"] = base::format_utc(*contact.tried);
  if (!contact.problem.empty()) document["problem"] = contact.problem;
  if (contact.whole) document["whole"] = true;
  if (contact.gone) document["gone"] = true;
  // After a crash an older one is as good: nothing is made durable.
  return base::write_file_atomic(file_of(run), base::dump_json(document) + "\n");
}

}  // namespace

Contact read_contact(const format::RunPaths& run) {
  Contact contact;
  const auto text = base::read_file_if_exists(file_of(run), kMostBytes);
  if (!text || !*text) return contact;
  const auto document = base::parse_json(**text);
  if (!document || !document->is_object()) return contact;
  contact.seen = base::parse_utc(document->value("seen", ""));
  contact.tried = base::parse_utc(document->value("tried", ""));
  contact.problem = document->value("problem", "");
  contact.whole = document->value("whole", false);
  contact.gone = document->value("gone", false);
  return contact;
}

Result<> note_seen(const format::RunPaths& run) {
  return write(run, {.seen = base::wall_now(), .whole = read_contact(run).whole});
}

Result<> note_whole(const format::RunPaths& run) {
  return write(run, {.seen = base::wall_now(), .whole = true});
}

Result<> note_gone(const format::RunPaths& run) {
  Contact contact = read_contact(run);
  contact.tried = base::wall_now();
  contact.problem = "the target has nothing of this run any more";
  contact.gone = true;
  return write(run, contact);
}

Result<> note_unreachable(const format::RunPaths& run, const std::string& problem) {
  Contact contact = read_contact(run);
  contact.tried = base::wall_now();
  contact.problem = problem;
  return write(run, contact);
}

}  // namespace trainctl::archive
