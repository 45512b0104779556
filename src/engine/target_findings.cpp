// SPDX-License-Identifier: Apache-2.0
#include "engine/target_findings.hpp"

#include <stdint.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"

namespace trainctl::engine {
namespace {

constexpr double kSlowMs = 300;
constexpr double kSkewMs = 5000;
constexpr std::uint64_t kLittleDisk = UINT64_C(5) << 30U;
constexpr std::uint64_t kFewFiles = 1024;
constexpr std::uint64_t kFewProcesses = 256;

using Level = Finding::Level;

class Judge {
 public:
  Judge(const Json& probe, const Json& definition) : probe_(probe), definition_(definition) {}

  std::vector<Finding> all() {
    connection();
    clock();
    machine();
    gpus();
    disk();
    limits();
    logout();
    pythons();
    programs();
    engines();
    slurm();
    return std::move(found_);
  }

 private:
  void add(Level level, std::string what, std::string text, std::string hint = {}) {
    found_.push_back({level, std::move(what), std::move(text), std::move(hint)});
  }
  [[nodiscard]] std::string text(const char* key) const { return probe_.value(key, std::string()); }
  [[nodiscard]] std::uint64_t number(const char* key) const { return probe_.value(key, std::uint64_t{0}); }

  void connection() {
    if (!probe_.contains("round_trip_ms")) return;
    const double round_trip = probe_.value("round_trip_ms", 0.0);
    const bool slow = round_trip > kSlowMs;
    add(slow ? Level::note : Level::fine, "latency", base::format_number(std::round(round_trip * 10) / 10) + " ms",
        slow ? "everything works, but each question to the host takes that long" : "");
  }

  void clock() {
    if (!probe_.contains("clock_ahead_ms")) return;
    const double ahead = probe_.value("clock_ahead_ms", 0.0);
    if (std::abs(ahead) < kSkewMs) return add(Level::fine, "clock", "agrees with this machine's");
    const auto span = std::chrono::milliseconds(static_cast<std::int64_t>(std::abs(ahead)));
    add(Level::note, "clock", base::format_duration(span) + (ahead > 0 ? " ahead of" : " behind") + " this machine's",
        "durations are right all the same; times of logs and events are the host's. Run an NTP client there");
  }

  void machine() {
    const std::string user = text("user");
    add(Level::fine, "host",
        text("host") + (user.empty() ? "" : ", user " + user) + ", " + text("os") + ", kernel " + text("kernel") +
            ", " + text("arch"));
    if (!text("shell").empty()) add(Level::fine, "shell", text("shell"));
    if (probe_.contains("cpus")) {
      const std::string limit = text("cpus_limit");
      add(Level::fine, "cpus",
          base::format_number(probe_.value("cpus", 0.0)) + (limit.empty() ? "" : " (limited by " + limit + ")"));
    }
    if (probe_.contains("memory")) {
      const std::string limit = text("memory_limit");
      add(Level::fine, "memory",
          base::format_size(number("memory")) + (limit.empty() ? "" : " (limited by " + limit + ")"));
    }
  }

  void gpus() {
    if (!text("gpu_problem").empty())
      return add(Level::problem, "gpus", text("gpu_problem"),
                 "run nvidia-smi there; runs without gpus are not affected");
    const Json list = probe_.value("gpus", Json::array());
    if (list.empty()) return add(Level::fine, "gpus", "none");
    const std::string driver = text("gpu_driver");
    for (const Json& gpu : list) {
      add(Level::fine, "gpu " + std::to_string(gpu.value("index", 0)),
          gpu.value("name", "") + ", " + base::format_size(gpu.value("memory", std::uint64_t{0})) +
              (driver.empty() ? "" : ", driver " + driver));
    }
  }

  void disk() {
    if (!probe_.contains("disk_free")) return;
    const bool little = number("disk_free") < kLittleDisk;
    add(little ? Level::problem : Level::fine, "disk",
        base::format_size(number("disk_free")) + " free for " + text("store"),
        little ? "trainctl target clean " + definition_.value("name", "") +
                     ", or another \"directory\" in the target's file"
               : "");
    const bool shared = probe_.value("network_file_system", false);
    const bool slurm = definition_.value("launcher", "") == "slurm";
    if (shared && !slurm)
      add(Level::note, "disk", text("store") + " is on a network file system",
          "it works; a \"directory\" on a disk of the host is faster");
    if (!shared && slurm)
      add(Level::note, "disk", text("store") + " is not on a network file system",
          "all nodes of the cluster must see it: choose a shared \"directory\" unless there is one node only");
  }

  void limits() {
    const Json limits = probe_.value("limits", Json::object());
    const auto low = [&](const char* name, const char* what, std::uint64_t enough, const char* flag) {
      if (!limits.contains(name) || limits[name].is_null()) return;
      const auto value = limits.value(name, std::uint64_t{0});
      if (value >= enough) return;
      add(Level::note, "limits", std::string(what) + ": " + base::format_count(value),
          std::string("ulimit ") + flag + " in the profile of the user, or limits.conf of the host");
    };
    low("open_files", "open files", kFewFiles, "-n");
    low("processes", "processes", kFewProcesses, "-u");
  }

  /// Jobs of Slurm are not of the session that submits them.
  void logout() {
    if (!probe_.value("logout_kills", false) || definition_.value("launcher", "") == "slurm") return;
    add(Level::problem, "logout", "systemd ends the processes of " + text("user") + " when the session ends: runs, too",
        "ask for KillUserProcesses=no or KillExcludeUsers=" + text("user") +
            " in logind.conf; loginctl enable-linger does not spare them");
  }

  void pythons() {
    if (!probe_.contains("python")) return;
    std::string list;
    for (const Json& python : probe_["python"])
      list += (list.empty() ? "" : ", ") + python.value("version", "") + " (" + python.value("path", "") + ")";
    const bool uv = probe_.value("programs", Json::object()).contains("uv");
    if (!list.empty()) return add(Level::fine, "python", list);
    add(uv ? Level::note : Level::problem, "python", "none on PATH",
        uv ? "uv can bring one: say environment.python.version" : "install python3, or uv, or use a container");
  }

  void programs() {
    const Json programs = probe_.value("programs", Json::object());
    if (!probe_.contains("programs")) return;
    std::string list;
    for (const char* name : {"uv", "docker", "podman", "apptainer", "git", "sbatch"}) {
      if (programs.contains(name)) list += (list.empty() ? "" : ", ") + std::string(name);
    }
    add(Level::fine, "programs", list.empty() ? "none of uv, docker, podman, git" : list);
    if (!programs.contains("bash"))
      add(Level::note, "programs", "no bash", "commands that are texts need \"shell\": \"sh\"");
  }

  void engines() {
    const Json found = probe_.value("engines", Json::object());
    for (const auto& [name, engine] : found.items()) {
      if (engine.contains("version")) {
        add(Level::fine, name, engine.value("version", ""));
      } else {
        add(Level::note, name, "cannot be used: " + engine.value("problem", ""),
            "runs with a \"container\" need it, others do not: start it there, or let this user use it");
      }
    }
  }

  void slurm() {
    if (definition_.value("launcher", definition_.value("type", "")) != "slurm") return;
    if (!probe_.value("programs", Json::object()).contains("sbatch"))
      return add(Level::problem, "slurm", "no sbatch on PATH",
                 "name a host that submits jobs, or put Slurm on PATH there");
    if (!probe_.contains("slurm")) return;  // of a runner that does not ask
    const Json& cluster = probe_["slurm"];
    if (cluster.contains("problem"))
      return add(Level::problem, "slurm", cluster.value("problem", ""),
                 "jobs are submitted when the controller answers again; ask who runs the cluster");
    add(Level::fine, "slurm", cluster.value("version", "it answers"));
    partitions(cluster.value("partitions", Json::array()));
  }

  void partitions(const Json& list) {
    const std::string asked = definition_.value("slurm", Json::object()).value("partition", "");
    std::vector<std::string> wanted = asked.empty() ? std::vector<std::string>() : base::split(asked, ',');
    std::string names;
    for (const Json& one : list) {
      const std::string name = one.value("name", "");
      const bool up = one.value("up", false);
      const std::uint64_t nodes = one.value("nodes", std::uint64_t{0});
      names += (names.empty() ? "" : ", ") + name;
      const bool matters = std::erase(wanted, name) > 0 || (asked.empty() && one.value("default", false));
      add(up || !matters ? Level::fine : Level::problem, "partition",
          name + (one.value("default", false) ? " (default): " : ": ") + base::format_count(nodes) +
              (nodes == 1 ? " node" : " nodes") + ", time limit " + one.value("time_limit", "") +
              (up ? "" : ", takes no jobs now"),
          up || !matters ? "" : "jobs wait until who runs the cluster opens it; or name another \"partition\"");
    }
    for (const std::string& name : wanted)
      add(Level::problem, "partition", "there is no \"" + name + "\"", "there are " + names);
  }

  const Json& probe_;
  const Json& definition_;
  std::vector<Finding> found_;
};

}  // namespace

std::vector<Finding> target_findings(const Json& probe, const Json& definition) {
  return Judge(probe, definition).all();
}

}  // namespace trainctl::engine
