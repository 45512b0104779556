// SPDX-License-Identifier: Apache-2.0
// Who may start on this host now. No daemon: the waiting supervisors decide themselves over a shared folder of flock'ed
// files, /var/tmp/trainctl-$UID/slots-<boot id> (TRAINCTL_SLOTS names another one), one file a run.
//
// A file whose flock is free belongs to nobody: its reservation is gone. The slot's descriptor is inherited by the
// waiters, so a reservation lasts until the last process of the run's tree is gone, whoever was killed before.
// A run that states no cpus, memory or gpus reserves nothing and has no file: admitting it touches no disk.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/fd.hpp"
#include "host/resources/capacity.hpp"
#include "host/resources/gpu.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

struct SlotRequest {
  std::string run;   ///< ULID; names the file
  std::string name;  ///< digits-42
  std::string user;
  std::optional<double> cpus;
  std::optional<std::uint64_t> memory;  ///< bytes
  std::optional<int> gpus;
  int priority = 0;               ///< higher goes first
  std::int64_t submitted_ms = 0;  ///< since the epoch; older goes first
};

/// False: the run reserves nothing and is admitted at once (gpus: 0 hides the GPUs, which reserves none).
[[nodiscard]] bool needs_slot(const SlotRequest& request);

/// A run's place in the queue, later its slot. Destroying it gives up our hold; the file dies with the last hold.
class Ticket {
 public:
  Ticket() = default;
  [[nodiscard]] const SlotRequest& request() const { return request_; }
  [[nodiscard]] bool admitted() const { return admitted_; }
  /// To be inherited by the waiters (O_CLOEXEC: it does not survive exec). -1 for a run that reserves nothing.
  [[nodiscard]] int slot_fd() const { return fd_.get(); }
  [[nodiscard]] const std::vector<int>& gpus() const { return gpus_; }

 private:
  friend class Admission;
  SlotRequest request_;
  base::UniqueFd fd_;
  std::vector<int> gpus_;
  std::uint64_t since_ns_ = 0;
  bool admitted_ = false;
  bool fits_host_ = false;
};

struct Admitted {
  std::vector<int> gpus;  ///< indices; set CUDA_DEVICE_ORDER=PCI_BUS_ID with them, that is nvidia-smi's order
  int slot_fd = -1;       ///< owned by the ticket
};
struct Waiting {
  std::string reason;  ///< "waits for 1 GPU: held by digits-41 (pid 4123), 12 min"
  std::string key;     ///< the same without what changes with time: log a change of this only
};
using Admittance = std::variant<Admitted, Waiting>;

struct Holder {
  SlotRequest request;
  bool admitted = false;  ///< else it waits
  std::vector<int> gpus;
  pid_t pid = 0;                       ///< the supervisor that queued it; it may be gone, the waiters hold on
  std::chrono::milliseconds since{0};  ///< admitted, or waiting, for so long
};

/// A process that computes on a GPU no run of ours has reserved.
struct Stranger {
  int gpu = 0;
  GpuProcess process;
  std::string run;  ///< TRAINCTL_RUN_ID it was started with: a run that did not state its gpus
  uid_t user = 0;
};

struct HostSlots {  ///< for `trainctl target show local`
  Capacity capacity;
  std::vector<Gpu> gpus;
  std::string gpu_problem;      ///< what nvidia-smi said when it failed
  std::vector<Holder> holders;  ///< admitted first, then the queue in its order
  std::vector<Stranger> strangers;
};

struct SlotEntry;
struct SlotDecision;

class Admission {
 public:
  /// Touches nothing yet: the folder is made by the first request that needs it.
  static Result<Admission> open();

  /// Queues a run. Errc::unavailable (retryable) while processes of an earlier attempt of it still hold its slot;
  /// Errc::denied when the shared folder is not ours.
  Result<Ticket> enqueue(const SlotRequest& request);

  /// Call after enqueue, whenever wait_fd() is readable (drain() it) and every 2 s. Admits in the order priority, then
  /// age; nobody passes an older waiting run with something that one needs. More than the host has, or than a probe of
  /// the GPUs says: Errc::cannot_start, naming what there is. Runs nvidia-smi (deadline 10 s) only for `gpus` > 0.
  Result<Admittance> try_admit(Ticket& ticket);

  /// Readable when a hold may have ended; -1 until a ticket really waits (or without inotify: then only the 2 s count).
  [[nodiscard]] int wait_fd() const { return inotify_.get(); }
  void drain() const;

  /// Gives up our hold and removes the file, unless waiters still hold it: then it dies with them.
  void release(Ticket& ticket);

  /// Live reservations and the queue, in order. A missing folder is empty.
  Result<std::vector<Holder>> holders();
  Result<HostSlots> describe();

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  Admission() = default;
  Result<> open_folder(bool create);
  [[nodiscard]] Result<base::UniqueFd> lock() const;
  bool watch_folder();
  Result<std::vector<SlotEntry>> scan(const Ticket* mine) const;
  [[nodiscard]] Result<> save(const Ticket& ticket) const;
  Result<> check_host(Ticket& ticket);
  Result<> refresh_gpus();
  Result<> refresh_strangers(const std::vector<int>& assigned);
  Result<SlotDecision> decide(Ticket& ticket, bool commit);
  Result<SlotDecision> decide_with_strangers(Ticket& ticket);

  std::filesystem::path folder_;
  base::UniqueFd folder_fd_;  ///< flock'ed shared: systemd-tmpfiles leaves such folders alone
  base::UniqueFd inotify_;
  std::optional<Capacity> capacity_;
  std::optional<std::vector<Gpu>> gpus_;
  std::vector<Stranger> strangers_;
  std::uint64_t strangers_ns_ = 0;  ///< when they were looked at; 0 = never
};

}  // namespace trainctl::host
