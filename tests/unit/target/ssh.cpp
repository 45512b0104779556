// SPDX-License-Identifier: Apache-2.0
// What is pure of the ssh channel: names, command lines, the script's lines, and what ssh's words mean.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/temp_dir.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "host/stdio/carried.hpp"
#include "support/catch.hpp"
#include "target/ssh/bootstrap.hpp"
#include "target/ssh/ciphers.hpp"
#include "target/ssh/destination.hpp"
#include "target/ssh/explain.hpp"
#include "target/ssh/runner_files.hpp"
#include "target/ssh/ssh_channel.hpp"
#include "trainctl/error.hpp"

namespace trainctl::target {
namespace {

Destination destination(std::string_view text) {
  const auto parsed = parse_destination(text);
  INFO(text);
  REQUIRE(parsed);
  return *parsed;
}

}  // namespace

TEST_CASE("hosts are taken as people write them") {
  CHECK(destination("box") == Destination{.address = "box"});
  CHECK(destination("me@box.example.org") == Destination{.address = "me@box.example.org"});
  CHECK(destination("me@box:2222") == Destination{.address = "me@box", .port = 2222});
  CHECK(destination("box_1:22") == Destination{.address = "box_1", .port = 22});
  CHECK(destination("me@fe80::1%eth0") == Destination{.address = "me@fe80::1%eth0"});
  CHECK(destination("me@[::1]") == Destination{.address = "me@::1"});
  CHECK(destination("me@[fe80::1%eth0]:2222") == Destination{.address = "me@fe80::1%eth0", .port = 2222});
  CHECK(destination("me@example.org@box") == Destination{.address = "me@example.org@box"});
}

TEST_CASE("nothing that ssh or a shell could take for something else is a host") {
  for (const std::string_view wrong : {"",           "@",       "me@",     "@box",      "@@",      "-oProxyCommand=x",
                                       "me@-box",    "-me@box", "a b",     "box;x",     "box`x`",  "$(x)@box",
                                       "box\nx",     "box:",    "box:0",   "box:65536", "box:22x", "me@box/..",
                                       "b\xc3\xb6x", "box'",    "box\"",   "box\\x",    "#box",    "[box]",
                                       "[::1",       "[::1]2",  "[::1]:0", "me@[]",     "[::1]:"}) {
    INFO(wrong);
    const auto parsed = parse_destination(wrong);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == Errc::invalid);
  }
  CHECK_FALSE(parse_destination(std::string(300, 'a')));
  CHECK_FALSE(SshChannel::from_definition({{"type", "ssh"}}));
  CHECK_FALSE(SshChannel::from_definition({{"hosts", {"-x"}}}));
  CHECK_FALSE(SshChannel::from_definition({{"hosts", {"box"}}, {"directory", "relative"}}));
  CHECK(SshChannel::from_definition({{"hosts", {"box"}}, {"directory", "~/x"}}));
}

TEST_CASE("our options come first, the host behind --, and host keys are the user's business") {
  const auto argv = ssh_command({.destination = {.address = "me@box", .port = 22},
                                 .config = "/x/config",
                                 .control_folder = "/run/user/1/trainctl/ab"});
  CHECK(argv.front() == "ssh");
  CHECK(argv.back() == "me@box");
  CHECK(argv.at(argv.size() - 2) == "--");
  const auto has = [&argv](const std::string& word) { return std::count(argv.begin(), argv.end(), word) == 1; };
  CHECK(has("BatchMode=yes"));
  CHECK(has("ControlPath=/run/user/1/trainctl/ab/%C"));
  CHECK(has("-p"));
  CHECK(has("/x/config"));
  for (const std::string& word : argv) CHECK(word.find("HostKey") == std::string::npos);
  const auto alone = ssh_command({.destination = {.address = "box"}});
  CHECK(std::count(alone.begin(), alone.end(), "ControlPath=none") == 1);
  const auto accepting = ssh_command({.destination = {.address = "box"}, .accept_new_host_keys = true});
  CHECK(std::count(accepting.begin(), accepting.end(), "StrictHostKeyChecking=accept-new") == 1);
}

TEST_CASE("where ssh's configuration may speak of ciphers they are left to it") {
  const test::TempDir home;
  const auto folder = home.path() / ".ssh";
  std::filesystem::create_directories(folder / "conf.d" / "deep");
  const auto write = [](const std::filesystem::path& path, std::string_view text) {
    REQUIRE(base::write_file_atomic(path, text));
  };
  write(folder / "conf.d" / "a.conf", "Host box\n  User me\n");
  write(folder / "conf.d" / "deep" / "b.conf", "Host box\n\tCIPHERS aes128-ctr\n");
  write(folder / "circle", "Include circle\n");
  const auto config = folder / "config";
  const auto may = [&] { return may_name_ciphers(config, folder, home.path()); };
  CHECK_FALSE(may());  // there is none
  for (const std::string_view silent :
       {"", "Host *\n  ServerAliveInterval 5\n", "# Ciphers aes128-ctr\n", "Include conf.d/*.conf\n",
        "include ~/.ssh/conf.d/a.conf nowhere/*\n", "Include\tconf.d/a.conf\r\n", "Match exec \"true\"\n  User x\n"}) {
    INFO(silent);
    write(config, silent);
    CHECK_FALSE(may());
  }
  for (const std::string_view telling :
       {"Ciphers aes128-ctr\n", "  ciphers=aes128-ctr", "Host a\nHost b\n \"Ciphers\" aes128-ctr\n",
        "Include conf.d/*/*.conf\n", "Include conf.d/a.conf conf.d/deep/b.conf\n", "Include circle\n",
        "Include \"conf.d/a.conf\"\n", "Include ${HOME}/x\n", "Include %d/x\n", "Include ~other/x\n",
        "Include=conf.d/a.conf\n", "Match exec \"include\"\n"}) {
    INFO(telling);
    write(config, telling);
    CHECK(may());
  }
  CHECK(may_name_ciphers(folder, folder, home.path()));  // cannot be read as a file
}

TEST_CASE("words of a program are quoted as all login shells understand it, or refused") {
  const auto channel = SshChannel::from_definition({{"hosts", {"box"}}});
  REQUIRE(channel);
  const auto command = [&channel](const std::string& word) { return (*channel)->program({word, "enter"}, false); };
  for (const auto& [word, quoted] : std::map<std::string, std::string>{{"/home/me/x-1.0_a", "/home/me/x-1.0_a"},
                                                                       {"/home/a b", "'/home/a b'"},
                                                                       {"", "''"},
                                                                       {"/home/CORP+me@x", "'/home/CORP+me@x'"},
                                                                       {"$HOME \"`*", "'$HOME \"`*'"}}) {
    const auto argv = command(word);
    REQUIRE(argv);
    CHECK(argv->back() == "exec " + quoted + " enter");
  }
  for (const std::string word : {"it's", "a\\b", "a!b", "a\nb"}) CHECK_FALSE(command(word));
}

TEST_CASE("only lines with the nonce are the script's, wherever they begin and however they come in") {
  const std::string printed =
      "Welcome\nTRAINCTL-0000 run /nowhere\nsay() { printf '\\n%s-%s %s\\n' TRAINCTL \"$nonce\"; }\n\nTRAINCTL-abcd "
      "need x86_64\n"
      "\nTRAINCTL-abcd error home a b\n\x01\x02hello";
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, printed.size()}) {
    ScriptReader reader("abcd");
    std::vector<ScriptLine> lines;
    for (std::size_t at = 0; at < printed.size(); at += step) {
      REQUIRE(reader.feed(std::string_view(printed).substr(at, step)));
      while (const auto line = reader.next()) lines.push_back(*line);
    }
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].word == "need");
    CHECK(lines[0].rest == "x86_64");
    CHECK(lines[1].word == "error");
    CHECK(lines[1].rest == "home a b");
    CHECK(reader.rest() == "\x01\x02hello");
  }
  ScriptReader endless("abcd");
  CHECK_FALSE(endless.feed(std::string(5U << 20U, 'x')));
}

TEST_CASE("the script carries its words quoted, and no runner that is not here") {
  const std::string script = bootstrap_script("00ff", "~/it's $HOME", {});
  CHECK(script.starts_with("nonce=00ff\ndirectory='~/it'\\''s $HOME'\n"));
  CHECK(script.find("name_aarch64= hash_aarch64= size_aarch64=\n") != std::string::npos);
  CHECK(script.ends_with("\nmain\n"));  // whatever a shell reads ahead, nothing of it is left behind this
  CHECK(script.size() < 4096 + 256);
  const RunnerFile runner{.architecture = "x86_64", .path = "/r", .hash = std::string(64, 'a'), .size = 7};
  CHECK(bootstrap_script("00ff", "/x", std::span(&runner, 1)).find("size_x86_64=7\n") != std::string::npos);
  CHECK(check_directory("~"));
  CHECK(check_directory("/scratch/x y"));
  CHECK_FALSE(check_directory("~other/x"));
  CHECK_FALSE(check_directory("x"));
  CHECK_FALSE(check_directory("/a\nb"));
}

TEST_CASE(
    "the direct command starts the runner where it lies, whatever the login shell is, and else asks for the script") {
  const test::TempDir home;
  const std::array runners = {
      RunnerFile{.architecture = "x86_64", .path = "/r", .hash = std::string(64, 'a'), .size = 7},
      RunnerFile{.architecture = "aarch64", .path = "/r", .hash = std::string(64, 'a'), .size = 7},
  };
  const auto root = home.path() / "my runs";
  std::string command = direct_command("00ff", "~/my runs", runners);
  const auto answer = [&](const std::string& shell) {
    const auto done =
        base::run_command({.argv = {shell, "-c", command},
                           .environment = std::vector<std::string>{"HOME=" + home.path().string(),
                                                                   "PATH=" + base::get_env("PATH").value_or("")},
                           .input = "echo from the script $0\n"});
    INFO(shell << ": " << command);
    REQUIRE(done);
    INFO(done->err);
    CHECK(done->exit_code == (done->out.find("ran ") == std::string::npos ? 0 : 5));
    return done->out;
  };
  const std::string asks = "\nTRAINCTL-00ff script\nfrom the script /bin/sh\n";
  const auto bin = root / "bin";
  const std::string runner = (bin / runner_name(runners[0])).string();
  const auto put = [&](const std::string& text, mode_t mode) {
    REQUIRE(base::write_file_atomic(runner, text));
    REQUIRE(::chmod(runner.c_str(), mode) == 0);
  };
  std::size_t shells = 0;
  for (const char* shell : {"sh", "bash", "dash", "fish", "csh", "tcsh", "zsh"}) {
    if (!base::find_program(shell)) continue;
    ++shells;
    std::filesystem::remove_all(root);
    CHECK(answer(shell) == asks);
    REQUIRE(base::make_directories(bin));
    REQUIRE(base::make_directories(root / "store"));
    CHECK(answer(shell) == asks);
    put("#!/bin/sh\necho ran \"$*\"; cat; exit 5\n", 0700);
    CHECK(answer(shell) == "ran stdio --begin 00ff " + (root / "store").string() + "\necho from the script $0\n");
    const std::string digits = base::random_hex(host::kMostCarried / 2);
    const std::string plain = std::exchange(command, direct_command("00ff", "~/my runs", runners, digits));
    put("#!/bin/sh\necho ran \"$3\" \"$4\"; shift 4; printf %s \"$@\"; exit 5\n", 0700);
    CHECK(answer(shell) == "ran 00ff " + (root / "store").string() + "\n" + digits);
    put("#!/nowhere/interpreter\n", 0700);
    CHECK(answer(shell) == asks);
    command = plain;
    CHECK(answer(shell) == asks);
    put("#!/bin/sh\necho ran\n", 0600);
    CHECK(answer(shell) == asks);
    put("#!/bin/sh\necho ran; exit 5\n", 0700);
    std::filesystem::remove_all(root / "store");
    CHECK(answer(shell) == asks);
    REQUIRE(base::make_directories(root / "store"));
    std::filesystem::rename(bin, root / "elsewhere");
    std::filesystem::create_directory_symlink("elsewhere", bin);
    CHECK(answer(shell) == asks);
  }
  CHECK(shells >= 2);
}

TEST_CASE("no word of the direct command is longer than csh takes") {
  const std::string command = direct_command("00ff", "~/.trainctl", {}, std::string(host::kMostCarried, 'f'));
  CHECK(command.size() < 9000);  // more ends the session of some servers
  const std::size_t behind = command.rfind('\'');
  CHECK(behind - command.find('\'') < 1000);
  for (const std::string& word : base::split(command.substr(behind + 1), ' ')) CHECK(word.size() < 1000);
}

TEST_CASE("a directory that cannot stand in a command of all shells goes with the script") {
  for (const char* directory : {"~/it's", "/a$b", "/a\"b", "/a`b`", "/a\\b", "/a!b", "~/\xc3\xa4"})
    CHECK(direct_command("00ff", directory, {}).empty());
  for (const char* directory : {"~", "~/.trainctl", "/scratch/me/x y", "/data/@nonce"})
    CHECK(direct_command("00ff", directory, {})
              .find("d=\"" + std::string(directory[0] == '~' ? "$HOME" : "") +
                    (directory + (directory[0] == '~' ? 1 : 0)) + "\"") != std::string::npos);
}

TEST_CASE("what ssh says becomes what happened and what to do") {
  struct Case {
    const char* said;
    int exit_code;
    Errc code;
    const char* part;
  };
  for (const Case& one :
       std::array{Case{"ssh: connect to host b port 22: Connection refused\r\n", 255, Errc::unavailable,
                       "me@b refuses connections"},
                  Case{"ssh: connect to host b port 22: Connection timed out\r\n", 255, Errc::unavailable,
                       "me@b does not answer"},
                  Case{"ssh: Could not resolve hostname b: Name or service not known\r\n", 255, Errc::unavailable,
                       "cannot be resolved"},
                  Case{"@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\r\n",
                       255, Errc::denied, "not the one you know"},
                  Case{"No ED25519 host key is known for b\nHost key verification failed.\r\n", 255, Errc::denied,
                       "is not known here"},
                  Case{"me@b: Permission denied (publickey).\r\n", 255, Errc::denied, "does not let you in"},
                  Case{"/x/config: line 1: Bad configuration option: foo\r\n", 255, Errc::invalid,
                       "line 1: Bad configuration option: foo"},
                  Case{"client_loop: send disconnect: Broken pipe\r\n", 255, Errc::unavailable, "Broken pipe"},
                  Case{"sh: not found\n", 127, Errc::cannot_start, "exit code 127"}}) {
    INFO(one.said);
    const Error error = explain_ssh({.host = "me@b", .exit_code = one.exit_code, .errors = one.said});
    CHECK(error.code == one.code);
    CHECK(error.retryable == (one.code == Errc::unavailable));
    CHECK(error.message.find(one.part) != std::string::npos);
  }
  const Error told =
      explain_ssh({.host = "b", .exit_code = 1, .errors = "", .printed = "This account is currently not available.\n"});
  CHECK(told.code == Errc::denied);
  // What a run printed is not ssh's.
  CHECK(explain_ssh({.host = "b", .exit_code = 1, .errors = "", .printed = "", .began = true}).code ==
        Errc::unavailable);
}

}  // namespace trainctl::target
