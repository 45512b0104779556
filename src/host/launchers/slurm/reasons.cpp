// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/reasons.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/text.hpp"

namespace trainctl::host::slurm {
namespace {

struct Row {
  std::string_view name;  ///< whole, or the beginning when it ends in "*"
  std::string_view words;
  std::string_view what_to_do = {};  ///< says that it never starts as it is
};

// The first row that fits counts.
constexpr std::array kRows = {
    Row{"None", "waits for the scheduler"},
    Row{"Priority", "waits for jobs with higher priority"},
    Row{"Resources", "waits for free resources"},
    Row{"Nodes_required_for_job_are_DOWN*", "the nodes it needs are down, drained or reserved"},
    Row{"PartitionConfig", "asks for more than its partition can ever give",
        "ask for less, or name another partition (scontrol show partition)"},
    Row{"PartitionNodeLimit", "asks for more nodes than its partition allows", "ask for fewer nodes"},
    Row{"PartitionTimeLimit", "asks for more time than its partition allows",
        "lower limits.timeout or slurm.time, or name another partition"},
    Row{"PartitionDown", "its partition is down"},
    Row{"PartitionInactive", "its partition is inactive"},
    Row{"BadConstraints", "no node has what it asks for", "change slurm.constraint, gres, memory or cpus"},
    Row{"AccountNotAllowed", "its account may not use the partition", "name another slurm.account or partition"},
    Row{"QOSNotAllowed", "its quality of service is not allowed here", "name another slurm.qos"},
    Row{"InvalidAccount", "its account is not valid", "name another slurm.account"},
    Row{"InvalidQOS", "its quality of service is not valid", "name another slurm.qos"},
    Row{"AccountingPolicy", "waits for a limit of its account"},
    Row{"ReqNodeNotAvail*", "a node it asks for is not available (down, drained or reserved)"},
    Row{"NodeDown", "a node it needs is down"},
    Row{"DependencyNeverSatisfied", "the job it depends on did not end as it should",
        "trainctl cancel, then submit again"},
    Row{"Dependency", "waits for the job it depends on"},
    Row{"BeginTime", "its earliest start has not come (after a requeue Slurm waits about two minutes)"},
    Row{"JobHeldUser", "is held by its user", "scontrol release it"},
    Row{"JobHeldAdmin", "is held by an administrator", "ask the administrators of the cluster"},
    Row{"JobHoldMaxRequeue", "was put back into the queue too often and is held", "scontrol release it"},
    Row{"job_requeued_in_held_state", "was put back into the queue and is held", "scontrol release it"},
    Row{"launch_failed_requeued_held", "could not be launched and is held", "ask the administrators of the cluster"},
    Row{"Licenses", "waits for licences"},
    Row{"ReservationDeleted", "its reservation was deleted", "name another slurm.reservation"},
    Row{"InvalidReservation", "its reservation is not valid", "name another slurm.reservation"},
    Row{"Reservation", "waits for its reservation to begin"},
    Row{"BurstBuffer*", "waits for a burst buffer"},
    Row{"Prolog", "the nodes are being prepared for it"},
    Row{"Cleaning", "is put back into the queue and is still being cleaned up"},
    Row{"FrontEndDown", "there is no front end to run it"},
    Row{"SystemFailure", "Slurm or a node failed"},
    Row{"JobArrayTaskLimit", "waits for other tasks of its array"},
    Row{"MaxRequeue*", "was put back into the queue too often", "scontrol release it"},
    Row{"QOSMax*PerJob*", "asks for more than its quality of service allows a job",
        "ask for less, or another slurm.qos"},
    Row{"QOSMaxWallDuration*", "asks for more time than its quality of service allows",
        "lower limits.timeout or slurm.time"},
    Row{"QOSMin*", "asks for less than its quality of service wants", "ask for more, or another slurm.qos"},
    Row{"QOS*", "waits for a limit of its quality of service"},
    Row{"AssocMax*PerJob*", "asks for more than its account allows a job", "ask for less, or another slurm.account"},
    Row{"AssocMaxWallDuration*", "asks for more time than its account allows", "lower limits.timeout or slurm.time"},
    Row{"Assoc*", "waits for a limit of its account"},
    Row{"MaxMemPerLimit", "asks for more memory than a node may give it", "lower resources.memory"},
    Row{"MaxNodePerAccount", "waits for nodes its account may use"},
};

/// `pattern` may have "*" anywhere; each stands for any text.
bool fits(std::string_view pattern, std::string_view text) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (text.substr(0, star) != pattern.substr(0, star) || text.size() < star) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= text.size(); ++at) {
    if (fits(rest, text.substr(at))) return true;
  }
  return false;
}

}  // namespace

Reason reason_of(std::string_view reason) {
  std::string name(base::trim(reason));
  if (name.starts_with('(') && name.ends_with(')')) name = name.substr(1, name.size() - 2);
  // squeue shows "launch failed requeued held" for launch_failed_requeued_held.
  std::replace(name.begin(), name.end(), ' ', '_');
  for (const Row& row : kRows) {
    if (fits(row.name, name)) return {std::string(row.words), !row.what_to_do.empty(), std::string(row.what_to_do)};
  }
  if (name.empty()) return {"waits for the scheduler"};
  return {"waits (" + std::string(base::trim(reason)) + ")"};
}

std::string sentence_of(std::string_view reason) {
  const Reason known = reason_of(reason);
  std::string text = known.words;
  constexpr std::string_view kNodes = "UnavailableNodes:";
  if (const auto nodes = reason.find(kNodes); nodes != std::string_view::npos)
    text += ": " + std::string(reason.substr(nodes + kNodes.size()));
  if (known.impossible) text += "; it will not start as it is: " + known.what_to_do;
  return text;
}

}  // namespace trainctl::host::slurm
