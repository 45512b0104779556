// SPDX-License-Identifier: Apache-2.0
// What Slurm's programs print, read with care: the text formats are the same since Slurm 19, JSON changes with each
// release. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/state.hpp"

namespace trainctl::host::slurm {

/// One job as squeue shows it.
struct Job {
  std::string id;          ///< digits
  std::string state;       ///< "PENDING", "RUNNING", …; kept as it is when we do not know it
  std::string reason;      ///< "Resources", "None", …
  std::string nodes;       ///< "n[1-2]"; empty when there are none
  std::int64_t start = 0;  ///< seconds since 1970, expected for a job that waits; 0 = unknown
  std::int64_t end = 0;
  std::string text;  ///< its comment and its name
};

/// For squeue -o, with SLURM_TIME_FORMAT=%s. The free texts come last: they may hold anything.
inline constexpr const char* kQueueFormat = "%i|%T|%r|%N|%S|%e|%k|%j";

/// Lines that are no job (banners, array ranges, format drift) are skipped.
std::vector<Job> parse_queue(std::string_view text);

/// For sinfo -o: a line for each partition and each limit of its nodes.
inline constexpr const char* kPartitionFormat = "%P|%a|%D|%l";

struct Partition {
  std::string name;
  bool is_default = false;
  bool up = false;
  std::uint64_t nodes = 0;
  std::string time_limit;  ///< "infinite", "2-00:00:00"
};

/// Lines that are no partition are skipped.
std::vector<Partition> parse_partitions(std::string_view text);

/// The job's comment or name says that it is this run's.
bool belongs_to(const Job& job, std::string_view run);
/// Its comment says that it is another run's: a controller that was set up anew counts from 1 again.
bool belongs_to_another(const Job& job, std::string_view run);

/// The members of `scontrol show job -o` and `scontrol show config` that have a plain value.
std::map<std::string, std::string> parse_pairs(std::string_view text);

/// "1-02:03:04", "02:03:04", "3:04" as seconds; empty for UNLIMITED, INVALID, NOT_SET and what is no time.
std::optional<std::int64_t> parse_time_left(std::string_view text);

/// The job's id in what sbatch --parsable printed: the last line that is one, site wrappers print banners. The cluster
/// behind ";" is cut off.
std::optional<std::string> parse_submitted(std::string_view text);

/// What a row of `sacct -P -n -X -o JobID,State,ExitCode,Reason` says.
struct Accounted {
  std::string state;  ///< without what follows the first blank: "CANCELLED by 1000", "CANCELLED+"
  std::string by;     ///< "1000" of "CANCELLED by 1000"
  int exit_code = 0;
  int signal = 0;
};
std::optional<Accounted> parse_accounting(std::string_view text, std::string_view job);

/// How far a state of Slurm is.
enum class Stage {
  waiting,   ///< in the queue
  starting,  ///< nodes are being set up
  running,   ///< the batch process is there, or could be
  leaving,   ///< COMPLETING: over, with an end that is not told yet
  over,
  unknown,  ///< a word of a later Slurm
};
Stage stage_of(std::string_view state);

/// The end of a run whose job ended with this state and left none itself. Only for Stage::over.
struct Ending {
  format::State state = format::State::failed;
  format::Cause cause = format::Cause::exit;
  std::string message;
};
Ending ending_of(std::string_view state);

}  // namespace trainctl::host::slurm
