// SPDX-License-Identifier: Apache-2.0
// A supervised run and its host: admission, the memory group, samples of what it uses.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>

#include "base/ulid.hpp"
#include "format/state.hpp"
#include "host/admission/admission.hpp"
#include "host/distribution/layout.hpp"
#include "host/resources/memory_limit.hpp"
#include "host/resources/sampler.hpp"
#include "host/supervisor/reactor.hpp"
#include "host/supervisor/run_supervision.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

using format::Cause;
using format::State;

constexpr std::uint64_t kAdmissionInterval = 2000 * kMillisecond;
constexpr std::uint64_t kSlotStillHeld = 100 * kMillisecond;
constexpr std::uint64_t kFirstSample = 500 * kMillisecond;

}  // namespace

SlotRequest RunSupervision::slot_request() const {
  return {.run = plan_.id,
          .name = plan_.name,
          .user = plan_.who.value("user", ""),
          .cpus = plan_.resources.cpus,
          .memory = plan_.resources.memory,
          .gpus = plan_.resources.gpus,
          .priority = plan_.priority,
          .submitted_ms = base::ulid_time_ms(plan_.id).value_or(0)};
}

void RunSupervision::enqueue(std::uint64_t now) {
  next_admission_ = now;
  queue_key_.clear();
  try_admit(now);
}

void RunSupervision::try_admit(std::uint64_t now) {
  if (phase_ != Phase::queued || now < next_admission_) return;
  next_admission_ = now + kAdmissionInterval;
  auto decided = [&]() -> Result<Admittance> {
    if (!admission_) {
      TRY_ASSIGN(auto opened, Admission::open());
      admission_ = std::make_unique<Admission>(std::move(opened));
    }
    if (!ticket_) {
      TRY_ASSIGN(ticket_, admission_->enqueue(slot_request()));
    }
    return admission_->try_admit(*ticket_);
  }();
  if (!decided && decided.error().retryable) {
    next_admission_ = now + kSlotStillHeld;
    const std::string& message = decided.error().message;
    if (decided.error().code == Errc::timeout && message != queue_key_) journal_->queued(queue_key_ = message);
    return;
  }
  if (!decided) {
    return finish_unstarted({.state = State::failed, .cause = Cause::start, .message = decided.error().message});
  }
  if (const auto* admitted = std::get_if<Admitted>(&*decided)) {
    gpus_ = admitted->gpus;
    next_admission_ = kNever;
    return prepare();
  }
  const Waiting& waiting = std::get<Waiting>(*decided);
  queue_reason_ = waiting.reason;
  if (waiting.key != queue_key_) journal_->queued(waiting.reason);
  queue_key_ = waiting.key;
  if (queue_fd_ >= 0 || admission_->wait_fd() < 0) return;
  queue_fd_ = admission_->wait_fd();
  reactor_.watch(queue_fd_, [this] {
    admission_->drain();
    next_admission_ = 0;
  });
}

void RunSupervision::leave_queue() {
  if (queue_fd_ >= 0) reactor_.unwatch(queue_fd_);
  queue_fd_ = -1;
  if (ticket_ && admission_) admission_->release(*ticket_);
  ticket_.reset();
  admission_.reset();
}

/// Nothing of the attempt runs any more: what it held of the host is free.
void RunSupervision::leave_host() {
  leave_queue();
  drop_memory_limit();
  environment_use_.reset();
}

void RunSupervision::limit_memory(bool adopt) {
  // A batch system knows a job's processes by their control group: they stay in it.
  if (!plan_.resources.memory || options_.enclosure) return;
  const std::string name = plan_.id + "-" + std::to_string(attempt_);
  memory_limit_ = adopt ? MemoryLimit::attach(name) : MemoryLimit::create(name, *plan_.resources.memory);
  if (!memory_limit_ || memory_limit_->event_fd() < 0) return;
  reactor_.watch(memory_limit_->event_fd(), [this] { memory_limit_->drain(); });
}

void RunSupervision::drop_memory_limit() {
  if (!memory_limit_) return;
  if (memory_limit_->event_fd() >= 0) reactor_.unwatch(memory_limit_->event_fd());
  (void)memory_limit_->remove();
  memory_limit_.reset();
}

void RunSupervision::sample(std::uint64_t now) {
  if (!plan_.metrics.system || !journal_->running_since() || phase_ != Phase::active) {
    next_sample_ = kNever;
    return;
  }
  if (next_sample_ == kNever) {
    next_sample_ = *journal_->running_since() + kFirstSample;
    return;
  }
  if (now < next_sample_) return;
  if (!sampler_) {
    SamplerOptions options;
    options.file =
        run_.attempt(attempt_).metrics() / system_metrics_file(first_rank(plan_, run_.own_node), run_.own_node);
    options.gpu_indices = gpus_;
    sampler_.emplace([this] { return ranks_->waiter_pids(); }, std::move(options));
  }
  (void)sampler_->sample();  // a sample that fails is a gap in a curve
  const auto interval = static_cast<std::uint64_t>(std::max<std::int64_t>(plan_.metrics.interval.count(), 100));
  next_sample_ = now + interval * kMillisecond;
}

}  // namespace trainctl::host
