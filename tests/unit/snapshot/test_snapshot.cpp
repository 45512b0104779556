// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "snapshot/materialise.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "unit/snapshot/tree.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;
using namespace trainctl::snapshot::test;

TEST_CASE("snapshot: an unchanged tree is not read again, a changed file is") {
  const Tree tree;
  for (int i = 0; i < 300; ++i)
    tree.write("p" + std::to_string(i % 7) + "/f" + std::to_string(i) + ".py", std::to_string(i));
  next_tick();
  const Snapshot first = tree.taken();
  CHECK(first.files == 300);
  CHECK(first.read_files == 300);
  const Snapshot second = tree.taken();
  CHECK(second.digest == first.digest);
  CHECK(second.read_files == 0);
  tree.write("p0/f0.py", "changed");
  next_tick();
  const Snapshot third = tree.taken();
  CHECK(third.digest != first.digest);
  CHECK(third.read_files == 1);
  CHECK(tree.taken().read_files == 0);
}

TEST_CASE("snapshot: same size and mtime, other content: the change time tells") {
  const Tree tree;
  tree.write("a", "one");
  next_tick();
  const Snapshot first = tree.taken();
  const auto time = fs::last_write_time(tree.source() / "a");
  tree.write("a", "two");
  fs::last_write_time(tree.source() / "a", time);
  CHECK(tree.taken().digest != first.digest);
}

TEST_CASE("snapshot: a file as young as its reading is read again") {
  const Tree tree;
  tree.write("a", "one");
  fs::last_write_time(tree.source() / "a", fs::file_time_type::clock::now() + std::chrono::hours(1));
  CHECK(tree.taken().read_files == 1);
  CHECK(tree.taken().read_files == 1);
}

TEST_CASE("snapshot: a lost or damaged cache and lost blobs are mended by reading again") {
  const Tree tree;
  tree.write("a", "one");
  next_tick();
  const Snapshot first = tree.taken();
  const fs::path snapshots = tree.store() / "snapshots";
  for (const auto& cache : fs::directory_iterator(snapshots / "cache")) fs::resize_file(cache, 70);
  CHECK(tree.taken().read_files == 1);
  fs::remove(snapshots / "manifests" / first.digest);
  fs::remove(snapshots / "index");
  const Snapshot again = tree.taken();
  CHECK(again.read_files == 1);
  CHECK(again.digest == first.digest);
  auto store = Store::open(tree.store());
  REQUIRE(store);
  REQUIRE(materialise(*store, again.digest, tree.root() / "copy", {.verify = true}));
  CHECK(slurp(tree.root() / "copy/a") == "one");
}

TEST_CASE("snapshot: what is always left out, and what the rules leave out, is said") {
  const Tree tree;
  tree.write("train.py");
  tree.write(".git/config");
  tree.write("lib/__pycache__/x.pyc");
  tree.write("node_modules/m.js");
  tree.write("env/pyvenv.cfg");
  tree.write("env/bin/python");
  tree.write("outputs/model.bin");
  tree.write("lib/outputs/kept");
  tree.write("data/a", std::string(1000, 'a'));
  tree.write("data/b", std::string(2000, 'b'));
  tree.write("keep.ckpt");
  tree.write("drop.ckpt");
  tree.write(".gitignore", "data/\n*.ckpt\n");
  tree.write(".trainctlignore", "!keep.ckpt\n");
  const Snapshot snapshot = tree.taken();
  CHECK(tree.paths(snapshot.digest) == ".gitignore .trainctlignore keep.ckpt lib/outputs/kept train.py");
  std::vector<std::string> notes;
  for (const LeftOut& left_out : snapshot.left_out) notes.push_back(note(left_out));
  const auto said = [&](const std::string& text) { return std::find(notes.begin(), notes.end(), text) != notes.end(); };
  CHECK(said("left out by .gitignore: data/ (3 KB, 2 files)"));
  CHECK(said("left out by .gitignore: drop.ckpt (2 B, 1 file)"));
  CHECK(said("left out: outputs/ (a run has an empty one of its own)"));
  CHECK(said("always left out: env/"));
  CHECK(said("always left out: node_modules/"));
}

TEST_CASE("snapshot: .amlignore wins over .gitignore; .trainctlignore takes back from a left-out folder") {
  const Tree tree;
  tree.write("a.txt");
  tree.write("data/big.bin");
  tree.write("data/sub/small.csv");
  tree.write("data/sub/other.csv");
  tree.write(".gitignore", "data/\n");
  tree.write(".trainctlignore", "!data/sub/small.csv\n");
  CHECK(tree.listed() == ".gitignore .trainctlignore a.txt data/sub/small.csv");
  tree.write(".amlignore", "a.txt\n");
  CHECK(tree.listed() == ".amlignore .gitignore .trainctlignore data/big.bin data/sub/other.csv data/sub/small.csv");
}

TEST_CASE("snapshot: rules of the repository above hold, unless they leave out the source itself") {
  const Tree tree;
  fs::create_directories(tree.root() / ".git");
  tree.write("a.bin");
  tree.write("b.py");
  std::ofstream(tree.root() / ".gitignore") << "*.bin\n";
  CHECK(tree.listed() == "b.py");
  std::ofstream(tree.root() / ".gitignore") << "*.bin\nsource/\n";
  CHECK(tree.listed() == "a.bin b.py");
}

TEST_CASE("snapshot: a store inside the source is not part of it") {
  const Tree tree;
  tree.write("a");
  const fs::path store = tree.source() / "sub/store";
  for (int i = 0; i < 2; ++i) {
    const auto snapshot = take({.source = tree.source(), .store = store});
    REQUIRE(snapshot);
    CHECK(snapshot->files == 1);
  }
}

TEST_CASE("snapshot: links are kept, special files and odd names are said") {
  const Tree tree;
  tree.write("a");
  tree.write("bad\xff\nname", "odd");
  fs::create_symlink("a", tree.source() / "link");
  fs::create_symlink("/etc", tree.source() / "out");
  fs::create_symlink("nowhere", tree.source() / "broken");
  fs::create_directories(tree.source() / "empty");
  REQUIRE(::mkfifo((tree.source() / "pipe").c_str(), 0600) == 0);
  const Snapshot snapshot = tree.taken();
  CHECK(snapshot.files == 2);
  CHECK(snapshot.warnings.size() == 3);
  auto store = Store::open(tree.store());
  REQUIRE(store);
  REQUIRE(materialise(*store, snapshot.digest, tree.root() / "copy"));
  CHECK(fs::read_symlink(tree.root() / "copy/out") == "/etc");
  CHECK(fs::read_symlink(tree.root() / "copy/broken") == "nowhere");
  CHECK(slurp(tree.root() / "copy/bad\xff\nname") == "odd");
  CHECK(fs::is_directory(tree.root() / "copy/empty"));
  CHECK(fs::is_directory(tree.root() / "copy/outputs"));
  CHECK_FALSE(fs::exists(tree.root() / "copy/pipe"));
}

TEST_CASE("snapshot: copies have the modes, lengths and bytes of the source, and are private") {
  const Tree tree;
  std::string large(3U << 20U, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761U >> 13U);
  tree.write("run.sh", "#!/bin/sh\n", 0755);
  tree.write("secret", "s", 0600);
  tree.write("large.bin", large);
  tree.write("empty", "");
  tree.write("text", std::string(100'000, 't'));
  const Snapshot snapshot = tree.taken();
  auto store = Store::open(tree.store());
  REQUIRE(store);
  const fs::path copy = tree.root() / "copy";
  const auto made = materialise(*store, snapshot.digest, copy, {.verify = true});
  REQUIRE(made);
  CHECK(made->files == 5);
  CHECK(slurp(copy / "large.bin") == large);
  CHECK(slurp(copy / "text") == std::string(100'000, 't'));
  CHECK(fs::file_size(copy / "empty") == 0);
  CHECK(fs::status(copy / "run.sh").permissions() == fs::perms(0755));
  CHECK(fs::status(copy / "secret").permissions() == fs::perms(0600));
  CHECK(fs::hard_link_count(copy / "large.bin") == 1);
  CHECK_FALSE(materialise(*store, snapshot.digest, copy));  // not empty
}

TEST_CASE("snapshot: a missing source, and one that is no directory") {
  const Tree tree;
  tree.write("file");
  const auto missing = take({.source = tree.root() / "nowhere", .store = tree.store()});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::not_found);
  CHECK(missing.error().message.find("nowhere") != std::string::npos);
  CHECK_FALSE(take({.source = tree.source() / "file", .store = tree.store()}));
}

TEST_CASE("snapshot: too large is refused with the largest files named, before anything is read") {
  const Tree tree;
  tree.write("big.bin", std::string(5000, 'b'));
  tree.write("small", "s");
  const auto refused = take({.source = tree.source(), .store = tree.store(), .max_bytes = 4000});
  REQUIRE_FALSE(refused);
  CHECK(is_too_large(refused.error()));
  CHECK(refused.error().message.find("big.bin 5 KB") != std::string::npos);
  const auto seen = preview(tree.source(), tree.store(), 4000);
  REQUIRE(seen);
  CHECK(seen->too_large);
  CHECK(seen->items.size() == 2);
}

TEST_CASE("snapshot: every unreadable file is named") {
  if (::geteuid() != 0) return;
  const Tree tree;
  tree.write("good");
  tree.write("secret1", "x", 0000);
  tree.write("secret2", "x", 0000);
  for (const fs::path& path : {tree.root(), tree.source(), tree.source() / "good"}) {
    REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(9);
    const auto snapshot = take({.source = tree.source(), .store = tree.store()});
    if (snapshot) ::_exit(1);
    const std::string& text = snapshot.error().message;
    ::_exit(snapshot.error().code == Errc::denied && text.find("secret1, secret2") != std::string::npos ? 0 : 2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
