// SPDX-License-Identifier: Apache-2.0
// The source on the disk of the machine that a batch system gave, instead of the file system that all machines share:
// "slurm": {"unpack": "node_local"}. Reading thousands of small files over the network is what is slow there; the packs
// of the store are few and read from one end to the other.
#pragma once

#include <filesystem>
#include <utility>

#include "base/file.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Does each machine of the run unpack the source for itself?
bool unpacks_on_node(const format::Plan& plan);

/// What a run's script finds its files in: the directory of a run in place, the tree on this machine while there is
/// one, else the attempt's work/.
std::filesystem::path source_root(const format::Plan& plan, const format::AttemptPaths& attempt);

/// The tree of an attempt on this machine, removed when this goes. One that was killed is removed by the next that is
/// made here.
class NodeTree {
 public:
  /// An empty folder below TMPDIR (else /tmp), and nobody else's.
  static Result<NodeTree> claim(const format::AttemptPaths& attempt);
  NodeTree(NodeTree&& other) noexcept : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}
  NodeTree& operator=(NodeTree&&) = delete;
  NodeTree(const NodeTree&) = delete;
  NodeTree& operator=(const NodeTree&) = delete;
  ~NodeTree();

 private:
  NodeTree(std::filesystem::path path, base::FileLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  base::FileLock lock_;
};

/// The snapshot into the claimed tree; outputs/ leads to the attempt's.
Result<> fill_node_tree(const format::Plan& plan, const format::RunPaths& run, int attempt);

}  // namespace trainctl::host
