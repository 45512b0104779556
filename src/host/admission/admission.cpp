// SPDX-License-Identifier: Apache-2.0
#include "host/admission/admission.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "host/admission/slot_entry.hpp"
#include "host/admission/slot_folder.hpp"
#include "host/resources/capacity.hpp"
#include "host/resources/gpu.hpp"
#include "host/resources/proc.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::string_view kSuffix = ".json";
constexpr std::uint64_t kStrangersFreshNs = 1'500'000'000;     // between two tries of one run
constexpr std::uint64_t kStrangersBlockedNs = 10'000'000'000;  // nvidia-smi is slow: not every 2 s while one sits there

std::string slot_name(const SlotRequest& request) {
  return request.run + std::string(kSuffix);
}

/// What is in a slot file, if somebody alive holds it; a dead one is removed. Called under the folder's lock.
std::optional<std::string> read_live(int folder, const std::string& name) {
  const base::UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return std::nullopt;
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) {
    ::unlinkat(folder, name.c_str(), 0);
    return std::nullopt;
  }
  std::string text(std::size_t{64} << 10U, '\0');
  const ssize_t got = ::pread(fd.get(), text.data(), text.size(), 0);
  if (got <= 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(got));
  return text;
}

Error too_much(const std::string& wanted, const std::string& has) {
  Error error{.code = Errc::cannot_start, .message = "the run wants " + wanted + ", this host has " + has};
  error.hint = "ask for less, or choose another target";
  return error;
}

std::string gpu_words(const std::vector<Gpu>& gpus) {
  if (gpus.empty()) return "no GPU";
  std::vector<std::string> names;
  names.reserve(gpus.size());
  for (const Gpu& gpu : gpus) names.push_back(std::to_string(gpu.index) + ": " + gpu.name);
  return std::to_string(gpus.size()) + (gpus.size() == 1 ? " GPU (" : " GPUs (") + base::join(names, ", ") + ")";
}

std::string limit_words(const std::string& limit) {
  if (limit.empty()) return {};
  return limit == "cgroup" ? " (limit of its control group)" : " (of its CPU affinity)";
}

}  // namespace

bool needs_slot(const SlotRequest& request) {
  return request.cpus.value_or(0) > 0 || request.memory.value_or(0) > 0 || request.gpus.value_or(0) > 0;
}

Result<Admission> Admission::open() {
  Admission admission;
  admission.folder_ = slot_folder();
  return admission;
}

Result<> Admission::open_folder(bool create) {
  if (folder_fd_) return {};
  TRY_ASSIGN(folder_fd_, open_slot_folder(folder_, create));
  return {};
}

Result<base::UniqueFd> Admission::lock() const {
  return lock_slot_folder(folder_fd_.get(), folder_);
}

Result<Ticket> Admission::enqueue(const SlotRequest& request) {
  Ticket ticket;
  ticket.request_ = request;
  ticket.since_ns_ = base::mono_ns();
  if (!needs_slot(request)) {
    ticket.admitted_ = true;
    return ticket;
  }
  if (!base::is_ulid(request.run))
    return fail(Errc::internal, "a slot is asked for by the run's ULID, not " + request.run);
  TRY(open_folder(true));
  TRY_ASSIGN(const auto held, lock());
  const std::string name = slot_name(request);
  base::UniqueFd fd(
      ::openat(folder_fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600));
  if (!fd) return fail_errno("create " + (folder_ / name).string(), errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno("lock " + (folder_ / name).string(), errno);
    Error error{.code = Errc::unavailable,
                .message = "processes of an earlier attempt of " + request.name + " still hold its slot"};
    error.retryable = true;
    return fail(std::move(error));
  }
  ticket.fd_ = std::move(fd);
  if (auto saved = save(ticket); !saved) {
    ::unlinkat(folder_fd_.get(), name.c_str(), 0);
    return fail(std::move(saved).error());
  }
  return ticket;
}

bool Admission::watch_folder() {
  if (inotify_) return false;
  // Only the end of a hold matters: closing the last descriptor of a file that was open for writing. Made by the first
  // run that really waits: closing it again takes the kernel milliseconds.
  inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_ && ::inotify_add_watch(inotify_.get(), folder_.c_str(), IN_CLOSE_WRITE | IN_ONLYDIR) < 0)
    inotify_.reset();
  return static_cast<bool>(inotify_);
}

Result<> Admission::save(const Ticket& ticket) const {
  const std::string text =
      slot_text(ticket.request_, ticket.admitted_, ticket.gpus_, ticket.since_ns_, base::mono_ns());
  auto written = base::pwrite_all(ticket.fd_.get(), text, 0);
  if (!written)
    return fail(std::move(written).error().with_context("write " + (folder_ / slot_name(ticket.request_)).string()));
  return {};
}

Result<std::vector<SlotEntry>> Admission::scan(const Ticket* mine) const {
  std::vector<SlotEntry> entries;
  TRY_ASSIGN(const auto names, base::list_directory(folder_));
  for (const std::string& name : names) {
    if (!name.ends_with(kSuffix) || (mine != nullptr && name == slot_name(mine->request_))) continue;
    const auto text = read_live(folder_fd_.get(), name);
    if (!text) continue;
    if (auto entry = parse_slot(*text)) entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<> Admission::refresh_gpus() {
  if (gpus_) return {};
  TRY_ASSIGN(gpus_, list_gpus());
  return {};
}

Result<> Admission::check_host(Ticket& ticket) {
  if (ticket.fits_host_) return {};
  const SlotRequest& request = ticket.request_;
  if (!capacity_) capacity_ = read_capacity();
  if (request.gpus.value_or(0) > 0) TRY(refresh_gpus());
  if (request.cpus.value_or(0) > capacity_->cpus)
    return fail(too_much(base::format_number(*request.cpus, 8) + " cpus",
                         base::format_number(capacity_->cpus, 8) + limit_words(capacity_->cpus_limit)));
  if (request.memory.value_or(0) > capacity_->memory)
    return fail(too_much(base::format_size(*request.memory) + " of memory",
                         base::format_size(capacity_->memory) + limit_words(capacity_->memory_limit)));
  if (request.gpus.value_or(0) > 0 && static_cast<std::size_t>(*request.gpus) > gpus_->size())
    return fail(too_much(std::to_string(*request.gpus) + (*request.gpus == 1 ? " GPU" : " GPUs"), gpu_words(*gpus_)));
  ticket.fits_host_ = true;
  return {};
}

Result<> Admission::refresh_strangers(const std::vector<int>& assigned) {
  TRY_ASSIGN(const auto processes, list_gpu_processes());
  strangers_.clear();
  strangers_ns_ = base::mono_ns();
  for (const GpuProcess& process : processes) {
    const auto gpu =
        std::find_if(gpus_->begin(), gpus_->end(), [&](const Gpu& one) { return one.uuid == process.uuid; });
    if (gpu == gpus_->end()) continue;                                                        // not visible to us
    if (std::find(assigned.begin(), assigned.end(), gpu->index) != assigned.end()) continue;  // a run of ours has it
    Stranger stranger{gpu->index, process, started_variable(process.pid, "TRAINCTL_RUN_ID").value_or(""), 0};
    struct stat status{};
    if (::stat(("/proc/" + std::to_string(process.pid)).c_str(), &status) == 0) stranger.user = status.st_uid;
    strangers_.push_back(std::move(stranger));
  }
  return {};
}

Result<SlotDecision> Admission::decide(Ticket& ticket, bool commit) {
  TRY_ASSIGN(const auto held, lock());
  TRY_ASSIGN(const auto entries, scan(&ticket));
  const SlotView view{*capacity_, gpus_.value_or(std::vector<Gpu>{}), strangers_, base::mono_ns()};
  SlotDecision decision = decide_slot(ticket.request_, entries, view);
  if (decision.admit && commit) {
    ticket.admitted_ = true;
    ticket.gpus_ = decision.gpus;
    ticket.since_ns_ = base::mono_ns();
  }
  if (auto saved = save(ticket); !saved) {
    ticket.admitted_ = false;
    ticket.gpus_.clear();
    return fail(std::move(saved).error());
  }
  return decision;
}

/// Looks at strangers only when the table would admit us, and not under the lock: nvidia-smi takes up to seconds.
Result<SlotDecision> Admission::decide_with_strangers(Ticket& ticket) {
  const std::uint64_t fresh = strangers_.empty() ? kStrangersFreshNs : kStrangersBlockedNs;
  const bool wants_gpus = ticket.request_.gpus.value_or(0) > 0;
  const bool look = wants_gpus && (strangers_ns_ == 0 || base::mono_ns() - strangers_ns_ > fresh);
  if (look) strangers_.clear();
  TRY_ASSIGN(SlotDecision decision, decide(ticket, !look));
  if (decision.admit && look) {
    if (auto looked = refresh_strangers(decision.assigned); !looked) {
      Error error = std::move(looked).error();
      error.code = Errc::cannot_start;  // only a lock that is late is waited for
      return fail(std::move(error));
    }
    TRY_ASSIGN(decision, decide(ticket, true));
  }
  if (decision.admit || !watch_folder()) return decision;
  // A hold that ended between the decision and the watch made no event: decide once more.
  TRY_ASSIGN(decision, decide(ticket, !look));
  if (decision.admit && !ticket.admitted_) {  // only without fresh news of strangers: the next try looks
    decision.admit = false;
    decision.waiting.reason = decision.waiting.key = "waits for a look at the GPUs";
  }
  return decision;
}

Result<Admittance> Admission::try_admit(Ticket& ticket) {
  if (ticket.admitted_) return Admitted{ticket.gpus_, ticket.fd_.get()};
  if (!ticket.fd_) return fail(Errc::internal, "this run is not in the queue of the host (released?)");
  TRY(check_host(ticket));
  auto decision = decide_with_strangers(ticket);
  if (!decision && decision.error().code == Errc::timeout)
    return Waiting{decision.error().message, decision.error().message};
  if (!decision) return fail(std::move(decision).error());
  if (decision->admit) return Admitted{ticket.gpus_, ticket.fd_.get()};
  return std::move(decision->waiting);
}

void Admission::drain() const {
  std::array<char, 4096> buffer;  // NOLINT: filled by read
  while (inotify_ && ::read(inotify_.get(), buffer.data(), buffer.size()) > 0) {
  }
}

void Admission::release(Ticket& ticket) {
  if (ticket.fd_) {
    const auto held = lock();
    ticket.fd_.reset();
    if (held) (void)read_live(folder_fd_.get(), slot_name(ticket.request_));  // removes it when it was the last hold
  }
  ticket.admitted_ = false;
  ticket.gpus_.clear();
}

Result<std::vector<Holder>> Admission::holders() {
  if (auto opened = open_folder(false); !opened) {
    if (opened.error().code == Errc::not_found) return std::vector<Holder>{};
    return fail(std::move(opened).error());
  }
  TRY_ASSIGN(const auto held, lock());
  TRY_ASSIGN(auto entries, scan(nullptr));
  std::sort(entries.begin(), entries.end(), [](const SlotEntry& a, const SlotEntry& b) {
    return a.admitted != b.admitted ? a.admitted : stands_before(a.request, b.request);
  });
  const std::uint64_t now = base::mono_ns();
  std::vector<Holder> holders;
  for (SlotEntry& entry : entries) {
    const auto since = std::chrono::milliseconds((now - std::min(now, entry.since_ns)) / 1'000'000);
    holders.push_back({std::move(entry.request), entry.admitted, std::move(entry.gpus), entry.pid, since});
  }
  return holders;
}

Result<HostSlots> Admission::describe() {
  HostSlots slots;
  slots.capacity = read_capacity();
  TRY_ASSIGN(slots.holders, holders());
  gpus_.reset();
  auto looked = refresh_gpus();
  if (looked && !gpus_->empty()) {
    std::vector<int> assigned;
    for (const Holder& holder : slots.holders) assigned.insert(assigned.end(), holder.gpus.begin(), holder.gpus.end());
    looked = refresh_strangers(assigned);
  }
  if (looked) {
    slots.gpus = *gpus_;
    slots.strangers = strangers_;
  } else {
    slots.gpu_problem = looked.error().message;
  }
  return slots;
}

}  // namespace trainctl::host
