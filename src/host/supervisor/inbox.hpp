// SPDX-License-Identifier: Apache-2.0
// control/: requests of clients to the supervisor, one file each, never changed.
//   {"type":"cancel","reason":"…"}   {"type":"signal","signal":"SIGUSR1"}
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "format/paths.hpp"

namespace trainctl::host {

struct ControlRequest {
  std::string id;    ///< ULID of the file
  std::string type;  ///< cancel | signal | what we do not know
  std::string signal;
  std::string reason;
};

class Inbox {
 public:
  explicit Inbox(std::filesystem::path folder) : folder_(std::move(folder)) {}
  /// Requests that earlier supervisors or attempts have acknowledged.
  void mark_seen(const std::string& id) { seen_.insert(id); }
  /// The requests not returned before, oldest first. A damaged file comes as an unknown type.
  std::vector<ControlRequest> take_new();
  [[nodiscard]] bool has_new() const;

 private:
  [[nodiscard]] std::vector<std::string> new_ids() const;
  std::filesystem::path folder_;
  std::set<std::string> seen_;
};

}  // namespace trainctl::host
