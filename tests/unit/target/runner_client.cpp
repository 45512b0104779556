// SPDX-License-Identifier: Apache-2.0
// The client of the runner protocol: against the real runner, and against programs that misbehave.
#include "target/host/runner_client.hpp"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/child_process.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "host/container/engine.hpp"
#include "host/stdio/carried.hpp"
#include "host/stdio/frame.hpp"
#include "support/catch.hpp"
#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "target/host/host_link.hpp"
#include "target/host/local_channel.hpp"
#include "target/ssh/bootstrap.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

/// A program in the runner's place.
class ShellChannel final : public Channel {
 public:
  explicit ShellChannel(std::string script) : script_(std::move(script)) {}
  Result<Connection> connect(const Cancel&, std::string_view) override {
    TRY_ASSIGN(auto process, base::ChildProcess::start({.argv = {"/bin/sh", "-c", script_}}));
    return Connection{.process = std::move(process)};
  }
  [[nodiscard]] Error explain(std::optional<int> exit_code, const std::string& errors) const override {
    return {.code = Errc::denied, .message = std::to_string(exit_code.value_or(-1)) + " " + errors};
  }
  [[nodiscard]] std::string host() const override { return "a shell"; }

 private:
  std::string script_;
};

/// A host that takes connections and never answers.
class SilentChannel final : public Channel {
 public:
  Result<Connection> connect(const Cancel& cancel, std::string_view) override {
    asked.set_value();
    (void)cancel.wait_ms(-1);
    return fail(Errc::canceled, "given up");
  }
  [[nodiscard]] Error explain(std::optional<int>, const std::string&) const override { return {}; }
  [[nodiscard]] std::string host() const override { return "nobody"; }

  std::promise<void> asked;
};

/// A runner as a child; brings along what is to be sent first when it is asked to, and has gone ahead so often.
class CarryingChannel final : public Channel {
 public:
  CarryingChannel(fs::path store, bool carries, bool goes_ahead)
      : store_(std::move(store)), carries_(carries), goes_ahead_(goes_ahead) {}
  Result<Connection> connect(const Cancel&, std::string_view first) override {
    firsts.emplace_back(first);
    TRY_ASSIGN(const auto runner, host::runner_program());
    std::vector<std::string> argv = {runner.string(), "stdio", "--begin", "00ff", store_.string()};
    if (carries_ && !first.empty()) argv.push_back(host::carry(host::carrying_key(store_), first));
    TRY_ASSIGN(auto process, base::ChildProcess::start({.argv = std::move(argv)}));
    ScriptReader reader("00ff");
    for (;;) {
      if (const auto line = reader.next())
        return Connection{.process = std::move(process), .early = reader.rest(), .took_first = line->rest == "first"};
      std::array<char, 4096> buffer;  // NOLINT: filled by read
      pollfd ready{process.out(), POLLIN, 0};
      ::poll(&ready, 1, -1);
      const ssize_t got = ::read(process.out(), buffer.data(), buffer.size());
      if (got <= 0) return fail(Errc::io, "it has ended");
      TRY(reader.feed({buffer.data(), static_cast<std::size_t>(got)}));
    }
  }
  Result<bool> approach(const Cancel&) override {
    approached += goes_ahead_ ? 1 : 0;
    return goes_ahead_;
  }
  [[nodiscard]] Error explain(std::optional<int> exit_code, const std::string& errors) const override {
    return {.code = Errc::unavailable, .message = std::to_string(exit_code.value_or(-1)) + " " + errors};
  }
  [[nodiscard]] std::string host() const override { return "a child"; }

  void greeted(const Json& hello) override { key = hello.value("carrying_key", ""); }

  std::vector<std::string> firsts;
  std::string key;
  int approached = 0;

 private:
  fs::path store_;
  bool carries_;
  bool goes_ahead_;
};

Cancel new_cancel() {
  auto made = Cancel::create();
  REQUIRE(made);
  return *made;
}

/// printf(1) words of a hello frame.
std::string say_hello(const std::string& json) {
  std::string frame;
  REQUIRE(host::append_frame(frame, host::FrameType::hello, 0, json));
  std::string words = "printf '";
  for (const char c : frame) {
    const auto byte = static_cast<unsigned char>(c);
    words += std::string("\\") + static_cast<char>('0' + (byte >> 6U)) + static_cast<char>('0' + ((byte >> 3U) & 7U)) +
             static_cast<char>('0' + (byte & 7U));
  }
  return words + "'; ";
}

Result<std::shared_ptr<RunnerClient>> greet(const std::string& script, const ClientTiming& timing = {}) {
  const auto channel = std::make_shared<ShellChannel>(script);
  const Cancel cancel = new_cancel();
  TRY_ASSIGN(auto connection, channel->connect(cancel, {}));
  TRY_ASSIGN(auto client, RunnerClient::create(channel, timing));
  TRY(client->begin(std::move(connection), cancel));
  return client;
}

class Store {
 public:
  Store() {
    std::string name = (fs::temp_directory_path() / "trainctl-client-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store() { (void)base::remove_tree(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }
  /// A run folder with a log of that content; returns the run.
  [[nodiscard]] std::string add_log(const std::string& content) const {
    const std::string run = base::new_ulid();
    const fs::path logs = path_ / "store" / "runs" / run / "attempts" / "1" / "logs";
    REQUIRE(base::make_directories(logs));
    REQUIRE(base::write_file_atomic(logs / "std.log", content));
    return run;
  }

 private:
  fs::path path_;
};

Result<std::string> fetch(RunnerClient& client, const std::string& run, const Cancel& cancel) {
  TRY_ASSIGN(auto stream, client.open({{"op", "fetch"}, {"run", run}, {"file", "attempts/1/logs/std.log"}}));
  std::string bytes;
  for (;;) {
    TRY_ASSIGN(const auto frame, stream.next(cancel));
    if (frame.type == host::FrameType::end) return bytes;
    if (frame.type != host::FrameType::data) continue;
    bytes += frame.payload;
    stream.consumed(frame.payload.size());
  }
}

}  // namespace

TEST_CASE("many threads ask and fetch at once on one connection") {
  const Store store;
  HostLink link(std::make_shared<LocalChannel>(store.path()));
  const Cancel cancel = new_cancel();
  const auto client = link.client(cancel);
  REQUIRE(client);
  CHECK((*client)->offers("watch"));
  CHECK_FALSE((*client)->offers("teleport"));
  std::vector<std::string> contents;
  std::vector<std::string> runs;
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    contents.emplace_back(5'000'000, letter);  // more than a window
    runs.push_back(store.add_log(contents.back()));
  }
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    threads.emplace_back([&, i] { good += fetch(**client, runs[i], cancel).value_or("") == contents[i] ? 1 : 0; });
    threads.emplace_back([&] {
      for (int n = 0; n < 100; ++n) {
        const auto found = (*client)->request({{"op", "find"}, {"run", base::new_ulid()}}, cancel);
        good += found && !found->value("found", true) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == 404);
  CHECK_FALSE((*client)->broken());
}

TEST_CASE("a stream that is given up does not disturb the connection") {
  const Store store;
  HostLink link(std::make_shared<LocalChannel>(store.path()));
  const Cancel cancel = new_cancel();
  const auto client = link.client(cancel);
  REQUIRE(client);
  constexpr std::size_t kBytes = 20U << 20U;
  const std::string run = store.add_log(std::string(kBytes, 'x'));
  for (int i = 0; i < 20; ++i) {
    auto stream = (*client)->open({{"op", "fetch"}, {"run", run}, {"file", "attempts/1/logs/std.log"}});
    REQUIRE(stream);
    REQUIRE(stream->next(cancel));
  }
  CHECK(fetch(**client, run, cancel).value_or("").size() == kBytes);
}

TEST_CASE("the runner's errors come as they are, and other requests go on") {
  const Store store;
  HostLink link(std::make_shared<LocalChannel>(store.path()));
  const Cancel cancel = new_cancel();
  const auto client = link.client(cancel);
  REQUIRE(client);
  const auto refused = (*client)->request({{"op", "find"}, {"run", "../x"}}, cancel);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Errc::invalid);
  CHECK(refused.error().message == "\"run\" is not the ULID of a run");
  CHECK((*client)->request({{"op", "ping"}}, cancel));
}

TEST_CASE("a wait is given up when it is canceled") {
  const auto client = greet(say_hello(R"({"protocol":[1,1],"operations":[]})") + "exec sleep 60");
  REQUIRE(client);
  const Cancel cancel = new_cancel();
  std::thread later([&cancel] { cancel.request(); });
  const auto answer = (*client)->request({{"op", "probe"}}, cancel);
  later.join();
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Errc::canceled);
  CHECK_FALSE((*client)->broken());
}

TEST_CASE("a runner of another version is refused with both versions named") {
  const auto newer = greet(say_hello(R"({"protocol":[2,3],"build":"9.0","operations":[]})") + "exec sleep 60");
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == Errc::cannot_start);
  CHECK(newer.error().message == "the runner on a shell (9.0) speaks protocol 2 to 3, this program 1 to 1");
  CHECK(newer.error().hint == "upgrade trainctl here");
  const auto silent = greet(say_hello("{}") + "exec sleep 60");
  REQUIRE_FALSE(silent);
  CHECK(silent.error().code == Errc::cannot_start);
}

TEST_CASE("whoever writes something else is not taken for a runner") {
  const auto client = greet("echo 'Welcome to this host, today is a fine day'; exec sleep 60");
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::invalid);
  CHECK(client.error().message.starts_with("not a frame of the runner protocol"));
}

TEST_CASE("the end of a connection is explained by its channel") {
  const auto client = greet("echo no such luck >&2; exit 7");
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::denied);
  CHECK(client.error().message == "7 no such luck\n");
}

TEST_CASE("silence breaks a connection, a word keeps it") {
  using std::chrono::milliseconds;
  const ClientTiming quick{.hello = milliseconds(5000),
                           .request = milliseconds(400),
                           .heartbeat = milliseconds(50),
                           .silence = milliseconds(150)};
  const std::string hello = say_hello(R"({"protocol":[1,1],"operations":["ping"]})");
  const Cancel cancel = new_cancel();
  const auto silent = greet(hello + "exec sleep 60", quick);
  REQUIRE(silent);
  auto stream = (*silent)->open({{"op", "watch"}});
  REQUIRE(stream);
  const auto nothing = stream->next(cancel);
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code == Errc::unavailable);
  CHECK(nothing.error().retryable);
  CHECK((*silent)->broken());

  // Busy with a request: it may be silent for as long as that has.
  const auto busy = greet(hello + "exec sleep 60", quick);
  REQUIRE(busy);
  const std::uint64_t begin = base::mono_ns();
  const auto answer = (*busy)->request({{"op", "launch"}}, cancel);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == Errc::unavailable);
  CHECK(base::mono_ns() - begin >= 400'000'000);
  CHECK((*busy)->broken());
}

TEST_CASE("whoever waits for the connection that another thread makes can give up alone") {
  const auto channel = std::make_shared<SilentChannel>();
  HostLink link(channel);
  const Cancel first = new_cancel();
  std::optional<Errc> outcome;
  std::thread connecting([&] { outcome = link.client(first).error().code; });
  channel->asked.get_future().wait();
  const Cancel second = new_cancel();
  second.request();
  const auto given_up = link.client(second);
  REQUIRE_FALSE(given_up);
  CHECK(given_up.error().code == Errc::canceled);
  first.request();
  connecting.join();
  CHECK(outcome == Errc::canceled);
}

TEST_CASE("what a new connection is to begin with is answered once, brought along or sent") {
  const Cancel cancel = new_cancel();
  for (const bool carries : {true, false}) {
    INFO("carries " << carries);
    const Store store;
    const std::string run = store.add_log(std::string(3'000'000, 'x'));
    const auto channel = std::make_shared<CarryingChannel>(store.path() / "store", carries, true);
    HostLink link(channel);
    std::optional<RunnerStream> ping;
    int asked = 0;
    const auto ask = [&](RunnerClient& client) -> Result<> {
      ++asked;
      TRY_ASSIGN(ping, client.open({{"op", "ping"}}));
      return {};
    };
    REQUIRE(link.reach(cancel));
    CHECK(channel->approached == 1);
    CHECK(channel->firsts.empty());
    CHECK(channel->key.empty());
    const auto client = link.client(cancel, ask);
    REQUIRE(client);
    REQUIRE(channel->firsts.size() == 1);
    CHECK(channel->key == base::to_hex(host::carrying_key(store.path() / "store")));
    CHECK(channel->firsts.front().find("ping") != std::string::npos);
    REQUIRE(ping);
    const auto answer = ping->next(cancel, std::chrono::seconds(20));
    REQUIRE(answer);
    CHECK(answer->payload.find("mono_ns") != std::string::npos);
    CHECK(ping->wait(cancel, std::chrono::milliseconds(0)).value_or(true) == false);  // answered once
    const auto log = fetch(**client, run, cancel);
    REQUIRE(log);
    CHECK(log->size() == 3'000'000);
    REQUIRE(link.client(cancel, ask));
    REQUIRE(link.reach(cancel));
    CHECK(asked == 1);  // it is there
    CHECK(channel->approached == 1);
  }
}

TEST_CASE("a host that nobody can go ahead to is reached with a connection") {
  const Store store;
  const Cancel cancel = new_cancel();
  const auto channel = std::make_shared<CarryingChannel>(store.path() / "store", true, false);
  HostLink link(channel);
  REQUIRE(link.reach(cancel));
  CHECK(channel->firsts == std::vector<std::string>{""});
  REQUIRE(link.client(cancel, [](RunnerClient&) -> Result<> { return fail(Errc::internal, "it is there"); }));
  CHECK(channel->firsts.size() == 1);
}

TEST_CASE("what cannot be asked makes no connection") {
  const Store store;
  const Cancel cancel = new_cancel();
  const auto channel = std::make_shared<CarryingChannel>(store.path() / "store", true, true);
  HostLink link(channel);
  const auto failed = link.client(cancel, [](RunnerClient& client) -> Result<> {
    TRY(client.open({{"op", std::string(2U << 20U, 'x')}}));
    return {};
  });
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == Errc::invalid);
  CHECK(channel->firsts.empty());
  CHECK(link.client(cancel));
}

TEST_CASE("a broken connection is made anew by the next request") {
  const Store store;
  const fs::path count = store.path() / "count";
  const auto channel = std::make_shared<ShellChannel>("echo x >>" + count.string() + "; " +
                                                      say_hello(R"({"protocol":[1,1],"operations":[]})"));
  HostLink link(channel);
  const Cancel cancel = new_cancel();
  for (int i = 0; i < 2; ++i) {
    const auto client = link.client(cancel);
    REQUIRE(client);
    const auto answer = (*client)->request({{"op", "probe"}}, cancel);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().message.starts_with("0 "));
  }
  const std::string starts = base::read_file(count).value_or("");
  CHECK(starts == "x\nx\n");
}

}  // namespace trainctl::target
