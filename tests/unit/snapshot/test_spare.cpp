// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "snapshot/maintenance.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/spare.hpp"
#include "snapshot/store.hpp"
#include "unit/snapshot/tree.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;
using namespace trainctl::snapshot::test;

namespace {

constexpr auto kNoWait = std::chrono::milliseconds(5'000);

Store opened(const Tree& tree) {
  auto store = Store::open(tree.store());
  REQUIRE(store);
  return std::move(*store);
}

/// Every path with its kind, mode and content.
std::string described(const fs::path& root) {
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat info{};
    REQUIRE(::lstat(entry.path().c_str(), &info) == 0);
    std::string line = entry.path().lexically_relative(root).string() + " " + std::to_string(info.st_mode) + " ";
    if (entry.is_symlink()) {
      line += fs::read_symlink(entry.path()).string();
    } else if (entry.is_regular_file()) {
      line += *base::read_file(entry.path());
    }
    lines.push_back(std::move(line));
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::string made_anew(const Tree& tree, const std::string& digest) {
  const fs::path to = tree.root() / "anew";
  REQUIRE(base::remove_tree(to));
  REQUIRE(materialise(opened(tree), digest, to));
  return described(to);
}

void make(const Tree& tree, const std::string& digest) {
  const auto lock = lock_spares(opened(tree));
  REQUIRE(lock);
  REQUIRE(lock->has_value());
  const auto made = make_spare(opened(tree), "k", digest);
  INFO((made ? std::string() : made.error().message));
  REQUIRE(made);
}

fs::path spare(const Tree& tree) {
  return tree.store() / "snapshots" / "spare" / "k";
}

void several(const Tree& tree) {
  for (int i = 0; i < 20; ++i) tree.write("d" + std::to_string(i % 4) + "/f" + std::to_string(i));
  tree.write("deep/er/still/file", "text");
  tree.write("run.sh", "#!/bin/sh\n", 0755);
  fs::create_directories(tree.source() / "empty" / "er");
  fs::create_symlink("d0/f0", tree.source() / "link");
}

/// Makes, changes or removes something; kinds change as well.
void disturb(const Tree& tree, std::mt19937& random) {
  const auto pick = [&random](int most) { return static_cast<int>(random() % static_cast<unsigned>(most)); };
  const std::string name = (pick(2) == 0 ? "d" + std::to_string(pick(4)) + "/" : std::string()) + "x" +
                           std::to_string(pick(6)) + (pick(3) == 0 ? "/y" : "");
  const fs::path path = tree.source() / name;
  std::error_code ignored;
  for (fs::path at = path.parent_path(); at != tree.source(); at = at.parent_path()) {
    if (fs::symlink_status(at).type() != fs::file_type::directory) fs::remove(at, ignored);
  }
  fs::remove_all(path, ignored);
  fs::create_directories(path.parent_path());
  switch (pick(4)) {
    case 0:
      tree.write(name, std::to_string(random()), pick(2) == 0 ? 0644 : 0755);
      break;
    case 1:
      fs::create_directory(path);
      break;
    case 2:
      fs::create_symlink("somewhere" + std::to_string(pick(3)), path);
      break;
    default:
      break;
  }
}

}  // namespace

TEST_CASE("spare: it becomes any other snapshot, exactly as that would be made anew") {
  const Tree tree;
  several(tree);
  for (int i = 0; i < 40; ++i) tree.write("many/f" + std::to_string(i));
  std::mt19937 random(7);
  int served = 0;
  for (int round = 0; round < 25; ++round) {
    make(tree, tree.taken().digest);
    for (int i = 0; i < 4; ++i) disturb(tree, random);
    const std::string digest = tree.taken().digest;
    const fs::path to = tree.root() / "to";
    REQUIRE(base::remove_tree(to));
    if (take_spare(opened(tree), "k", digest, to)) {
      ++served;
      CHECK(described(to) == made_anew(tree, digest));
    } else {
      CHECK_FALSE(fs::exists(to));
    }
    CHECK_FALSE(fs::exists(spare(tree)));
  }
  CHECK(served > 20);
}

TEST_CASE("spare: one that was touched is not used") {
  const Tree tree;
  several(tree);
  const std::string digest = tree.taken().digest;
  make(tree, digest);
  const fs::path copy = spare(tree) / "tree";
  const auto same_times = [](const fs::path& path, const std::function<void()>& change) {
    struct stat info{};
    REQUIRE(::lstat(path.c_str(), &info) == 0);
    change();
    const timespec times[] = {info.st_atim, info.st_mtim};
    REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
  };
  const std::string boot_file = (tree.root() / "boot").string();
  SECTION("content of the same length, its time set back") {
    same_times(copy / "d0/f0", [&] { std::ofstream(copy / "d0/f0") << "y\n"; });
  }
  SECTION("mode") {
    REQUIRE(::chmod((copy / "d1/f1").c_str(), 0600) == 0);
  }
  SECTION("another file under the name, with its time") {
    same_times(copy / "d0/f0", [&] {
      fs::remove(copy / "d0/f0");
      std::ofstream(copy / "d0/f0") << "x\n";
    });
  }
  SECTION("a file more") {
    std::ofstream(copy / "d2/more") << "x";
  }
  SECTION("a file more at the top") {
    std::ofstream(copy / "sitecustomize.py") << "x";
  }
  SECTION("a file in outputs") {
    std::ofstream(copy / "outputs/old") << "x";
  }
  SECTION("a file in an empty folder") {
    std::ofstream(copy / "empty/er/x") << "x";
  }
  SECTION("a file less") {
    fs::remove(copy / "d3/f3");
  }
  SECTION("a folder swapped for a link") {
    fs::rename(copy / "deep", tree.root() / "deep");
    fs::create_symlink(tree.root() / "deep", copy / "deep");
  }
  SECTION("a link that leads elsewhere") {
    fs::remove(copy / "link");
    fs::create_symlink("d0/f4", copy / "link");
  }
  SECTION("its stamp") {
    std::string data = *base::read_file(spare(tree) / "stamp");
    data[data.size() / 2] ^= 1;
    REQUIRE(base::write_file_atomic(spare(tree) / "stamp", data));
  }
  SECTION("no stamp") {
    fs::remove(spare(tree) / "stamp");
  }
  SECTION("the machine was restarted") {
    std::ofstream(boot_file) << "00000000-0000-4000-8000-000000000009\n";
    REQUIRE(::setenv("TRAINCTL_BOOT_ID_FILE", boot_file.c_str(), 1) == 0);
  }
  SECTION("its snapshot is gone") {
    tree.write("d0/f0", "other");
    const std::string next = tree.taken().digest;
    fs::remove(opened(tree).manifest_path(digest));
    CHECK_FALSE(take_spare(opened(tree), "k", next, tree.root() / "to"));
  }
  CHECK_FALSE(take_spare(opened(tree), "k", digest, tree.root() / "to"));
  CHECK_FALSE(fs::exists(tree.root() / "to"));
  ::unsetenv("TRAINCTL_BOOT_ID_FILE");
}

TEST_CASE("spare: of many who want it one gets it") {
  const Tree tree;
  several(tree);
  const std::string digest = tree.taken().digest;
  make(tree, digest);
  std::vector<std::thread> takers;
  std::atomic<int> served = 0;
  for (int i = 0; i < 8; ++i) {
    takers.emplace_back([&, i] {
      const auto store = Store::open(tree.store());
      if (store && take_spare(*store, "k", digest, tree.root() / ("to" + std::to_string(i)))) ++served;
    });
  }
  for (std::thread& taker : takers) taker.join();
  CHECK(served == 1);
}

TEST_CASE("spare: its maker and its taker killed at any moment") {
  const Tree tree;
  several(tree);
  for (int i = 0; i < 300; ++i) tree.write("many/f" + std::to_string(i));
  const std::string digest = tree.taken().digest;
  const std::string whole = made_anew(tree, digest);
  std::mt19937 random(11);
  const auto killed_within = [&random](const std::function<void()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      work();
      ::_exit(0);
    }
    const timespec pause{0, static_cast<long>(random() % 45'000'000)};
    ::nanosleep(&pause, nullptr);
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
  };
  for (int round = 0; round < 25; ++round) {
    const fs::path to = tree.root() / ("to" + std::to_string(round));
    killed_within([&] {
      const auto lock = lock_spares(opened(tree));
      if (lock && *lock) static_cast<void>(make_spare(opened(tree), "k", digest));
    });
    if (round % 2 == 1) {
      killed_within([&] { static_cast<void>(take_spare(opened(tree), "k", digest, to)); });
    } else {
      static_cast<void>(take_spare(opened(tree), "k", digest, to));
    }
    if (fs::exists(to)) CHECK(described(to) == whole);
  }
  make(tree, digest);
  const auto left = base::list_directory(spare(tree).parent_path());
  REQUIRE(left);
  CHECK(*left == std::vector<std::string>{"k"});
}

TEST_CASE("spare: gc removes them, and stops who makes one") {
  const Tree tree;
  several(tree);
  const std::string digest = tree.taken().digest;
  make(tree, digest);
  const pid_t maker = ::fork();
  if (maker == 0) {
    for (;;) {  // a maker that has always just begun
      const auto lock = lock_spares(opened(tree));
      if (!lock || !*lock) continue;
      const auto made = make_spare(opened(tree), "other", digest);
      if (!made) ::_exit(0);
      static_cast<void>(base::remove_tree(tree.store() / "snapshots" / "spare" / "other"));
    }
  }
  CHECK(collect_garbage(opened(tree), {digest}, std::chrono::hours(1)));
  ::kill(maker, SIGKILL);
  REQUIRE(::waitpid(maker, nullptr, 0) == maker);
  CHECK_FALSE(fs::exists(spare(tree)));
  const auto lock = remove_spares(opened(tree), kNoWait);
  REQUIRE(lock);
  CHECK_FALSE(fs::exists(spare(tree).parent_path()));
  const auto names = base::list_directory(tree.store() / "snapshots");
  REQUIRE(names);
  CHECK(std::none_of(names->begin(), names->end(), [](const auto& name) { return name.starts_with("spare.gone"); }));
}

TEST_CASE("spare: the oldest make room, and one that is too different is left") {
  const Tree tree;
  several(tree);
  const std::string digest = tree.taken().digest;
  const auto lock = lock_spares(opened(tree));
  REQUIRE(lock);
  for (int i = 0; i < 7; ++i) REQUIRE(make_spare(opened(tree), spare_key(std::to_string(i)), digest));
  const auto left = base::list_directory(spare(tree).parent_path());
  REQUIRE(left);
  CHECK(left->size() == kMostSpares);
  for (int i = 0; i < 20; ++i) tree.write("d" + std::to_string(i % 4) + "/f" + std::to_string(i), "all new");
  CHECK_FALSE(take_spare(opened(tree), spare_key("6"), tree.taken().digest, tree.root() / "to"));
}
