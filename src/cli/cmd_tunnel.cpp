// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/os/linux/spawn.hpp"
#include "cli/commands.hpp"
#include "cli/signals.hpp"
#include "engine/supervision.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "target/target.hpp"

namespace trainctl::cli {
namespace {

constexpr int kHighestPort = 65535;
constexpr int kBacklog = 64;
constexpr int kReapMs = 500;  ///< how soon the end of a connection is noticed
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

struct Listener {
  base::UniqueFd fd;
  int port = 0;
};

/// On loopback only: nobody but this machine may use the tunnel.
Result<Listener> listen_here(int port) {
  Listener made;
  made.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.fd) return fail_errno("make a socket", errno);
  const int yes = 1;
  (void)::setsockopt(made.fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(made.fd.get(), raw, size) != 0 || ::listen(made.fd.get(), kBacklog) != 0) {
    const int problem = errno;
    const std::string where = "port " + std::to_string(port) + " of this machine";
    if (problem == EADDRINUSE)
      return fail(Errc::invalid, where + " is taken", "choose another one here: PORT:REMOTE_PORT; 0 is any");
    return fail_errno("listen on " + where, problem);
  }
  if (::getsockname(made.fd.get(), raw, &size) != 0) return fail_errno("ask for the port", errno);
  made.port = ntohs(address.sin_port);
  return made;
}

/// One ssh for each connection, all through the shared one to the host: whatever cuts that, the next works again.
class Tunnel {
 public:
  Tunnel(Listener listener, std::vector<std::string> carrier)
      : listener_(std::move(listener)), carrier_(std::move(carrier)) {}

  /// Until a signal; its number.
  int run(const Context& context) {
    const SignalInbox signals;
    for (;;) {
      std::array<pollfd, 2> waits = {pollfd{listener_.fd.get(), POLLIN, 0}, pollfd{signals.fd(), POLLIN, 0}};
      ::poll(waits.data(), waits.size(), connections_.empty() ? -1 : kReapMs);
      for (int number = signals.take(); number != 0; number = signals.take()) {
        if (number != SIGWINCH) return number;
      }
      std::erase_if(connections_, [](base::SpawnedChild& child) { return child.ended() || child.reap(WNOHANG); });
      accept_all(context);
    }
  }

 private:
  void accept_all(const Context& context) {
    for (;;) {
      const base::UniqueFd peer(::accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer) return;
      const auto pid = base::spawn({.argv = carrier_}, {.in = peer.get(), .out = peer.get(), .err = context.err.fd()});
      if (pid) {
        connections_.emplace_back(*pid);
      } else {
        context.warn(pid.error().message);
      }
    }
  }

  Listener listener_;
  std::vector<std::string> carrier_;
  std::list<base::SpawnedChild> connections_;  ///< killed when the tunnel goes
};

struct Way {
  std::string target;
  std::vector<std::string> carrier;
};

Result<Way> way_to(const std::string& name, int port) {
  TRY_ASSIGN(const auto store, archive::Store::open());
  TRY_ASSIGN(const std::string id, store.resolve(name));
  const format::RunPaths run = store.run(id);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  TRY_ASSIGN(const auto target, engine::target_of(run, plan));
  TRY_ASSIGN(const auto ref, engine::reference(run));
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  Way way{.target = format::target_name(plan), .carrier = {}};
  TRY_ASSIGN(way.carrier, target->forward(ref, port, cancel));
  return way;
}

struct TunnelArguments {
  std::string run;
  std::string ports;
};

int tunnel_action(Context& context, const TunnelArguments& arguments) {
  const auto ports = read_ports(arguments.ports);
  if (!ports) return report(context, ports.error());
  auto way = way_to(arguments.run, ports->remote);
  if (!way) return report(context, way.error());
  auto listener = listen_here(ports->local);
  if (!listener) return report(context, listener.error());
  context.note("http://127.0.0.1:" + std::to_string(listener->port) + (context.err.utf8() ? " → " : " -> ") +
               printable(way->target) + ":" + std::to_string(ports->remote) + "  (Ctrl-C ends it)");
  context.err.flush();
  return kSignalBase + Tunnel(std::move(*listener), std::move(way->carrier)).run(context);
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<TunnelArguments>();
  app.add_option("run", arguments->run, "The run")->type_name("RUN")->required();
  app.add_option("port", arguments->ports,
                 "The port here and there, or PORT:REMOTE_PORT: first here, then there; 0 here is any")
      ->type_name("PORT")
      ->required();
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
          "It goes through ssh to 127.0.0.1 of the host, for this machine only, until Ctrl-C. Of a Slurm target the "
          "host is\n"
          "the login node."};
}

}  // namespace trainctl::cli
