// SPDX-License-Identifier: Apache-2.0
#include "engine/mirror_pass.hpp"

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/contact.hpp"
#include "archive/mirror.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

Result<std::unique_ptr<MirrorPass>> MirrorPass::open(const std::vector<format::RunPaths>& runs) {
  auto pass = std::make_unique<MirrorPass>();
  for (const format::RunPaths& run : runs) {
    TRY_ASSIGN(auto mirror, archive::Mirror::open(run));
    if (mirror) {
      pass->copies_.emplace(run.id(), Copy{run, std::move(*mirror)});
    } else {
      ++pass->busy_;
    }
  }
  return pass;
}

std::vector<format::RunPaths> MirrorPass::mine() const {
  std::vector<format::RunPaths> runs;
  runs.reserve(copies_.size());
  for (const auto& [id, copy] : copies_) runs.push_back(copy.run);
  return runs;
}

Result<std::vector<target::Watched>> MirrorPass::watched() const {
  std::vector<target::Watched> all;
  for (const auto& [id, copy] : copies_) {
    target::Watched& one = all.emplace_back();
    TRY_ASSIGN(one.ref, reference(copy.run));
    TRY_ASSIGN(const auto cursors, copy.mirror.cursors());
    for (const auto& [file, cursor] : cursors)
      one.cursors[file] = {.have = cursor.have, .tail = cursor.tail, .token = cursor.token};
  }
  return all;
}

Result<> MirrorPass::run(target::Target& target, target::Until until, const target::Cancel& cancel) {
  if (copies_.empty()) return {};
  TRY_ASSIGN(const auto runs, watched());
  return target.watch(runs, *this, cancel, until);
}

Result<MirrorPass::Copy*> MirrorPass::copy(std::string_view run) {
  const auto found = copies_.find(run);
  if (found == copies_.end()) return fail(Errc::io, "the target speaks of a run that was not asked for");
  if (!heard_.contains(run)) heard_.emplace(run);
  return &found->second;
}

Result<> MirrorPass::here(Result<> written) {
  failed_here_ = failed_here_ || !written;
  return written;
}

Result<> MirrorPass::append(const target::Piece& piece) {
  TRY_ASSIGN(Copy * copy, this->copy(piece.run));
  TRY(here(copy->mirror.write(piece.file, piece.offset, piece.bytes, piece.next_token)));
  bytes_ += piece.bytes.size();
  if (piece.file.ends_with(".log")) lines_ += base::count_lines(piece.bytes);
  return {};
}

Result<target::Cursor> MirrorPass::mismatch(std::string_view run, std::string_view file, std::uint64_t size,
                                            const target::SourceHash& hash) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  TRY_ASSIGN(auto cursor, copy->mirror.reconcile(file, size, [&hash](std::uint64_t count) { return hash(0, count); }));
  return target::Cursor{.have = cursor.have, .tail = std::move(cursor.tail), .token = std::move(cursor.token)};
}

Result<> MirrorPass::gap(std::string_view run, std::string_view file, std::uint64_t lines) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  return here(copy->mirror.note_gap(file, lines));
}

Result<> MirrorPass::observed(std::string_view run, const Json& observation) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  return here(copy->mirror.observe(observation));
}

Result<> MirrorPass::ended(std::string_view run) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  return here(archive::note_whole(copy->run));
}

Result<> MirrorPass::current(std::string_view run) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  return here(archive::note_seen(copy->run));
}

Result<> MirrorPass::missing(std::string_view run) {
  TRY_ASSIGN(Copy * copy, this->copy(run));
  missing_.emplace_back(run);
  return here(archive::note_gone(copy->run));
}

}  // namespace trainctl::engine
