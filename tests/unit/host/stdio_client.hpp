// SPDX-License-Identifier: Apache-2.0
// A client over a socket pair against the real server in a forked process, for the tests of the runner protocol.
#pragma once

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/server.hpp"
#include "support/catch.hpp"

namespace trainctl::host::stdio_test {

namespace stdfs = std::filesystem;

class Client {
 public:
  explicit Client(bool greet = true) {
    std::string name = (stdfs::temp_directory_path() / "stdio-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    store_ = name;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    server_ = ::fork();
    if (server_ == 0) {
      ::close(ends[0]);
      StdioContext context;
      context.store = store_;
      context.adopt = [this](const format::RunPaths& run) -> Result<> {
        return base::write_file_atomic(store_ / ("adopted-" + run.id()), "");
      };
      context.start = [this](const stdfs::path& run) -> Result<> {
        return base::write_file_atomic(store_ / ("started-" + run.filename().string()), "");
      };
      ::_exit(stdio_main(ends[1], ends[1], context));
    }
    ::close(ends[1]);
    fd_ = ends[0];
    if (greet) send(FrameType::hello, 0, R"({"protocol":[1,1]})");
  }
  ~Client() {
    finish();
    stdfs::remove_all(store_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Closes our side; the server's exit code.
  int finish() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    if (server_ > 0) {
      int status = 0;
      ::waitpid(server_, &status, 0);
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      server_ = -1;
    }
    return code_;
  }
  void send(FrameType type, std::uint32_t stream, const std::string& payload) const {
    std::string bytes;
    REQUIRE(append_frame(bytes, type, stream, payload));
    REQUIRE(base::write_all(fd_, bytes));
  }
  void ask(std::uint32_t stream, const Json& request) const {
    send(FrameType::request, stream, base::dump_json(request));
  }
  Frame receive() {
    for (;;) {
      auto frame = decoder_.next();
      REQUIRE(frame);
      if (*frame) return std::move(**frame);
      std::string buffer(65536, '\0');
      const ssize_t got = ::read(fd_, buffer.data(), buffer.size());
      REQUIRE(got > 0);
      decoder_.feed({buffer.data(), static_cast<std::size_t>(got)});
    }
  }
  /// The next frame that is not data or a note of another stream.
  Frame answer(std::uint32_t stream) {
    for (;;) {
      Frame frame = receive();
      if (frame.stream == stream && frame.type != FrameType::hello) return frame;
    }
  }
  Json reply(std::uint32_t stream, const Json& request) {
    ask(stream, request);
    const Frame frame = answer(stream);
    INFO(frame.payload);
    CHECK(frame.type == FrameType::reply);
    return *base::parse_json(frame.payload);
  }
  Json refusal(std::uint32_t stream, const Json& request) {
    ask(stream, request);
    const Frame frame = answer(stream);
    INFO(frame.payload);
    CHECK(frame.type == FrameType::error);
    return *base::parse_json(frame.payload);
  }
  [[nodiscard]] const stdfs::path& store() const { return store_; }

 private:
  stdfs::path store_;
  FrameDecoder decoder_;
  int fd_ = -1;
  pid_t server_ = -1;
  int code_ = -1;
};

inline format::Plan plan() {
  format::Plan out;
  out.id = base::new_ulid();
  out.name = "digits-1";
  out.command.argv = {"true"};
  return out;
}

/// A run folder with one attempt, as a supervisor leaves it.
inline format::RunPaths make_run(const stdfs::path& store, const std::string& log) {
  const format::Plan made = plan();
  const format::RunPaths run = format::StorePaths{store}.run(made.id);
  const auto attempt = run.attempt(1);
  REQUIRE(base::make_directories(attempt.logs()));
  REQUIRE(base::make_directories(attempt.node(0)));
  REQUIRE(base::write_file_atomic(run.plan(), base::dump_json(format::to_json(made))));
  REQUIRE(base::write_file_atomic(attempt.log(0), log));
  auto events = format::EventWriter::open(attempt.events());
  REQUIRE(events);
  REQUIRE(events->append("attempt", {{"attempt", 1}}));
  REQUIRE(events->append("state", {{"state", "running"}}));
  return run;
}

inline void end_run(const format::RunPaths& run) {
  auto events = format::EventWriter::open(run.attempt(1).events());
  REQUIRE(events);
  REQUIRE(events->append("end", {{"state", "succeeded"}, {"cause", "exit"}, {"exit_code", 0}, {"next", nullptr}}));
}

}  // namespace trainctl::host::stdio_test
