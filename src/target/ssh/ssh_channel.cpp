// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/ssh_channel.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/child_process.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/hex.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "host/stdio/carried.hpp"
#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "target/ssh/bootstrap.hpp"
#include "target/ssh/ciphers.hpp"
#include "target/ssh/control.hpp"
#include "target/ssh/destination.hpp"
#include "target/ssh/explain.hpp"
#include "target/ssh/runner_files.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr const char* kDefaultDirectory = "~/.trainctl";
constexpr int kEndMs = 2000;  ///< for the end of an ssh whose output has ended
constexpr std::size_t kNonceBytes = 8;
constexpr int kLookMs = 10;
constexpr std::chrono::seconds kMasterPatience{2};
constexpr int kSshFailed = 255;
constexpr std::size_t kReadAtOnce = 64U << 10U;
constexpr std::size_t kKeptNoise = 4096;
constexpr std::uint64_t kNsPerMs = 1'000'000;

constexpr std::size_t kLongestWord = 120U << 10U;  ///< Linux takes 128 KiB for one argument; here it is hex

/// The word as all login shells understand it; empty when there is none that they agree on.
std::string quote_for_all_shells(std::string_view word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) return std::string(word);
  // fish knows \\ and \' between single quotes, csh takes ! for its history and ends a word with the line.
  if (word.find_first_of(std::string_view("'\\!\n\0", 5)) != std::string_view::npos) return {};
  return "'" + std::string(word) + "'";
}

/// The talk with the script on the other side of a fresh ssh.
class Handshake {
 public:
  Handshake(const std::string& host, const std::string& directory, std::vector<RunnerFile> runners,
            std::string_view carried, const Cancel& cancel)
      : host_(host),
        directory_(directory),
        runners_(std::move(runners)),
        cancel_(cancel),
        nonce_(base::random_hex(kNonceBytes)),
        reader_(nonce_),
        direct_(direct_command(nonce_, directory, runners_, carried)) {}

  [[nodiscard]] std::string command() const { return direct_.empty() ? kScriptCommand : direct_; }

  /// Once it has begun: by the command alone; and with what the command carried.
  [[nodiscard]] bool began_directly() const { return !sent_script_; }
  [[nodiscard]] bool took_first() const { return took_first_; }

  /// Until the runner has begun; returns its first bytes. Errc::timeout when the host does not answer in time.
  Result<std::string> run(base::ChildProcess& ssh, milliseconds patience, milliseconds stall) {
    ssh_ = &ssh;
    deadline_ns_ = base::mono_ns() + static_cast<std::uint64_t>(patience.count()) * kNsPerMs;
    if (direct_.empty()) TRY(send_script());
    for (;;) {
      TRY_ASSIGN(const ScriptLine line, next_line());
      took_first_ = line.word == "run" && line.rest == "first";
      if (line.word == "run") return reader_.rest();
      if (line.word == "error") return fail(script_error(line.rest, host_, directory_));
      if (line.word == "script") {
        TRY(send_script());
        continue;
      }
      const auto wanted = std::find_if(runners_.begin(), runners_.end(),
                                       [&line](const RunnerFile& one) { return one.architecture == line.rest; });
      if (line.word != "need" || wanted == runners_.end())
        return fail(Errc::internal, "the script on " + host_ + " says \"" + line.word + " " + line.rest + "\"");
      TRY(send_runner(*wanted, stall));
    }
  }

 private:
  Result<ScriptLine> next_line() {
    for (;;) {
      if (auto line = reader_.next()) return *line;
      TRY(wait(ssh_->out(), POLLIN));
      TRY(read_more());
    }
  }

  Result<> read_more() {
    std::array<char, kReadAtOnce> buffer;  // NOLINT: filled by read
    const ssize_t got = ::read(ssh_->out(), buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
    if (got < 0) return fail_errno("read from ssh", errno);
    if (got == 0) return fail(explain_end());
    return reader_.feed({buffer.data(), static_cast<std::size_t>(got)});
  }

  Result<> send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(ssh_->in(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      // Whoever does not read any more has said why, or will.
      if (sent < 0 && errno == EPIPE) return {};
      if (sent < 0 && errno != EINTR && errno != EAGAIN) return fail_errno("write to ssh", errno);
      if (!bytes.empty()) TRY(wait(ssh_->in(), POLLOUT));
    }
    return {};
  }

  Result<> send_script() {
    sent_script_ = true;
    return send(bootstrap_script(nonce_, directory_, runners_));
  }

  Result<> send_runner(const RunnerFile& runner, milliseconds stall) {
    TRY_ASSIGN(const std::string bytes, base::read_file(runner.path));
    for (std::size_t at = 0; at < bytes.size(); at += kReadAtOnce) {
      deadline_ns_ = base::mono_ns() + static_cast<std::uint64_t>(stall.count()) * kNsPerMs;
      TRY(send(std::string_view(bytes).substr(at, kReadAtOnce)));
    }
    return {};
  }

  Result<> wait(int fd, short events) {
    const std::uint64_t now = base::mono_ns();
    if (now >= deadline_ns_) return fail(Errc::timeout, host_ + " does not answer");
    std::array<pollfd, 2> polls = {pollfd{fd, events, 0}, pollfd{cancel_.fd(), POLLIN, 0}};
    ::poll(polls.data(), polls.size(), static_cast<int>((deadline_ns_ - now) / kNsPerMs + 1));
    if (polls[1].revents != 0) return fail(Errc::canceled, "given up");
    return {};
  }

  [[nodiscard]] Error explain_end() const {
    const bool ended = ssh_->wait_ms(kEndMs);
    SshEnd end{.host = host_, .exit_code = {}, .errors = ssh_->errors()};
    if (ended) end.exit_code = ssh_->exit_code();
    const std::string& noise = reader_.rest();
    end.printed = noise.substr(noise.size() - std::min(noise.size(), kKeptNoise));
    return explain_ssh(end);
  }

  const std::string& host_;
  const std::string& directory_;
  std::vector<RunnerFile> runners_;
  base::ChildProcess* ssh_ = nullptr;
  const Cancel& cancel_;
  std::string nonce_;
  ScriptReader reader_;
  std::string direct_;
  bool sent_script_ = false;
  bool took_first_ = false;
  std::uint64_t deadline_ns_ = 0;
};

Result<base::ChildProcess> start_ssh(std::vector<std::string> argv) {
  auto ssh = base::ChildProcess::start({.argv = std::move(argv)});
  if (!ssh && ssh.error().code == Errc::not_found)
    return fail(Errc::cannot_start, "there is no ssh on PATH", "install OpenSSH's client (openssh-client)");
  return ssh;
}

bool refuses_ciphers(const SshOptions& options, base::ChildProcess& ssh) {
  return options.ciphers && is_refusal_of_ciphers(ssh.errors());
}

/// Of ssh, not of our patience.
bool is_an_end(const Error& error) {
  return error.code != Errc::timeout && error.code != Errc::canceled;
}

/// Only a master that has been put aside answers.
bool master_answers(SshOptions options) {
  options.only_share = false;
  options.ask_master = true;
  const auto asked = base::run_command({.argv = ssh_command(options), .deadline = kMasterPatience});
  return asked && asked->exit_code == 0;
}

constexpr const char* kTakesNone = "none";  ///< in the key's place: a command that carries something fails there

/// A host is noted with how its runner began and the key it told: "<hash of the command> <key in hex>".
std::string way_to_begin(std::string_view directory, std::span<const RunnerFile> runners) {
  return base::sha256_hex(direct_command({}, directory, runners)) + " ";
}

/// The key of the note, when the runner began that way; else empty.
std::string noted_key(const fs::path& control, const std::string& way) {
  const std::string note = read_note(control);
  if (!note.starts_with(way)) return {};
  return base::from_hex(std::string_view(note).substr(way.size())).value_or("");
}

}  // namespace

Result<std::shared_ptr<SshChannel>> SshChannel::from_definition(const Json& definition, const SshTiming& timing) {
  const auto hosts = definition.find("hosts");
  if (hosts == definition.end() || !hosts->is_array() || hosts->empty() || !hosts->front().is_string())
    return fail(Errc::store, "the definition of an ssh target has no \"hosts\"");
  std::string host = hosts->front().get<std::string>();
  TRY_ASSIGN(Destination destination, parse_destination(host));
  std::string directory = definition.value("directory", kDefaultDirectory);
  TRY(check_directory(directory));
  SshOptions options{.destination = std::move(destination),
                     .accept_new_host_keys = definition.value("accept_new_host_keys", false)};
  if (const std::string file = definition.value("ssh_config", ""); !file.empty()) options.config = file;
  return std::shared_ptr<SshChannel>(new SshChannel(std::move(host), std::move(options), std::move(directory), timing));
}

std::optional<fs::path> SshChannel::shared_folder() const {
  // The configuration is a part of who is at the other end.
  return control_folder(host_ + "\n" + (options_.config ? options_.config->string() : ""));
}

Result<Connection> SshChannel::connect(const Cancel& cancel, std::string_view first) {
  const auto control = shared_folder();
  const bool shared = control && has_master(*control);
  auto connection = connect_once(control, shared ? timing_.begin_shared : timing_.begin, first, cancel);
  if (connection || connection.error().code != Errc::timeout) return connection;
  if (shared) {
    end_masters(*control);
    connection = connect_once({}, timing_.begin, first, cancel);
    if (connection || connection.error().code != Errc::timeout) return connection;
  }
  return fail(late("; a ForceCommand there keeps our shell from starting"));
}

Error SshChannel::late(const std::string& why) const {
  Error late{.code = Errc::unavailable,
             .message = host_ + " did not answer within " + base::format_duration(timing_.begin)};
  late.hint = "`ssh " + host_ + " true` shows where it hangs" + why;
  late.retryable = true;
  return late;
}

Result<bool> SshChannel::approach(const Cancel& cancel) {
  const auto control = shared_folder();
  if (!control || has_master(*control)) return false;
  TRY_ASSIGN(const auto runners, find_runner_files());
  if (noted_key(*control, way_to_begin(directory_, runners)).empty()) return false;
  SshOptions options = options_;
  options.control_folder = control;
  options.only_share = true;
  options.ciphers = preferred_ciphers(options.config);
  auto shared = share(std::move(options), *control, cancel);
  if (!shared) {
    // What keeps it from being shared may not keep a session; whoever gave up says nothing about the host.
    if (shared.error().code != Errc::canceled) write_note(*control, {});
    return fail(std::move(shared).error());
  }
  return has_master(*control);
}

void SshChannel::greeted(const Json& hello) {
  const auto control = shared_folder();
  const std::string key = hello.value("carrying_key", "");
  // Where nothing can be shared there is nothing to go ahead to.
  if (control && has_master(*control) && read_note(*control) != began_ + kTakesNone)
    write_note(*control, began_.empty() || key.empty() ? "" : began_ + key);
}

/// Until ssh has put a connection aside that others can share: then it ends.
Result<> SshChannel::share(SshOptions options, const fs::path& control, const Cancel& cancel) const {
  for (;;) {
    TRY_ASSIGN(auto ssh, start_ssh(ssh_command(options)));
    const std::uint64_t deadline = base::mono_ns() + static_cast<std::uint64_t>(timing_.begin.count()) * kNsPerMs;
    for (bool seen = false; !ssh.wait_ms(kLookMs);) {
      if (cancel.requested()) return fail(Errc::canceled, "given up");
      if (base::mono_ns() >= deadline) return fail(late({}));
      (void)ssh.errors();  // so that it never waits for us to read
      // Another process was quicker to share one, or this ssh is older than 8.5: it stays, and is not needed.
      if (seen && master_answers(options)) return {};
      seen = has_master(control);
    }
    // As a client of another one's connection it has asked for a shell, which may be refused.
    if (ssh.exit_code() == 0 || (has_master(control) && master_answers(options))) return {};
    if (!refuses_ciphers(options, ssh))
      return fail(explain_ssh({.host = host_,
                               .exit_code = ssh.exit_code(),
                               .errors = ssh.errors(),
                               .began = ssh.exit_code() != kSshFailed}));
    options.ciphers.reset();
  }
}

Result<Connection> SshChannel::connect_once(const std::optional<fs::path>& control, milliseconds patience,
                                            std::string_view first, const Cancel& cancel) {
  SshOptions options = options_;
  options.control_folder = control;
  if (!control || !has_master(*control)) options.ciphers = preferred_ciphers(options.config);
  TRY_ASSIGN(auto runners, find_runner_files());
  const std::string way = way_to_begin(directory_, runners);
  std::string carried = first.empty() || !control ? "" : host::carry(noted_key(*control, way), first);
  bool refused = false;
  for (;;) {
    auto argv = ssh_command(options);
    Handshake handshake(host_, directory_, runners, carried, cancel);
    argv.push_back(handshake.command());
    TRY_ASSIGN(auto ssh, start_ssh(std::move(argv)));
    auto early = handshake.run(ssh, patience, timing_.stall);
    began_ = handshake.began_directly() ? way : "";
    if (early) {
      if (refused) write_note(*control, way + kTakesNone);
      return Connection{.process = std::move(ssh), .early = std::move(*early), .took_first = handshake.took_first()};
    }
    if (control && began_.empty()) write_note(*control, {});
    if (refuses_ciphers(options, ssh)) {
      options.ciphers.reset();
    } else if (!carried.empty() && began_ == way && is_an_end(early.error())) {
      // A server that takes no long command, perhaps. Whatever came of it: the same launch again is the same run.
      carried.clear();
      refused = true;
    } else {
      return fail(std::move(early).error());
    }
  }
}

Result<std::vector<std::string>> SshChannel::program(const std::vector<std::string>& words, bool terminal) const {
  SshOptions options = options_;
  options.program = true;
  options.terminal = terminal;
  options.control_folder = shared_folder();
  auto argv = ssh_command(options);
  std::string command = "exec";
  for (const std::string& word : words) {
    const std::string quoted = quote_for_all_shells(word);
    if (quoted.empty())
      return fail(Errc::invalid, "on " + host_ + " \"" + word + "\" cannot be given to every login shell as it is",
                  "give the target a \"directory\" without ' \\ ! and line breaks");
    if (word.size() > kLongestWord) return fail(Errc::invalid, "the command is longer than 64 KB");
    command += " " + quoted;
  }
  argv.push_back(std::move(command));
  return argv;
}

Result<std::vector<std::string>> SshChannel::forward(int port) const {
  SshOptions options = options_;
  options.forward = "127.0.0.1:" + std::to_string(port);
  options.control_folder = shared_folder();
  return ssh_command(options);
}

Error SshChannel::explain(std::optional<int> exit_code, const std::string& errors) const {
  return explain_ssh({.host = host_, .exit_code = exit_code, .errors = errors, .printed = {}, .began = true});
}

}  // namespace trainctl::target
