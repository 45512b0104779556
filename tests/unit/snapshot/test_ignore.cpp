// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ios>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/process.hpp"
#include "base/text.hpp"
#include "snapshot/ignore.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/scan.hpp"
#include "unit/snapshot/tree.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;
using namespace trainctl::snapshot::test;

TEST_CASE("ignore rules: the cases of gitignore(5)") {
  CHECK(leaves_out("*.pyc", "a/b.pyc", false));
  CHECK_FALSE(leaves_out("/*.pyc", "a/b.pyc", false));
  CHECK(leaves_out("data/", "data", true));
  CHECK_FALSE(leaves_out("data/", "data", false));
  CHECK(leaves_out("data/", "data/x/y", false));
  CHECK(leaves_out("a/**/b", "a/b", false));
  CHECK(leaves_out("a/**/b", "a/x/y/b", false));
  CHECK(leaves_out("**/foo", "x/foo", false));
  CHECK_FALSE(leaves_out("a/*", "b", false));
  CHECK_FALSE(leaves_out("a*b/c", "a/b/c", false));
  CHECK_FALSE(leaves_out("*.log\n!keep.log", "x/keep.log", false));
  CHECK(leaves_out("logs/\n!logs/keep", "logs/keep", false));  // the directory is gone already
  CHECK(leaves_out("\\#x\n", "#x", false));
  CHECK(leaves_out("\\!x", "!x", false));
  CHECK(leaves_out("x ", "x", false));
  CHECK(leaves_out("x\\ ", "x ", false));
  CHECK(leaves_out("\xEF\xBB\xBFx\r\n", "x", false));
  CHECK(leaves_out("[[:digit:]a-c]", "b", false));
  CHECK_FALSE(leaves_out("[!a-c]", "b", false));
  CHECK(leaves_out("[]-]", "]", false));
  CHECK_FALSE(leaves_out("[a", "[a", false));
  CHECK_FALSE(leaves_out("x\\", "x\\", false));
  CHECK_FALSE(leaves_out("# comment\n\n/\n!\n", "comment", false));
}

TEST_CASE("ignore rules: a hostile pattern takes no exponential time") {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "*a";
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(leaves_out(pattern + "b", std::string(200, 'a'), false));
  CHECK_FALSE(leaves_out("**/" + pattern + "/b", std::string(200, 'a') + "/c", false));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
}

namespace {

struct Generator {
  std::mt19937 random;
  std::size_t below(std::size_t n) { return random() % n; }
  const std::string& pick(const std::vector<std::string>& of) { return of[below(of.size())]; }
};

const std::vector<std::string> kNames = {"a",   "b",   "ab",  "foo",   "bar", "foobar", "x.py", "a.c",
                                         "a-b", "[x]", "a b", "build", "#h",  "!n",     "sp ",  ".h",
                                         "A",   "0",   "]",   "-",     " l",  "a\\b"};
const std::vector<std::string> kAtoms = {
    "a",           "b",    "foo",  "bar",   "ab",    "*",        "**",          "?",   "/",     "/",
    "[ab]",        "[!a]", "[^b]", "[a-c]", "\\",    "\\*",      ".",           "x",   "py",    "#",
    "!",           "[]x]", "[a",   " ",     "build", "**/",      "[[:alpha:]]", "[a-", "/**",   "[\\]]",
    "-",           "c",    "0",    "A",     "h",     "[[:no:]]", "[--0]",       "[/]", "[[a:]", ".trainctlignore",
    "[[:digit:]-]"};

std::string random_rules(Generator& generator) {
  std::string text;
  for (std::size_t lines = 1 + generator.below(4); lines > 0; --lines) {
    if (generator.below(4) == 0) text += '!';
    for (std::size_t atoms = 1 + generator.below(5); atoms > 0; --atoms) text += generator.pick(kAtoms);
    if (generator.below(5) == 0) text += '/';
    if (generator.below(10) == 0) text += ' ';
    if (generator.below(20) == 0) text += '\r';
    text += '\n';
  }
  return text;
}

void grow(Generator& generator, const Tree& tree, const std::string& folder, int depth) {
  for (int i = 0; i < 6; ++i) {
    const std::string path = folder + generator.pick(kNames);
    if (fs::exists(tree.source() / path)) continue;
    if (depth < 3 && generator.below(2) == 0) {
      fs::create_directories(tree.source() / path);
      grow(generator, tree, path + "/", depth + 1);
    } else {
      tree.write(path);
    }
  }
}

std::set<std::string> kept_by_git(const Tree& tree) {
  std::string input;
  for (const auto& entry : fs::recursive_directory_iterator(tree.source())) {
    const std::string path = fs::relative(entry.path(), tree.source()).string();
    if (!path.starts_with(".git/") && path != ".git") input += path + '\0';
  }
  base::Command command{
      .argv = {"git", "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin", "--no-index", "-v", "-n"}};
  command.directory = tree.source();
  command.input = input;
  const auto output = base::run_command(command);
  REQUIRE(output);
  const auto fields = base::split(output->out, '\0');
  std::set<std::string> kept;
  for (std::size_t i = 0; i + 3 < fields.size(); i += 4) {
    const std::string& rule = fields[i + 2];
    if ((rule.empty() || rule.front() == '!') && !fs::is_directory(tree.source() / fields[i + 3]))
      kept.insert(fields[i + 3]);
  }
  return kept;
}

}  // namespace

TEST_CASE("ignore rules: a walk keeps what git keeps, with nested files, on random rules") {
  if (!base::find_program("git")) return;
  for (const unsigned seed : {1U, 2U, 3U}) {
    Generator generator{.random = std::mt19937(seed)};
    const Tree tree;
    const base::Command init{.argv = {"git", "init", "-q", tree.source().string()}};
    REQUIRE(base::run_command(init));
    grow(generator, tree, "", 0);
    std::vector<std::string> folders = {""};
    for (const auto& entry : fs::recursive_directory_iterator(tree.source())) {
      const std::string path = fs::relative(entry.path(), tree.source()).string();
      if (entry.is_directory() && !path.starts_with(".git")) folders.push_back(path + "/");
    }
    for (int round = 0; round < 25; ++round) {
      std::string written;
      for (int i = 0; i < 4; ++i) {
        const std::string folder = i == 0 ? "" : generator.pick(folders);
        const std::string rules = random_rules(generator);
        std::ofstream(tree.source() / (folder + ".gitignore"), std::ios::binary) << rules;
        written += "--- " + folder + "\n" + rules;
      }
      auto found = scan({.source = tree.source()});
      REQUIRE(found);
      std::set<std::string> kept;
      for (const ScanEntry& entry : found->entries) {
        if (entry.entry.type == EntryType::file) kept.insert(entry.entry.path);
      }
      INFO("seed " << seed << " round " << round << "\n" << written);
      REQUIRE(kept == kept_by_git(tree));
    }
  }
}
