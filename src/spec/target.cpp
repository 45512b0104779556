// SPDX-License-Identifier: Apache-2.0
#include "spec/target.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/sbatch_option.hpp"
#include "spec/complaints.hpp"
#include "spec/load.hpp"

namespace trainctl::spec {
namespace {

std::string_view word_of(TargetKindWord kind) {
  switch (kind) {
    case TargetKindWord::ssh:
      return "ssh";
    case TargetKindWord::slurm:
      return "slurm";
    case TargetKindWord::scripted:
      return "scripted";
    default:
      return "local";
  }
}

std::vector<std::string> hosts_of(const TargetSpec& target) {
  if (!target.host) return target.hosts;
  return {*target.host};
}

bool uses_slurm(const TargetSpec& target) {
  return target.launcher == LauncherWord::slurm || target.kind == TargetKindWord::slurm || !target.slurm.is_null();
}

/// One word on ssh's command line, never an option.
bool is_host_word(std::string_view host) {
  if (host.empty() || host.size() > 255 || host.front() == '-' || host.find("@-") != std::string_view::npos)
    return false;
  return std::all_of(host.begin(), host.end(), [](char c) { return c > ' ' && c != 0x7f; });
}

bool is_numeric_address(const std::string& text) {
  in6_addr place{};
  return ::inet_pton(AF_INET, text.c_str(), &place) == 1 || ::inet_pton(AF_INET6, text.c_str(), &place) == 1;
}

class Check {
 public:
  Check(const TargetSpec& target, std::string pointer, Complaints& out)
      : target_(target), pointer_(std::move(pointer)), out_(out), kind_(target_kind(target)) {}

  void run() {
    hosts();
    addresses();
    kind();
    launcher();
    directory();
    sbatch_options();
  }

 private:
  [[nodiscard]] std::string field_at(const std::string& at) const {
    std::string field = (pointer_.empty() ? "" : pointer_.substr(1) + "/") + at;
    std::replace(field.begin(), field.end(), '/', '.');
    return field;
  }
  void add(const std::string& at, std::string message, std::string hint = {}) {
    out_.add(pointer_ + "/" + at, field_at(at), std::move(message), std::move(hint));
  }

  void sbatch_options() {
    const std::string list = "slurm/options";
    const auto options = read_slurm(target_.slurm).options;
    for (std::size_t i = 0; i < options.size(); ++i) {
      auto refusal = base::refuse_sbatch_option(options[i]);
      if (!refusal) continue;
      out_.add(base::pointer_append(pointer_ + "/" + list, std::to_string(i)), base::element_of(field_at(list), i),
               std::move(refusal->message), std::move(refusal->hint));
    }
  }

  void hosts() {
    if (target_.host && !target_.hosts.empty()) add("hosts", "\"host\" and \"hosts\" say the same thing", "keep one");
    std::set<std::string> seen;
    for (const std::string& host : hosts_of(target_)) {
      const std::string at = target_.host ? "host" : "hosts";
      if (!is_host_word(host)) add(at, "\"" + host + "\" cannot be a host", "user@box, or a host of your ssh settings");
      if (!seen.insert(host).second) add(at, "\"" + host + "\" is named twice");
    }
  }

  void addresses() {
    const std::vector<std::string>& given = target_.addresses;
    if (given.empty()) return;
    if (given.size() != target_.hosts.size())
      add("addresses",
          "there are " + std::to_string(given.size()) + " addresses for " + std::to_string(target_.hosts.size()) +
              " \"hosts\"",
          "one for each, in the same order");
    for (const std::string& address : given) {
      if (!is_numeric_address(address))
        add("addresses", "\"" + address + "\" is no numeric address", "\"10.1.0.2\": the hosts look up no names");
    }
  }

  void kind() {
    const bool remote = !hosts_of(target_).empty();
    if (kind_ == TargetKindWord::ssh && !remote) add("kind", "\"host\" is missing", "\"host\": \"user@box\"");
    if (remote && kind_ != TargetKindWord::ssh)
      add(target_.host ? "host" : "hosts", "a target of kind " + std::string(word_of(kind_)) + " has no host");
    if (!remote && target_.ssh_config) add("ssh_config", "there is no host to reach with it");
    if (!remote && target_.accept_new_host_keys) add("accept_new_host_keys", "there is no host with a key");
    if (kind_ == TargetKindWord::scripted && !target_.scenario) add("kind", "\"scenario\" is missing");
    if (kind_ != TargetKindWord::scripted && target_.scenario)
      add("scenario", "only a scripted target plays a scenario");
  }

  void launcher() {
    const bool host = kind_ == TargetKindWord::ssh || kind_ == TargetKindWord::slurm;
    if (target_.launcher != LauncherWord::unstated && !host)
      add("launcher", "a target of kind " + std::string(word_of(kind_)) + " has no launcher");
    if (target_.launcher == LauncherWord::process && uses_slurm(target_))
      add("launcher", "the launcher is process, and Slurm is asked for", "\"launcher\": \"slurm\"");
    if (!target_.slurm.is_null() && !host)
      add("slurm", "a target of kind " + std::string(word_of(kind_)) + " has no Slurm", "\"kind\": \"slurm\"");
    if (uses_slurm(target_) && hosts_of(target_).size() > 1)
      add("hosts", "Slurm finds the nodes itself: name only the host that runs sbatch");
  }

  void directory() {
    if (!target_.directory) return;
    const std::string& text = *target_.directory;
    const bool control = std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; });
    if (control || (!text.starts_with('/') && text != "~" && !text.starts_with("~/")))
      add("directory", "expected an absolute path or \"~/…\", found \"" + text + "\"");
    if (text == "/" || text == "~" || text == "~/")
      add("directory", "\"" + text + "\" holds other things, too", "\"~/.trainctl\"");
    if (kind_ == TargetKindWord::local || kind_ == TargetKindWord::scripted)
      add("directory", "a target of kind " + std::string(word_of(kind_)) + " keeps its runs in your store");
  }

  const TargetSpec& target_;
  std::string pointer_;
  Complaints& out_;
  TargetKindWord kind_;
};

}  // namespace

TargetKindWord target_kind(const TargetSpec& target) {
  // Slurm behind a login node is a host like any other, with another launcher.
  const bool remote = !hosts_of(target).empty();
  if (remote && (target.kind == TargetKindWord::unstated || target.kind == TargetKindWord::slurm))
    return TargetKindWord::ssh;
  if (target.kind != TargetKindWord::unstated) return target.kind;
  if (target.scenario) return TargetKindWord::scripted;
  return uses_slurm(target) ? TargetKindWord::slurm : TargetKindWord::ssh;
}

void validate_target(const TargetSpec& target, const std::string& pointer, Complaints& out) {
  Check(target, pointer, out).run();
}

Json target_definition(std::string_view name, const TargetSpec& target) {
  const TargetKindWord kind = target_kind(target);
  Json definition = {{"name", name}, {"type", word_of(kind)}};
  if (target.scenario) definition["scenario"] = *target.scenario;
  if (kind != TargetKindWord::ssh && kind != TargetKindWord::slurm) return definition;
  if (kind == TargetKindWord::ssh) definition["hosts"] = hosts_of(target);
  if (!target.addresses.empty()) definition["addresses"] = target.addresses;
  if (target.ssh_config) definition["ssh_config"] = *target.ssh_config;
  if (target.directory) definition["directory"] = *target.directory;
  if (target.accept_new_host_keys) definition["accept_new_host_keys"] = true;
  definition["launcher"] = uses_slurm(target) ? "slurm" : "process";
  if (target.slurm.is_object() && !target.slurm.empty()) definition["slurm"] = target.slurm;
  return definition;
}

std::string unnamed_target_name(const TargetSpec& target) {
  const auto hosts = hosts_of(target);
  return hosts.empty() ? std::string(word_of(target_kind(target))) : hosts.front();
}

bool is_target_name(std::string_view text) {
  return is_run_name(text) && text != "local";
}

}  // namespace trainctl::spec
