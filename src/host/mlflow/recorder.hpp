// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/tracking.hpp"

namespace trainctl::host {

/// metrics/mlflow-r<rank>.jsonl and what it folds to.
class Recorder {
 public:
  struct Place {
    std::filesystem::path directory;
    int rank = 0;
  };
  using Warn = std::function<void(std::string_view)>;
  Recorder(const Place& place, Tracking tracking, Warn warn)
      : path_(place.directory / ("mlflow-r" + std::to_string(place.rank) + ".jsonl")),
        rank_(place.rank),
        tracking_(std::move(tracking)),
        warn_(std::move(warn)) {}

  /// Reads what an earlier process recorded.
  void recover();
  /// Records what an answer asks for.
  void record(ApiAnswer& answer);
  /// Records that the file `name` below the outputs was written.
  void record_file(const std::string& name, std::uint64_t bytes, base::WallTime now);
  [[nodiscard]] const Tracking& tracking() const { return tracking_; }
  [[nodiscard]] std::vector<format::MetricPoint> history(const std::string& name) const;

 private:
  void write(const std::string& lines);

  std::filesystem::path path_;
  int rank_;
  Tracking tracking_;
  Warn warn_;
  base::UniqueFd file_ = {};
  bool torn_ = false;  ///< the file may end in the middle of a line
  bool said_ = false;
};

}  // namespace trainctl::host
