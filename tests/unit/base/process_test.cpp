// SPDX-License-Identifier: Apache-2.0
#include "base/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>  // NOLINT: setenv is POSIX
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "support/catch.hpp"
#include "temp_dir.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

using namespace trainctl;
using namespace trainctl::base;
using std::chrono::milliseconds;
using trainctl::test::TempDir;

namespace {

Command shell(std::string script) {
  return {.argv = {"sh", "-c", std::move(script)}};
}

}  // namespace

TEST_CASE("output, errors and the exit code come back") {
  const auto result = run_command(shell("echo out; echo err >&2; exit 7"));
  REQUIRE(result);
  CHECK(result->exit_code == 7);
  CHECK(result->out == "out\n");
  CHECK(result->err == "err\n");
  CHECK(run_command(shell("exit 0")).value().exit_code == 0);
  CHECK(run_command(shell("kill -TERM $$")).value().exit_code == 128 + SIGTERM);
  CHECK(run_command(shell("kill -KILL $$")).value().exit_code == 128 + SIGKILL);
}

TEST_CASE("directory, environment and input are those we gave") {
  const TempDir dir;
  Command command = shell("pwd -P; echo \"$A,$HOME\"; cat");
  command.directory = dir.path();
  command.environment = std::vector<std::string>{"A=b c", "PATH=/usr/bin:/bin"};
  command.input = "from us";
  const auto result = run_command(command);
  REQUIRE(result);
  CHECK(result->out == fs::canonical(dir.path()).string() + "\nb c,\nfrom us");
  CHECK(run_command(shell("cat")).value().out.empty());  // /dev/null
  Command reopened = shell("cat /dev/stdin");
  reopened.input = "x";
  CHECK(run_command(reopened).value().out == "x");
}

TEST_CASE("large input and output do not block each other") {
  Command command = shell("cat");
  command.input = std::string(5'000'000, 'x');
  const auto result = run_command(command);
  REQUIRE(result);
  CHECK(result->out == command.input);
  // A program that does not read its input is no error and no SIGPIPE.
  command.argv = {"true"};
  CHECK(run_command(command).value().exit_code == 0);
  const auto both = run_command(shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"));
  REQUIRE(both);
  CHECK(both->out.size() == 300'000);
  CHECK(both->err.size() == 300'000);
}

TEST_CASE("too much output is an error and ends the program") {
  Command command{.argv = {"yes"}};
  command.max_output = 100'000;
  const auto result = run_command(command);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == Errc::invalid);
  CHECK(result.error().message.find("yes") != std::string::npos);
}

TEST_CASE("the deadline ends the program and what it started") {
  const TempDir dir;
  Command command = shell("sleep 600 & echo $! > pid; wait");
  command.directory = dir.path();
  command.deadline = milliseconds(300);
  const std::uint64_t start = mono_ns();
  const auto result = run_command(command);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == Errc::timeout);
  CHECK(mono_ns() - start < UINT64_C(20'000'000'000));
  const std::string text = read_file(dir.path() / "pid").value();
  // The kill does not wait for a process that is not our child: its pidfd tells when it is over (none: over already).
  const UniqueFd sleeper(static_cast<int>(::syscall(SYS_pidfd_open, std::stoi(text), 0)));
  struct pollfd polled{sleeper.get(), POLLIN, 0};
  CHECK((!sleeper || ::poll(&polled, 1, 20'000) == 1));
}

TEST_CASE("a program that leaves a child behind does not hold us") {
  const Command command = shell("echo done; sleep 600 & echo $! >&2");
  const std::uint64_t start = mono_ns();
  const auto result = run_command(command);
  REQUIRE(result);
  CHECK(result->out == "done\n");
  CHECK(mono_ns() - start < UINT64_C(20'000'000'000));
  ::kill(static_cast<pid_t>(std::stol(result->err)), SIGKILL);
}

TEST_CASE("a closed output does not end the wait") {
  const auto result = run_command(shell("exec >&- 2>&-; sleep 0.2; exit 5"));
  REQUIRE(result);
  CHECK(result->exit_code == 5);
}

TEST_CASE("what cannot be started says why") {
  CHECK(run_command({.argv = {"no-such-program-here"}}).error().code == Errc::not_found);
  CHECK(run_command({.argv = {"/no/such/program"}}).error().code == Errc::not_found);
  CHECK(run_command({.argv = {}}).error().code == Errc::invalid);
  Command command = shell("true");
  command.directory = "/no/such/directory";
  const auto missing = run_command(command);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find("/no/such/directory") != std::string::npos);
  const TempDir dir;
  REQUIRE(write_file_atomic(dir.path() / "text", "no program", 0700));
  CHECK_FALSE(run_command({.argv = {(dir.path() / "text").string()}}));
  REQUIRE(write_file_atomic(dir.path() / "interpreter", "#!/no/such/interpreter\n", 0700));
  CHECK_FALSE(run_command({.argv = {(dir.path() / "interpreter").string()}}));
}

TEST_CASE("output can go to a descriptor") {
  const TempDir dir;
  {
    const auto fd = open_file(dir.path() / "log", O_WRONLY | O_CREAT);
    REQUIRE(fd);
    Command command = shell("echo a; echo b >&2");
    command.output_fd = fd->get();
    const auto result = run_command(command);
    REQUIRE(result);
    CHECK(result->out.empty());
  }
  CHECK(read_file(dir.path() / "log").value() == "a\nb\n");
}

TEST_CASE("no descriptor of ours reaches the program, and signals are as new") {
  const auto fd = open_file("/dev/null", O_RDONLY);
  REQUIRE(fd);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  const auto result = run_command(shell("test -e /proc/self/fd/" + std::to_string(fd->get()) +
                                        " && echo open; grep -E 'Sig(Ign|Blk)' /proc/self/status"));
  ::signal(SIGPIPE, before);
  REQUIRE(result);
  // glibc's posix_spawn ignores its own two signals, 32 and 33, which nobody else uses.
  const bool as_new = result->out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n" ||
                      result->out == "SigBlk:\t0000000000000000\nSigIgn:\t0000000180000000\n";
  INFO(result->out);
  CHECK(as_new);
}

TEST_CASE("programs are looked up on trusted absolute directories only") {
  const TempDir dir;
  REQUIRE(make_directories(dir.path() / "bin"));
  REQUIRE(write_file_atomic(dir.path() / "bin" / "tool", "#!/bin/sh\n", 0700));
  REQUIRE(write_file_atomic(dir.path() / "bin" / "data", "", 0600));
  const std::string bin = (dir.path() / "bin").string();
  CHECK(find_program("tool", "/nowhere::" + bin) == dir.path() / "bin" / "tool");
  CHECK_FALSE(find_program("bin", dir.path().string()));
  CHECK_FALSE(find_program("tool", "bin"));
  CHECK_FALSE(find_program("tool", ""));
  CHECK_FALSE(find_program("", bin));
  REQUIRE(::chmod(bin.c_str(), 0777) == 0);
  CHECK_FALSE(find_program("tool", bin));
  CHECK(find_program(bin + "/tool"));
  CHECK(find_program("sh"));
}

TEST_CASE("start times and environment variables") {
  REQUIRE(process_start_time(::getpid()));
  CHECK(process_start_time(::getpid()) == process_start_time(::getpid()));
  CHECK_FALSE(process_start_time(-5));
  ::setenv("TRAINCTL_TEST_EMPTY", "", 1);
  CHECK(get_env("TRAINCTL_TEST_EMPTY") == "");
  ::unsetenv("TRAINCTL_TEST_EMPTY");
  CHECK_FALSE(get_env("TRAINCTL_TEST_EMPTY"));
}

TEST_CASE("times are written and read") {
  using namespace std::chrono;
  CHECK(format_utc(WallTime{}) == "1970-01-01T00:00:00.000000Z");
  CHECK(format_utc(WallTime(microseconds(-1))) == "1969-12-31T23:59:59.999999Z");
  const auto time = parse_utc("2026-11-23T02:28:01.123456Z");
  REQUIRE(time);
  CHECK(format_utc(*time) == "2026-11-23T02:28:01.123456Z");
  CHECK(parse_utc("2026-11-23T04:28:01.123456789+02:00") == time);
  CHECK(parse_utc("2026-11-22T21:58:01.123456-04:30") == time);
  CHECK(format_utc(*parse_utc("2024-02-29t12:00:00z")) == "2024-02-29T12:00:00.000000Z");
  CHECK(format_utc(*parse_utc("2016-12-31T23:59:60Z")) == "2017-01-01T00:00:00.000000Z");
  for (const char* bad :
       {"", "2026-11-23", "2026-11-23T02:28:01", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z", "2026-11-23T24:00:00Z",
        "2026-11-23T02:60:01Z", "2026-11-23T02:28:01.Z", "2026-11-23T02:28:01Zx", "2026-11-23T02:28:01+0200",
        "2026-11-23T02:28:01+24:00", "+026-11-23T02:28:01Z"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_utc(bad));
  }
  CHECK(format_utc(parse_utc(format_utc(wall_now())).value()).size() == 27);
}

TEST_CASE("the monotonic clock goes on and this machine has a name") {
  const std::uint64_t first = mono_ns();
  CHECK(mono_ns() >= first);
  CHECK_FALSE(host_name().empty());
  CHECK_FALSE(machine_id().empty());
  CHECK_FALSE(pid_namespace().empty());
  CHECK_FALSE(user_name().empty());
  const TempDir dir;
  REQUIRE(write_file_atomic(dir.path() / "boot", "abc-def\n"));
  ::setenv("TRAINCTL_BOOT_ID_FILE", (dir.path() / "boot").c_str(), 1);
  CHECK(boot_id() == "abc-def");
  ::unsetenv("TRAINCTL_BOOT_ID_FILE");
  CHECK(boot_id() != "abc-def");
}

TEST_CASE("errors of the system have a class, words and the version a form") {
  CHECK(system_error("open x", ENOENT).code == Errc::not_found);
  CHECK(system_error("open x", EACCES).code == Errc::denied);
  CHECK(system_error("write x", ENOSPC).code == Errc::store);
  CHECK(system_error("write x", EDQUOT).code == Errc::store);
  CHECK(system_error("write x", EIO).code == Errc::io);
  CHECK(system_error("open x", ENOENT).message == "cannot open x: No such file or directory");
  CHECK(std::string(to_string(Errc::cannot_start)) == "cannot_start");
  CHECK(split(version(), '.').size() == 3);
}
