// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <charconv>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/signals.hpp"
#include "engine/tunnel.hpp"
#include "engine/visit.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr int kHighestPort = 65535;
constexpr int kSignalBase = 128;

struct Ports {
  int local = 0;
  int remote = 0;
};

std::optional<int> read_port(std::string_view text, int lowest) {
  int port = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (problem != std::errc() || end != text.data() + text.size() || port < lowest || port > kHighestPort)
    return std::nullopt;
  return port;
}

/// PORT or PORT:REMOTE_PORT; 0 for PORT is any that is free.
Result<Ports> read_ports(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string_view first = std::string_view(text).substr(0, colon);
  const std::string_view second = colon == std::string::npos ? first : std::string_view(text).substr(colon + 1);
  const auto local = read_port(first, 0);
  const auto remote = read_port(second, 1);
  if (local && remote) return Ports{*local, *remote};
  return fail(Errc::invalid, "\"" + text + "\" is no port",
              "write PORT, or PORT:REMOTE_PORT: first the one here, then the one there (1 to 65535)");
}

struct Way {
  std::string target;
  std::vector<std::string> carrier;
};

Result<Way> way_to(const std::string& name, int port, int rank) {
  TRY_ASSIGN(const auto store, archive::Store::open());
  TRY_ASSIGN(const std::string id, store.resolve(name));
  const format::RunPaths run = store.run(id);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  Way way{.target = format::target_name(plan), .carrier = {}};
  TRY_ASSIGN(way.carrier, engine::way_to_port(run, port, rank));
  return way;
}

/// What the carriers of connections say, in words of ours where we know them, and each of these only once in a row: a
/// browser tries again and again.
class Complaints {
 public:
  Complaints(Context& context, Way way, int port) : context_(context), way_(std::move(way)), port_(port) {}

  void tell(std::string_view line) {
    if (line.find("stdio forwarding failed") != std::string_view::npos) return;  // says no more than the line before it
    std::string text = in_words(line);
    if (text == last_) return;
    last_ = std::move(text);
    context_.note(last_);
    context_.err.flush();
  }

 private:
  [[nodiscard]] std::string in_words(std::string_view line) const {
    const auto says = [line](std::string_view words) { return line.find(words) != std::string_view::npos; };
    const std::string forbidden = "its sshd forbids tunnels (AllowTcpForwarding no)";
    std::string nothing = "nothing listens on port " + std::to_string(port_) + " of " + printable(way_.target) +
                          " at the moment; the tunnel stays open";
    if (says("Connection refused") || says("nothing listens on")) return nothing;
    if (says("refused by peer")) return nothing + " (or " + forbidden + ")";  // a shared connection keeps the reason
    if (says("administratively prohibited")) return printable(way_.target) + ": " + forbidden;
    return printable(line);
  }

  Context& context_;
  Way way_;
  int port_;
  std::string last_ = {};
};

struct TunnelArguments {
  std::string run;
  std::string ports;
  int rank = 0;
};

int tunnel_action(Context& context, const TunnelArguments& arguments) {
  const auto ports = read_ports(arguments.ports);
  if (!ports) return report(context, ports.error());
  auto tunnel = engine::Tunnel::listen(ports->local);
  if (!tunnel) return report(context, tunnel.error());
  auto way = way_to(arguments.run, ports->remote, arguments.rank);
  if (!way) return report(context, way.error());
  context.note("http://127.0.0.1:" + std::to_string(tunnel->port()) + (context.err.utf8() ? " → " : " -> ") +
               printable(way->target) + ":" + std::to_string(ports->remote) + "  (Ctrl-C ends it)");
  context.err.flush();
  const SignalInbox signals;
  const auto carrier = way->carrier;
  Complaints complaints(context, std::move(*way), ports->remote);
  for (;;) {
    const auto served =
        tunnel->serve(carrier, signals.fd(), [&complaints](std::string_view line) { complaints.tell(line); });
    if (!served) return report(context, served.error());
    for (int number = signals.take(); number != 0; number = signals.take()) {
      if (number != SIGWINCH) return kSignalBase + number;
    }
  }
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<TunnelArguments>();
  app.add_option("run", arguments->run, "The run")->type_name("RUN")->required();
  app.add_option("port", arguments->ports,
                 "The port here and there, or PORT:REMOTE_PORT: first here, then there; 0 here is any")
      ->type_name("PORT")
      ->required();
  app.add_option("--rank", arguments->rank, "The machine of this rank")->type_name("N")->non_negative();
  return [arguments](Context& context) { return tunnel_action(context, *arguments); };
}

}  // namespace

Command tunnel_command() {
  return {"tunnel",
          "Running",
          "Reach a port of a run's machine from here: TensorBoard, Jupyter, a debugger",
          false,
          configure,
          Completes::run,
          "  trainctl tunnel digits-7 6006         http://127.0.0.1:6006 here is port 6006 there\n"
          "  trainctl tunnel digits-7 8080:6006    http://127.0.0.1:8080 here is port 6006 there\n"
          "It reaches 127.0.0.1 where the run is (in its Slurm job, in its container), for this machine only, until\n"
          "Ctrl-C."};
}

}  // namespace trainctl::cli
