// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/hash.hpp"
#include "support/catch.hpp"
#include "temp_dir.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::base;
using trainctl::test::TempDir;

namespace {

mode_t mode_of(const fs::path& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

}  // namespace

TEST_CASE("a file is written whole, 0600, and leaves no temporary file") {
  const TempDir dir;
  const fs::path path = dir.path() / "state.json";
  REQUIRE(write_file_durable(path, "one"));
  CHECK(read_file(path).value() == "one");
  CHECK(mode_of(path) == 0600);
  REQUIRE(write_file_atomic(path, std::string_view("t\0o", 3), 0640));
  CHECK(read_file(path).value() == std::string("t\0o", 3));
  CHECK(mode_of(path) == 0640);
  CHECK(list_directory(dir.path()).value() == std::vector<std::string>{"state.json"});
}

TEST_CASE("writing never goes through a planted link") {
  const TempDir dir;
  const fs::path victim = dir.path() / "victim";
  const fs::path path = dir.path() / "state.json";
  REQUIRE(write_file_atomic(victim, "precious"));
  fs::create_symlink(victim, path);
  REQUIRE(write_file_durable(path, "new"));
  CHECK(read_file(victim).value() == "precious");
  CHECK(fs::is_regular_file(fs::symlink_status(path)));

  const fs::path link = dir.path() / "link";
  fs::create_symlink(dir.path() / "nowhere", link);
  const auto created = create_exclusive(link, "x");
  REQUIRE(created);
  CHECK_FALSE(*created);
  CHECK_FALSE(base::exists(dir.path() / "nowhere"));

  const fs::path lock = dir.path() / "lock";
  fs::create_symlink(victim, lock);
  CHECK_FALSE(FileLock::try_acquire(lock));
}

TEST_CASE("a failed write leaves nothing behind") {
  const TempDir dir;
  const fs::path path = dir.path() / "taken";
  REQUIRE(make_directory(path).value());
  REQUIRE(write_file_atomic(path / "inside", "x"));
  CHECK_FALSE(write_file_durable(path, "data"));  // rename onto a directory fails
  CHECK(list_directory(dir.path()).value() == std::vector<std::string>{"taken"});
  const auto missing = write_file_durable(dir.path() / "no" / "file", "data");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::not_found);
  CHECK_FALSE(write_file_durable(dir.path() / "", "data"));
}

TEST_CASE("reading: limits, missing files, files of /proc") {
  const TempDir dir;
  const fs::path path = dir.path() / "data";
  REQUIRE(write_file_atomic(path, "0123456789"));
  CHECK(read_file(path, 10).value() == "0123456789");
  CHECK(read_file(path, 9).error().code == Errc::invalid);
  CHECK(read_file("/proc/self/stat", 5).error().code == Errc::invalid);
  CHECK_FALSE(read_file("/proc/self/stat").value().empty());
  CHECK(read_file(dir.path() / "none").error().code == Errc::not_found);
  CHECK(read_file(dir.path() / "none").error().message.find("none") != std::string::npos);
  CHECK_FALSE(read_file_if_exists(dir.path() / "none").value());
  CHECK(read_file_if_exists(path).value() == std::string("0123456789"));
  CHECK_FALSE(read_file_if_exists(dir.path()));
  CHECK(read_range(path, 3, 4).value() == "3456");
  CHECK(read_range(path, 8, 100).value() == "89");
  CHECK(read_range(path, 10, 1).value().empty());
  CHECK(read_range(path, UINT64_MAX, UINT64_MAX).value().empty());
  CHECK(read_range(path, 0, 0).value().empty());
  REQUIRE(write_file_atomic(path, ""));
  CHECK(read_file(path, 0).value().empty());
  REQUIRE(write_file_atomic(path, std::string(3'000'000, 'x')));
  CHECK(read_file(path).value().size() == 3'000'000);
}

TEST_CASE("exclusive creation and claims happen once") {
  const TempDir dir;
  CHECK(create_exclusive(dir.path() / "f", "one").value());
  CHECK_FALSE(create_exclusive(dir.path() / "f", "two").value());
  CHECK(read_file(dir.path() / "f").value() == "one");
  CHECK(make_directory(dir.path() / "d").value());
  CHECK_FALSE(make_directory(dir.path() / "d").value());
  CHECK_FALSE(make_directory(dir.path() / "x" / "y"));
}

TEST_CASE("directories are made private, existing ones are fine, files in the way are not") {
  const TempDir dir;
  REQUIRE(make_directories(dir.path() / "a" / "b" / "c"));
  REQUIRE(make_directories(dir.path() / "a" / "b" / "c"));
  CHECK(mode_of(dir.path() / "a") == 0700);
  CHECK(mode_of(dir.path() / "a/b/c") == 0700);
  REQUIRE(write_file_atomic(dir.path() / "a" / "file", ""));
  CHECK_FALSE(make_directories(dir.path() / "a" / "file" / "x"));
  CHECK_FALSE(make_directories(dir.path() / "a" / "file"));
  fs::create_directory_symlink(dir.path() / "a", dir.path() / "link");
  CHECK(make_directories(dir.path() / "link" / "z"));
}

TEST_CASE("pwrite_all, sizes and listing") {
  const TempDir dir;
  const fs::path path = dir.path() / "data";
  {
    auto fd = open_file(path, O_RDWR | O_CREAT);
    REQUIRE(fd);
    REQUIRE(pwrite_all(fd->get(), "world", 6));
    REQUIRE(pwrite_all(fd->get(), "hello ", 0));
    REQUIRE(sync_file(fd->get()));
    CHECK((::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(read_file(path).value() == "hello world");
  CHECK(base::file_size(path) == 11U);
  CHECK_FALSE(base::file_size(dir.path()));
  CHECK_FALSE(base::file_size(dir.path() / "none"));
  CHECK(list_directory(dir.path() / "none").value().empty());
  CHECK_FALSE(list_directory(path));
  REQUIRE(write_file_atomic(dir.path() / "a", ""));
  CHECK(list_directory(dir.path()).value() == std::vector<std::string>{"a", "data"});
  CHECK(free_bytes(dir.path()) > 0);
  CHECK_FALSE(base::is_network_file_system("/proc"));
  CHECK_FALSE(write_all(-1, "x"));
  CHECK(sync_directory(dir.path()));
}

TEST_CASE("a tree is removed without following links, whatever its modes") {
  const TempDir dir;
  const fs::path keep = dir.path() / "keep";
  const fs::path tree = dir.path() / "tree";
  REQUIRE(make_directories(keep));
  REQUIRE(write_file_atomic(keep / "file", "precious"));
  REQUIRE(make_directories(tree / "a" / "b"));
  REQUIRE(write_file_atomic(tree / "a" / "b" / "file", "x"));
  fs::create_directory_symlink(keep, tree / "a" / "link");
  REQUIRE(::chmod((tree / "a" / "b").c_str(), 0) == 0);
  REQUIRE(::chmod((tree / "a").c_str(), 0500) == 0);
  REQUIRE(remove_tree(tree));
  CHECK_FALSE(base::exists(tree));
  CHECK(read_file(keep / "file").value() == "precious");
  CHECK(remove_tree(tree));  // gone already
  fs::create_directory_symlink(keep, tree);
  REQUIRE(remove_tree(tree));
  CHECK(base::exists(keep / "file"));
  REQUIRE(remove_tree(keep / ""));
  CHECK_FALSE(base::exists(keep));
  for (const char* refused : {"", "/", ".", "..", "a/.."}) {
    CAPTURE(refused);
    CHECK(remove_tree(refused).error().code == Errc::invalid);
  }
}

TEST_CASE("a tree deeper than the limit of open files and of path names is removed") {
  const TempDir dir;
  const fs::path tree = dir.path() / "deep";
  REQUIRE(make_directory(tree).value());
  struct rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  struct rlimit low = before;
  low.rlim_cur = 300;
  UniqueFd at(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 400; ++i) {
    REQUIRE(::mkdirat(at.get(), "a-long-name-of-one", 0700) == 0);
    at.reset(::openat(at.get(), "a-long-name-of-one", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(at);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  const auto removed = remove_tree(tree);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(removed);
  CHECK_FALSE(base::exists(tree));
}

TEST_CASE("a lock keeps other processes out and says who holds it") {
  const TempDir dir;
  const fs::path path = dir.path() / "lock";
  std::array<int, 2> ready{};
  REQUIRE(::pipe(ready.data()) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto lock = FileLock::try_acquire(path);
    if (!lock || !*lock || ::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK_FALSE(FileLock::try_acquire(path).value());
  const auto late = FileLock::acquire(path, 50);
  REQUIRE_FALSE(late);
  CHECK(late.error().code == Errc::timeout);
  CHECK(lock_holder(path) == pid);
  CHECK(late.error().message.find(std::to_string(pid)) != std::string::npos);
  ::kill(pid, SIGKILL);
  CHECK(::waitpid(pid, nullptr, 0) == pid);
  CHECK(FileLock::acquire(path, 5000));  // the kernel gave it back
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("a lock ends with its object and survives the file's replacement") {
  const TempDir dir;
  const fs::path path = dir.path() / "lock";
  {
    auto lock = FileLock::try_acquire(path);
    REQUIRE(lock);
    REQUIRE(*lock);
    CHECK((*lock)->fd() >= 0);
    CHECK_FALSE(FileLock::try_acquire(path).value());
    REQUIRE(::unlink(path.c_str()) == 0);
    CHECK(FileLock::try_acquire(path).value());  // a new file, a new lock
  }
  CHECK(FileLock::try_acquire(path).value());
  CHECK_FALSE(lock_holder(dir.path() / "none"));
  CHECK_FALSE(FileLock::try_acquire(dir.path() / "no" / "lock"));
}

TEST_CASE("hashes match the published vectors") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
  CHECK(hash.finish_hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  const TempDir dir;
  REQUIRE(write_file_atomic(dir.path() / "f", std::string(1'000'000, 'a')));
  CHECK(sha256_file_hex(dir.path() / "f").value() ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(sha256_file_hex(dir.path() / "none").error().code == Errc::not_found);
  CHECK(crc32c("") == 0);
  CHECK(crc32c("123456789") == 0xE3069283U);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAU);  // RFC 3720 B.4
  CHECK(crc32c("6789", crc32c("12345")) == 0xE3069283U);
  CHECK(to_hex(std::string_view("\x00\xff\x1a", 3)) == "00ff1a");
}
