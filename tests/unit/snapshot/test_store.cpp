// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ios>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/maintenance.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "unit/snapshot/tree.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;
using namespace trainctl::snapshot::test;

namespace {

std::string noise(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

Store opened(const Tree& tree) {
  auto store = Store::open(tree.store());
  REQUIRE(store);
  return std::move(*store);
}

void require_sound(const Tree& tree) {
  const auto report = check(opened(tree));
  REQUIRE(report);
  INFO((report->problems.empty() ? std::string() : report->problems.front()));
  REQUIRE(report->problems.empty());
}

/// A manifest as an attacker would write it, stored under its right digest.
std::string plant(const Tree& tree, const std::string& lines) {
  auto digest = opened(tree).add_manifest(std::string(kManifestHeader) + lines);
  REQUIRE(digest);
  return *digest;
}

}  // namespace

TEST_CASE("manifest: one text for a tree, and back") {
  std::vector<ManifestEntry> entries;
  entries.push_back({.mode = 0644, .size = 3, .hash = hash_bytes("abc"), .path = "a\nb\\c\xc3\xa4"});
  entries.push_back({.type = EntryType::link, .path = "b\xff", .target = "../x\ty"});
  entries.push_back({.type = EntryType::directory, .mode = 0700, .path = "c"});
  const std::string text = manifest_text(entries);
  CHECK(text.find("a\\x0ab\\x5cc\xc3\xa4\n") != std::string::npos);
  CHECK(text.find("l b\\xff\t../x\\x09y\n") != std::string::npos);
  const auto parsed = parse_manifest(text);
  REQUIRE(parsed);
  CHECK(*parsed == entries);
}

TEST_CASE("manifest: hostile ones are refused or stay inside the destination") {
  const Tree tree;
  tree.write("a", "content");
  const std::string file = "f 644 7 " + base::sha256_hex("content") + " ";
  CHECK(tree.taken().files == 1);
  const Store store = opened(tree);
  for (const char* path :
       {"../evil", "/evil", "a/../../evil", "a//b", "./a", "a/", "", "outputs", "outputs/x", "x\\x00y"}) {
    INFO(path);
    CHECK_FALSE(materialise(store, plant(tree, file + path + "\n"), tree.root() / "copy"));
    static_cast<void>(base::remove_tree(tree.root() / "copy"));
  }
  for (const std::string& lines : std::vector<std::string>{
           "l a\t" + tree.root().string() + "\n" + file + "a/evil\n", file + "a\n" + file + "a\n",
           file + "b\n" + file + "a\n", file + "a\n" + file + "a/b\n", "d 755 a/\nl a\t/\n",
           "f 4755 7 " + base::sha256_hex("content") + " a\n", "f 644 9 " + base::sha256_hex("content") + " a\n",
           "f 644 7 " + base::sha256_hex("unknown") + " a\n", file + "a"}) {
    INFO(lines);
    CHECK_FALSE(materialise(store, plant(tree, lines), tree.root() / "copy"));
    static_cast<void>(base::remove_tree(tree.root() / "copy"));
  }
  CHECK_FALSE(fs::exists(tree.root() / "evil"));
}

TEST_CASE("store: damage is found") {
  const Tree tree;
  tree.write("a", noise(5000, 1));
  tree.write("big", noise(2U << 20U, 2));
  const Snapshot snapshot = tree.taken();
  require_sound(tree);
  const fs::path pack = tree.store() / "snapshots/packs/000001.pack";
  std::fstream(pack, std::ios::in | std::ios::out | std::ios::binary).seekp(1000) << "damage";
  auto report = check(opened(tree));
  REQUIRE(report);
  REQUIRE(report->problems.size() == 2);  // the blob, and what it is part of
  CHECK(report->problems[1] == "snapshot " + snapshot.digest + ": the content of a is damaged");
  CHECK_FALSE(materialise(opened(tree), snapshot.digest, tree.root() / "copy", {.verify = true}));
}

TEST_CASE("store: what is damaged is forgotten and stored anew") {
  const Tree tree;
  tree.write("a", noise(5000, 1));
  tree.write("b", noise(5000, 3));
  tree.write("big", noise(2U << 20U, 2));
  const Snapshot snapshot = tree.taken();
  std::fstream(tree.store() / "snapshots/packs/000001.pack", std::ios::in | std::ios::out | std::ios::binary)
          .seekp(1000)
      << "damage";
  for (const auto& entry : fs::recursive_directory_iterator(tree.store() / "snapshots/objects")) {
    if (entry.is_regular_file()) fs::resize_file(entry.path(), 1000);
  }
  const auto mended = mend(opened(tree));
  REQUIRE(mended);
  CHECK(mended->blobs == 1);
  CHECK(mended->damaged_blobs == 2);
  CHECK(mended->damaged_manifests == 1);
  CHECK_FALSE(opened(tree).has(snapshot.digest));
  const Snapshot again = tree.taken();
  CHECK(again.digest == snapshot.digest);
  CHECK(again.read_files == 2);
  require_sound(tree);
}

TEST_CASE("store: a torn index record and a torn pack tail are passed over") {
  const Tree tree;
  tree.write("a", "one");
  CHECK(tree.taken().files == 1);
  std::ofstream(tree.store() / "snapshots/index", std::ios::app) << "torn";
  std::ofstream(tree.store() / "snapshots/packs/000001.pack", std::ios::app) << "TCBLOB1\ntorn";
  tree.write("b", "two");
  const Snapshot snapshot = tree.taken();
  require_sound(tree);
  CHECK(materialise(opened(tree), snapshot.digest, tree.root() / "copy", {.verify = true}));
  fs::remove(tree.store() / "snapshots/index");
  REQUIRE(rebuild_index(opened(tree)));
  require_sound(tree);
}

TEST_CASE("store: a newer format is refused") {
  const Tree tree;
  fs::create_directories(tree.store() / "snapshots");
  std::ofstream(tree.store() / "snapshots/format") << "2\n";
  const auto store = Store::open(tree.store());
  REQUIRE_FALSE(store);
  CHECK(store.error().code == Errc::store);
}

TEST_CASE("store: 100 concurrent submits") {
  const Tree tree;
  for (int i = 0; i < 40; ++i) tree.write("shared" + std::to_string(i), noise(2000, static_cast<unsigned>(i)));
  tree.write("big", noise(2U << 20U, 99));
  std::vector<pid_t> children;
  for (int i = 0; i < 100; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const fs::path own = tree.root() / ("own" + std::to_string(i));
      fs::create_directories(own);
      std::ofstream(own / "mine") << i;
      const bool shared = take({.source = tree.source(), .store = tree.store()}).has_value();
      const bool mine = take({.source = own, .store = tree.store()}).has_value();
      ::_exit(shared && mine ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  const auto digests = opened(tree).digests();
  REQUIRE(digests);
  CHECK(digests->size() == 101);
  require_sound(tree);
}

TEST_CASE("store: killed at any moment, it opens and goes on") {
  const Tree tree;
  std::mt19937 random(4711);
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 30; ++i) tree.write("f" + std::to_string(i), noise(3000, static_cast<unsigned>(random())));
    tree.write("big", noise((1U << 20U) + 5000, static_cast<unsigned>(random())));
    const pid_t child = ::fork();
    if (child == 0) {
      static_cast<void>(tree.try_take());
      ::_exit(0);
    }
    ::usleep(static_cast<useconds_t>(random() % 12'000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    require_sound(tree);
  }
  const Snapshot last = tree.taken();
  CHECK(materialise(opened(tree), last.digest, tree.root() / "copy", {.verify = true}));
  const auto swept = collect_garbage(opened(tree), {last.digest}, std::chrono::seconds(0));
  REQUIRE(swept);
  CHECK(fs::is_empty(tree.store() / "snapshots/tmp"));
  require_sound(tree);
}

TEST_CASE("store: a file that changes while it is read is noticed") {
  const Tree tree;
  std::atomic<bool> stop = false;
  tree.write("log", "start");
  std::thread writer([&] {
    std::ofstream file(tree.source() / "log", std::ios::app);
    while (!stop) file << "one more line\n" << std::flush;
  });
  for (int round = 0; round < 20; ++round) {
    const auto snapshot = tree.try_take();
    if (!snapshot) CHECK(snapshot.error().message.find("log keeps changing") != std::string::npos);
  }
  stop = true;
  writer.join();
  next_tick();
  CHECK(tree.taken().files == 1);
  require_sound(tree);
}

TEST_CASE("store: a full disk leaves no broken snapshot") {
  if (::geteuid() != 0) return;
  const Tree tree;
  for (int i = 0; i < 60; ++i) tree.write("f" + std::to_string(i), noise(20'000, static_cast<unsigned>(i)));
  tree.write("big", noise(1'300'000, 7));
  const pid_t child = ::fork();  // with a mount namespace of its own: nothing to clean up
  if (child == 0) {
    fs::create_directories(tree.store());
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(77);
    int result = 0;
    for (int kib = 16; kib <= 3200 && result == 0; kib += kib < 1400 ? 92 : 300) {
      const std::string options = "size=" + std::to_string(kib) + "k";
      if (::mount("tmpfs", tree.store().c_str(), "tmpfs", 0, options.c_str()) != 0) ::_exit(77);
      const auto snapshot = tree.try_take();
      const auto store = Store::open(tree.store());
      if (!snapshot && snapshot.error().code != Errc::store) result = 1;
      if (store) {
        const auto report = check(*store);
        if (!report || !report->problems.empty() || (!snapshot && report->manifests != 0)) result = 2;
      }
      if (kib > 3000 && !snapshot) result = 3;
      ::umount(tree.store().c_str());
    }
    ::_exit(result);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) != 77) CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("store: gc keeps what is referenced or young, and packs what is left") {
  const Tree tree;
  for (int i = 0; i < 50; ++i) tree.write("f" + std::to_string(i), noise(4000, static_cast<unsigned>(i)));
  tree.write("big", noise(2U << 20U, 1));
  const Snapshot old = tree.taken();
  for (int i = 1; i < 50; ++i) fs::remove(tree.source() / ("f" + std::to_string(i)));
  fs::remove(tree.source() / "big");
  const Snapshot kept = tree.taken();
  auto swept = collect_garbage(opened(tree), {kept.digest}, std::chrono::hours(1));
  REQUIRE(swept);
  CHECK(swept->manifests == 0);
  swept = collect_garbage(opened(tree), {kept.digest}, std::chrono::seconds(0));
  REQUIRE(swept);
  CHECK(swept->manifests == 1);
  CHECK(swept->bytes > (2U << 20U));
  CHECK_FALSE(opened(tree).has(old.digest));
  require_sound(tree);
  CHECK(materialise(opened(tree), kept.digest, tree.root() / "copy", {.verify = true}));
  for (int i = 1; i < 50; ++i) tree.write("f" + std::to_string(i), noise(4000, static_cast<unsigned>(i)));
  CHECK(tree.taken().files == 50);
  require_sound(tree);
}
