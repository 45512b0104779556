// SPDX-License-Identifier: Apache-2.0
#include "host/admission/slot_entry.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "host/admission/admission.hpp"
#include "host/resources/gpu.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kSlotBytes = 1024;
constexpr std::size_t kNamed = 3;   // how many holders a reason names
constexpr double kCpuSlack = 1e-6;  // sums of fractions of a CPU are not exact

template <class T>
Json optional_number(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

template <class T>
std::optional<T> read_optional(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

/// What is left of the host.
struct Free {
  double cpus = 0;
  double memory = 0;  // bytes; negative once waiting runs are counted in
  int gpus = 0;

  void take(const SlotRequest& request) {
    cpus -= request.cpus.value_or(0);
    memory -= static_cast<double>(request.memory.value_or(0));
    gpus -= request.gpus.value_or(0);
  }
  [[nodiscard]] bool lacks_cpus(const SlotRequest& r) const {
    return r.cpus.value_or(0) > 0 && *r.cpus > cpus + kCpuSlack;
  }
  [[nodiscard]] bool lacks_memory(const SlotRequest& r) const {
    return r.memory.value_or(0) > 0 && static_cast<double>(*r.memory) > memory;
  }
  [[nodiscard]] bool lacks_gpus(const SlotRequest& r) const { return r.gpus.value_or(0) > gpus; }
  [[nodiscard]] bool fits(const SlotRequest& r) const { return !lacks_cpus(r) && !lacks_memory(r) && !lacks_gpus(r); }
};

std::string wanted(const SlotRequest& request, const Free& free) {
  std::vector<std::string> parts;
  if (free.lacks_gpus(request))
    parts.push_back(std::to_string(*request.gpus) + (*request.gpus == 1 ? " GPU" : " GPUs"));
  if (free.lacks_cpus(request))
    parts.push_back(base::format_number(*request.cpus, 8) + (*request.cpus == 1 ? " cpu" : " cpus"));
  if (free.lacks_memory(request)) parts.push_back(base::format_size(*request.memory) + " of memory");
  return base::join(parts, " and ");
}

bool holds_wanted(const SlotEntry& entry, const SlotRequest& request, const Free& free) {
  return (free.lacks_gpus(request) && !entry.gpus.empty()) ||
         (free.lacks_cpus(request) && entry.request.cpus.value_or(0) > 0) ||
         (free.lacks_memory(request) && entry.request.memory.value_or(0) > 0);
}

/// Collects "a, b, c and 4 more" twice: with and without what changes with time.
class NameList {
 public:
  void add(const std::string& name, const std::string& changing = {}) {
    if (++count_ > kNamed) return;
    if (count_ > 1) {
      text_ += "; ";
      key_ += "; ";
    }
    text_ += name + changing;
    key_ += name;
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::string text() const { return text_ + more(); }
  [[nodiscard]] std::string key() const { return key_ + more(); }

 private:
  [[nodiscard]] std::string more() const {
    return count_ > kNamed ? " and " + std::to_string(count_ - kNamed) + " more" : std::string();
  }
  std::string text_, key_;
  std::size_t count_ = 0;
};

std::string describe(const Stranger& stranger) {
  const std::string text = "GPU " + std::to_string(stranger.gpu) + " is used by " + stranger.process.name + " (pid " +
                           std::to_string(stranger.process.pid) + ", user " + std::to_string(stranger.user) + ")";
  if (!stranger.run.empty()) return text + " of run " + stranger.run + ", which did not state its gpus";
  return text + ", which is no run of trainctl";
}

/// Why a run that does not fit beside the admitted ones waits.
Waiting explain_held(const SlotRequest& request, const std::vector<SlotEntry>& others, const Free& free,
                     const SlotView& view) {
  NameList holders;
  for (const SlotEntry& entry : others) {
    if (!entry.admitted || !holds_wanted(entry, request, free)) continue;
    const auto held = std::chrono::milliseconds((view.now_ns - std::min(view.now_ns, entry.since_ns)) / 1'000'000);
    holders.add(entry.request.name + " (pid " + std::to_string(entry.pid) + ")", ", " + base::format_duration(held));
  }
  NameList strangers;
  if (free.lacks_gpus(request)) {
    for (const Stranger& stranger : view.strangers) strangers.add(describe(stranger));
  }
  Waiting waiting;
  waiting.reason = waiting.key = "waits for " + wanted(request, free) + ": ";
  if (!holders.empty()) {
    waiting.reason += "held by " + holders.text();
    waiting.key += "held by " + holders.key();
  }
  if (!strangers.empty()) {
    const std::string text = (holders.empty() ? "" : "; ") + strangers.text();
    waiting.reason += text;
    waiting.key += text;
  }
  return waiting;
}

Waiting explain_queue(const SlotRequest& request, const std::vector<const SlotEntry*>& before, const Free& free) {
  NameList names;
  for (const SlotEntry* entry : before) {
    const int priority = entry->request.priority;
    names.add(entry->request.name +
              (priority == request.priority ? "" : " (priority " + std::to_string(priority) + ")"));
  }
  const std::string text = "waits its turn for " + wanted(request, free) + " behind " + names.text();
  return {text, text};
}

}  // namespace

std::string slot_text(const SlotRequest& request, bool admitted, const std::vector<int>& gpus, std::uint64_t since_ns,
                      std::uint64_t seen_ns) {
  const Json json = {{"v", 1},
                     {"run", request.run},
                     {"name", request.name},
                     {"user", request.user},
                     {"state", admitted ? "admitted" : "queued"},
                     {"pid", static_cast<std::int64_t>(::getpid())},
                     {"cpus", optional_number(request.cpus)},
                     {"memory", optional_number(request.memory)},
                     {"gpus", optional_number(request.gpus)},
                     {"assigned", gpus},
                     {"priority", request.priority},
                     {"submitted_ms", request.submitted_ms},
                     {"since_ns", since_ns},
                     {"seen_ns", seen_ns}};
  std::string text = base::dump_json(json);
  // Room for what grows later (assigned GPUs, longer clocks), so that the size stays what it was at the first write.
  const std::size_t room = ((text.size() + 256) / kSlotBytes + 1) * kSlotBytes;
  text.resize(room - 1, ' ');
  return text + "\n";
}

std::optional<SlotEntry> parse_slot(std::string_view text) {
  const auto json = base::parse_json(text);
  if (!json || !json->is_object()) return std::nullopt;
  try {
    SlotEntry entry;
    entry.request.run = json->at("run").get<std::string>();
    entry.request.name = json->value("name", entry.request.run);
    entry.request.user = json->value("user", "");
    entry.request.cpus = read_optional<double>(*json, "cpus");
    entry.request.memory = read_optional<std::uint64_t>(*json, "memory");
    entry.request.gpus = read_optional<int>(*json, "gpus");
    entry.request.priority = json->value("priority", 0);
    entry.request.submitted_ms = json->value("submitted_ms", std::int64_t{0});
    entry.admitted = json->value("state", "") == "admitted";
    entry.gpus = json->value("assigned", std::vector<int>{});
    entry.pid = static_cast<pid_t>(json->value("pid", std::int64_t{0}));
    entry.since_ns = json->value("since_ns", std::uint64_t{0});
    entry.seen_ns = json->value("seen_ns", std::uint64_t{0});
    return entry;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

bool stands_before(const SlotRequest& a, const SlotRequest& b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  if (a.submitted_ms != b.submitted_ms) return a.submitted_ms < b.submitted_ms;
  return a.run < b.run;
}

SlotDecision decide_slot(const SlotRequest& request, const std::vector<SlotEntry>& others, const SlotView& view) {
  SlotDecision decision;
  Free free{view.capacity.cpus, static_cast<double>(view.capacity.memory), 0};
  for (const SlotEntry& entry : others) {
    if (!entry.admitted) continue;
    free.take(entry.request);
    decision.assigned.insert(decision.assigned.end(), entry.gpus.begin(), entry.gpus.end());
  }
  std::vector<int> open;
  for (const Gpu& gpu : view.gpus) {
    const auto& assigned = decision.assigned;
    const bool stranger = std::any_of(view.strangers.begin(), view.strangers.end(),
                                      [&](const Stranger& other) { return other.gpu == gpu.index; });
    if (!stranger && std::find(assigned.begin(), assigned.end(), gpu.index) == assigned.end())
      open.push_back(gpu.index);
  }
  free.gpus = static_cast<int>(open.size());
  if (!free.fits(request)) {
    decision.waiting = explain_held(request, others, free, view);
    return decision;
  }
  std::vector<const SlotEntry*> before;
  for (const SlotEntry& entry : others) {
    const bool stale = view.now_ns > entry.seen_ns + kStaleNs;
    if (!entry.admitted && !stale && stands_before(entry.request, request)) before.push_back(&entry);
  }
  for (const SlotEntry* entry : before) free.take(entry->request);
  if (!free.fits(request)) {
    decision.waiting = explain_queue(request, before, free);
    return decision;
  }
  decision.admit = true;
  decision.gpus.assign(open.begin(), open.begin() + std::max(0, request.gpus.value_or(0)));
  return decision;
}

}  // namespace trainctl::host
