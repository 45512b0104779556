// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <string>
#include <vector>

#include "base/process.hpp"
#include "snapshot/git_state.hpp"
#include "unit/snapshot/tree.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;
using namespace trainctl::snapshot::test;

namespace {

void git(const Tree& tree, std::vector<std::string> arguments) {
  base::Command command{
      .argv = {"git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"}};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.directory = tree.source();
  const auto output = base::run_command(command);
  REQUIRE(output);
  INFO(output->err);
  REQUIRE(output->exit_code == 0);
}

}  // namespace

TEST_CASE("git state: credentials never stay in an URL") {
  CHECK(without_credentials("https://user:token@host/a/b.git") == "https://host/a/b.git");
  CHECK(without_credentials("https://token@host:8443/a") == "https://host:8443/a");
  CHECK(without_credentials("https://host/a@b") == "https://host/a@b");
  CHECK(without_credentials("https://host/a?access_token=x#y") == "https://host/a");
  CHECK(without_credentials("https://u:p@ss@host/a") == "https://host/a");
  CHECK(without_credentials("ssh://git:pw@host/a") == "ssh://git@host/a");
  CHECK(without_credentials("git@host:a/b.git") == "git@host:a/b.git");
  CHECK(without_credentials("user:pw@host:a/b.git") == "host:a/b.git");
  CHECK(without_credentials("/srv/a@b:c") == "/srv/a@b:c");
}

TEST_CASE("git state: no repository, no answer") {
  const Tree tree;
  const GitAnswer answer = git_state(tree.source());
  CHECK_FALSE(answer.state);
  CHECK(answer.why_not.empty());
}

TEST_CASE("git state: commit, branch, changes, patch and remote") {
  if (!base::find_program("git")) return;
  const Tree tree;
  git(tree, {"init", "-q"});
  tree.write("a.py", "one\n");
  git(tree, {"add", "."});
  GitAnswer answer = git_state(tree.source());
  REQUIRE(answer.state);
  CHECK(answer.state->commit.empty());
  CHECK(answer.state->changed == 1);
  git(tree, {"commit", "-qm", "first"});
  git(tree, {"remote", "add", "origin", "https://me:secret@host/repo.git"});
  answer = git_state(tree.source());
  REQUIRE(answer.state);
  CHECK(answer.state->commit.size() == 40);
  CHECK(answer.state->branch == "main");
  CHECK(answer.state->remote_url == "https://host/repo.git");
  CHECK_FALSE(answer.state->dirty());
  tree.write("a.py", "two\n");
  tree.write("new.py");
  answer = git_state(tree.source());
  REQUIRE(answer.state);
  CHECK(answer.state->changed == 1);
  CHECK(answer.state->untracked == 1);
  CHECK(answer.state->patch.find("+two") != std::string::npos);
  tree.write("a.py", std::string(2U << 20U, '\n'));
  answer = git_state(tree.source());
  REQUIRE(answer.state);
  CHECK(answer.state->patch_truncated);
  CHECK(answer.state->patch.empty());
}

TEST_CASE("git state: programs that a repository names are not run") {
  if (!base::find_program("git")) return;
  const Tree tree;
  git(tree, {"init", "-q"});
  tree.write("a.py", "one\n");
  tree.write(".gitattributes", "*.py diff=evil\n");
  git(tree, {"add", "."});
  git(tree, {"commit", "-qm", "first"});
  const std::string touch = "touch " + (tree.root() / "ran").string();
  for (const char* key : {"core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv", "core.pager"}) {
    git(tree, {"config", key, touch});
  }
  fs::remove(tree.root() / "ran");
  tree.write("a.py", "two\n");
  REQUIRE(git_state(tree.source()).state);
  CHECK_FALSE(fs::exists(tree.root() / "ran"));
}
