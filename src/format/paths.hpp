// SPDX-License-Identifier: Apache-2.0
// Names of the files of a store and of a run folder (design: "The run folder"). Pure: nothing here touches the disk.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace trainctl::format {

namespace fs = std::filesystem;

/// One try of a run: attempts/<n>/. Nothing mixes between tries. Of a run on several machines each sees the folder as
/// its own part of it: `own_node` says which, and what would be the same file on all of them has its number.
struct AttemptPaths {
  fs::path root;
  int own_node = 0;
  /// The record of this node's supervisor; node 0 leads, and its record is that of the run.
  [[nodiscard]] fs::path events() const { return own_node == 0 ? root / "events.jsonl" : node_events(own_node); }
  [[nodiscard]] fs::path node(int k) const { return root / "nodes" / std::to_string(k); }
  [[nodiscard]] fs::path node_events(int k) const { return node(k) / "events.jsonl"; }
  [[nodiscard]] fs::path rank(int k, int r) const { return node(k) / ("rank-" + std::to_string(r) + ".jsonl"); }
  [[nodiscard]] fs::path own_folder() const { return node(own_node); }
  [[nodiscard]] fs::path own_rank(int r) const { return rank(own_node, r); }
  [[nodiscard]] fs::path logs() const { return root / "logs"; }
  /// Rank 0 writes std.log, the others rank-<r>.log.
  [[nodiscard]] fs::path log(int r) const {
    return logs() / (r == 0 ? std::string("std.log") : "rank-" + std::to_string(r) + ".log");
  }
  /// The copy of a run elsewhere keeps what its source lost or replaced: std.log, std.log.2, … are one after the other.
  [[nodiscard]] fs::path log_copy(int r, int copy) const {
    fs::path path = log(r);
    if (copy > 1) path += "." + std::to_string(copy);
    return path;
  }
  /// When the log of that rank had which size: std.times, rank-<r>.times.
  [[nodiscard]] fs::path times(int r = 0) const { return log(r).replace_extension(".times"); }
  [[nodiscard]] fs::path environment_log() const { return logs() / ("environment" + of_node() + ".log"); }
  [[nodiscard]] fs::path runner_log() const { return logs() / ("runner" + of_node() + ".log"); }
  [[nodiscard]] fs::path metrics() const { return root / "metrics"; }
  [[nodiscard]] fs::path work() const { return root / "work"; }
  /// Copies of inputs with mode "copy".
  [[nodiscard]] fs::path inputs() const { return root / "inputs"; }
  [[nodiscard]] fs::path outputs() const { return work() / "outputs"; }
  /// Where a copy of the run has this node's outputs.
  [[nodiscard]] fs::path collected_outputs() const {
    return own_node == 0 ? outputs() : work() / ("outputs.node" + std::to_string(own_node));
  }
  /// What lay in outputs() at the end, with hashes (output_list.hpp); missing when there was nothing.
  [[nodiscard]] fs::path output_list() const { return (own_node == 0 ? root : own_folder()) / "outputs.jsonl"; }

 private:
  [[nodiscard]] std::string of_node() const { return own_node == 0 ? "" : "-n" + std::to_string(own_node); }
};

/// runs/<ulid>/, as node `own_node` sees it (AttemptPaths).
struct RunPaths {
  fs::path root;
  int own_node = 0;
  [[nodiscard]] std::string id() const { return root.filename().string(); }
  [[nodiscard]] fs::path plan() const { return root / "plan.json"; }
  [[nodiscard]] fs::path clients() const { return root / "client"; }
  [[nodiscard]] fs::path client(std::string_view ulid) const { return clients() / (std::string(ulid) + ".jsonl"); }
  /// Held by the one process that copies this run from its target, and where its copy ends (Mirror).
  [[nodiscard]] fs::path mirror_lock() const { return clients() / "mirror.lock"; }
  [[nodiscard]] fs::path mirror_cursors() const { return clients() / "cursors.jsonl"; }
  /// Which files of this machine the run's inputs are, for a target that they are sent to (input_list.hpp).
  [[nodiscard]] fs::path sent_inputs() const { return clients() / "inputs.json"; }
  [[nodiscard]] fs::path control() const { return root / "control"; }
  [[nodiscard]] fs::path request(std::string_view ulid) const { return control() / (std::string(ulid) + ".json"); }
  [[nodiscard]] fs::path supervisor_lock() const {
    return root / (own_node == 0 ? std::string("supervisor.lock") : "supervisor-" + std::to_string(own_node) + ".lock");
  }
  /// What the supervisors of several machines need to find and trust each other (host/gang/membership.hpp).
  [[nodiscard]] fs::path gang() const { return root / "gang"; }
  [[nodiscard]] fs::path attempts() const { return root / "attempts"; }
  [[nodiscard]] AttemptPaths attempt(int n) const { return {attempts() / std::to_string(n), own_node}; }
  [[nodiscard]] fs::path outputs_link() const { return root / "outputs"; }
  /// The store this run lies in: runs/<ulid>/../..
  [[nodiscard]] fs::path store() const { return root.parent_path().parent_path(); }
};

/// The store: TRAINCTL_HOME.
struct StorePaths {
  fs::path root;
  [[nodiscard]] fs::path format() const { return root / "format.json"; }
  [[nodiscard]] fs::path runs() const { return root / "runs"; }
  [[nodiscard]] RunPaths run(std::string_view id) const { return {runs() / id}; }
  /// names/<name>/<n> holds the ULID of <name>-<n>; claimed with O_EXCL, never reused.
  [[nodiscard]] fs::path names() const { return root / "names"; }
  [[nodiscard]] fs::path snapshots() const { return root / "snapshots"; }
  /// inputs/<digest>/<name>: what was sent here for runs to read, by the digest of its manifest in the snapshot store.
  [[nodiscard]] fs::path inputs() const { return root / "inputs"; }
  [[nodiscard]] fs::path environments() const { return root / "environments"; }
  /// Secret values of a run, 0600, outside every run folder, gone before `end` is written.
  [[nodiscard]] fs::path secrets(std::string_view id) const { return root / "secrets" / id; }
  /// 32 bytes, 0600: what a client seals for the runner of this host (host/stdio/carried.hpp).
  [[nodiscard]] fs::path carrying_key() const { return root / "carrying.key"; }
  [[nodiscard]] fs::path index() const { return root / "index.db"; }
  [[nodiscard]] fs::path index_lock() const { return root / "index.lock"; }
};

}  // namespace trainctl::format
