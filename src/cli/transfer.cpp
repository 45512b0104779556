// SPDX-License-Identifier: Apache-2.0
#include "cli/transfer.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "engine/collect.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "target/target.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kQuietNs = 500'000'000;
constexpr std::uint64_t kRedrawNs = 100'000'000;

std::string rate_text(std::uint64_t bytes, std::uint64_t ns) {
  const double seconds = std::max(static_cast<double>(ns) / 1e9, 1e-3);
  return base::format_size(static_cast<std::uint64_t>(static_cast<double>(bytes) / seconds)) + "/s";
}

std::string files_text(std::uint64_t files) {
  return base::format_count(files) + (files == 1 ? " file, " : " files, ");
}

}  // namespace

TransferLine::TransferLine(const Context& context) : context_(context), began_ns_(base::mono_ns()) {}

void TransferLine::show(const target::Transfer& transfer) {
  const std::uint64_t now = base::mono_ns();
  if (what_ != transfer.what) {
    finish();
    what_ = transfer.what;
    began_ns_ = now;
    before_ = transfer.bytes_done;
  }
  if (context_.quiet || context_.json || now - began_ns_ < kQuietNs) return;
  const std::string rate = rate_text(transfer.bytes_done - before_, now - began_ns_);
  std::string there;
  if (transfer.bytes_there > 0) there = " (" + base::format_size(transfer.bytes_there) + " were there)";
  const auto took = std::chrono::milliseconds((now - began_ns_) / 1'000'000U);
  last_ = what_ + ": " + (transfer.files > 0 ? files_text(transfer.files_done) : std::string()) +
          base::format_size(transfer.bytes_done) + " in " + base::format_duration(took) + ", " + rate + there;
  if (!context_.err.is_terminal() || now - drawn_ns_ < kRedrawNs) return;
  drawn_ns_ = now;
  drawn_ = true;
  const std::string text = what_ + ": " + base::format_size(transfer.bytes_done) + " of " +
                           base::format_size(transfer.bytes) + ", " + rate + there;
  const int width = context_.err.width();
  context_.err.write("\r\x1b[K" +
                     context_.err.paint(Style::dim, fit(text, static_cast<std::size_t>(std::max(width - 1, 1)))));
  context_.err.flush();
}

void TransferLine::finish() {
  if (drawn_) context_.err.write("\r\x1b[K");
  if (!last_.empty()) context_.note(context_.err.paint(Style::dim, last_));
  context_.err.flush();
  drawn_ = false;
  last_.clear();
}

void collect_home(const Context& context, const format::RunPaths& run) {
  const auto plan = format::read_plan(run.plan());
  if (!plan || plan->target.value("type", "local") == "local") return;
  const std::string again = "trainctl outputs " + plan->name + " --pull";
  TransferLine line(context);
  const auto outputs = engine::collect(run, {.pull = false, .patterns = {}, .progress = line.callback()});
  line.finish();
  if (!outputs) {
    context.warn("the outputs are still on " + plan->target.value("name", "the target") + ": " +
                 printable(outputs.error().message) + "; " + again + " gets them");
  } else if (outputs->state == engine::OutputsAre::partial) {
    context.warn("outputs are " + printable(outputs_sentence(*outputs)) + "; " + again + " gets the rest");
  } else if (!outputs->problem.empty()) {
    context.warn("outputs " + printable(outputs->problem));
  }
}

std::string outputs_sentence(const engine::OutputsRecord& outputs) {
  std::string text(engine::to_string(outputs.state));
  std::replace(text.begin(), text.end(), '_', ' ');
  if (outputs.left > 0)
    text += ": " + files_text(outputs.left) + base::format_size(outputs.left_bytes) + " are on the target";
  if (!outputs.problem.empty()) text += (outputs.left > 0 ? "; " : ": ") + outputs.problem;
  return text;
}

}  // namespace trainctl::cli
