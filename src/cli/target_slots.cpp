// SPDX-License-Identifier: Apache-2.0
#include "cli/target_slots.hpp"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "host/admission/admission.hpp"
#include "host/resources/gpu.hpp"

namespace trainctl::cli {
namespace {

Json to_json(const host::HostSlots& slots) {
  Json gpus = Json::array();
  for (const host::Gpu& gpu : slots.gpus)
    gpus.push_back({{"index", gpu.index}, {"name", gpu.name}, {"memory", gpu.memory}});
  Json holders = Json::array();
  for (const host::Holder& holder : slots.holders) {
    holders.push_back({{"run", holder.request.run},
                       {"name", holder.request.name},
                       {"user", holder.request.user},
                       {"admitted", holder.admitted},
                       {"cpus", holder.request.cpus ? Json(*holder.request.cpus) : Json(nullptr)},
                       {"memory", holder.request.memory ? Json(*holder.request.memory) : Json(nullptr)},
                       {"gpus", holder.gpus},
                       {"pid", holder.pid},
                       {"since_ms", holder.since.count()}});
  }
  Json strangers = Json::array();
  for (const host::Stranger& stranger : slots.strangers) {
    strangers.push_back({{"gpu", stranger.gpu},
                         {"pid", stranger.process.pid},
                         {"program", stranger.process.name},
                         {"run", stranger.run}});
  }
  return {{"name", "local"}, {"type", "local"},    {"cpus", slots.capacity.cpus}, {"memory", slots.capacity.memory},
          {"gpus", gpus},    {"holders", holders}, {"strangers", strangers}};
}

std::string holder_text(const host::Holder& holder) {
  std::string text = printable(holder.request.name) + (holder.admitted ? " holds" : " waits for");
  if (holder.request.cpus) text += " " + base::format_number(*holder.request.cpus) + " cpus";
  if (holder.request.memory) text += " " + base::format_size(*holder.request.memory);
  if (holder.request.gpus) text += " " + std::to_string(*holder.request.gpus) + " gpus";
  for (std::size_t i = 0; i < holder.gpus.size(); ++i)
    text += (i == 0 ? " (" : ", ") + std::to_string(holder.gpus[i]) + (i + 1 == holder.gpus.size() ? ")" : "");
  return text + ", " + printable(holder.request.user) + ", pid " + std::to_string(holder.pid) + ", " +
         base::format_duration(holder.since);
}

void print_slots(Context& context, const host::HostSlots& slots) {
  context.out.line(context.out.paint(Style::bold, "local") + "  this machine");
  context.out.line("  cpus    " + base::format_number(slots.capacity.cpus));
  context.out.line("  memory  " + base::format_size(slots.capacity.memory));
  if (slots.gpus.empty())
    context.out.line("  gpus    none" + (slots.gpu_problem.empty() ? "" : " (" + printable(slots.gpu_problem) + ")"));
  for (const host::Gpu& gpu : slots.gpus)
    context.out.line("  gpu " + std::to_string(gpu.index) + "   " + printable(gpu.name) + ", " +
                     base::format_size(gpu.memory));
  if (slots.holders.empty()) context.out.line("  nothing is reserved");
  for (const host::Holder& holder : slots.holders) context.out.line("  " + holder_text(holder));
  for (const host::Stranger& stranger : slots.strangers) {
    context.out.line("  gpu " + std::to_string(stranger.gpu) + " is used by " + printable(stranger.process.name) +
                     " (pid " + std::to_string(stranger.process.pid) + ")" +
                     (stranger.run.empty() ? ", no run of trainctl"
                                           : ", run " + printable(stranger.run) + " without a reservation"));
  }
}

}  // namespace

int show_local_slots(Context& context) {
  auto admission = host::Admission::open();
  if (!admission) return report(context, admission.error());
  const auto slots = admission->describe();
  if (!slots) return report(context, slots.error());
  if (context.json) {
    context.print(to_json(*slots));
  } else {
    print_slots(context, *slots);
  }
  return 0;
}

}  // namespace trainctl::cli
