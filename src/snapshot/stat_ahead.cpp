// SPDX-License-Identifier: Apache-2.0
#include "snapshot/stat_ahead.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace trainctl::snapshot {
namespace {

constexpr std::size_t kWorthAThread = 500;  ///< names; fewer are looked up before a thread has begun
constexpr std::size_t kMostThreads = 6;
constexpr std::size_t kMostWaiting = 24;
constexpr std::size_t kLongestTarget = 4096;

std::int64_t to_ns(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::string read_link(int directory, const char* name) {
  std::string target(kLongestTarget, '\0');
  const ssize_t length = ::readlinkat(directory, name, target.data(), target.size());
  const bool whole = length > 0 && static_cast<std::size_t>(length) < target.size();
  target.resize(whole ? static_cast<std::size_t>(length) : 0);
  return target;
}

}  // namespace

StatAhead::~StatAhead() {
  {
    const std::lock_guard lock(mutex_);
    next_ = batches_.size();
    ended_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void StatAhead::look_up(LookupBatch& batch) {
  const int fd = ::dirfd(batch.directory.get());
  for (Lookup& lookup : batch.lookups) {
    const char* const name = batch.names.c_str() + lookup.name;
    struct stat info{};
    if (::fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISLNK(info.st_mode)) {
      std::string target = read_link(fd, name);
      if (target.empty()) continue;
      batch.targets.emplace(lookup.entry, std::move(target));
    }
    lookup.mode = info.st_mode;
    lookup.size = static_cast<std::uint64_t>(info.st_size);
    lookup.mtime_ns = to_ns(info.st_mtim);
    lookup.ctime_ns = to_ns(info.st_ctim);
    lookup.inode = info.st_ino;
  }
  batch.directory.reset();
}

void StatAhead::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || next_ < batches_.size(); });
    if (next_ >= batches_.size()) return;
    LookupBatch& batch = batches_[next_++];
    lock.unlock();
    look_up(batch);
    lock.lock();
  }
}

/// One more for each 500 names, as long as those that there are cannot keep up.
void StatAhead::start_thread(std::size_t waiting) {
  const std::size_t count = threads_.size();
  if (count == kMostThreads || names_ < kWorthAThread * (count + 1) || waiting < 2 * count) return;
  try {
    threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    names_ = 0;  // no more threads for this user: go on with those
  }
}

void StatAhead::add(LookupBatch batch) {
  if (batch.lookups.empty()) return;
  names_ += batch.lookups.size();
  LookupBatch* own = nullptr;
  std::size_t waiting = 0;
  {
    const std::lock_guard lock(mutex_);
    batches_.push_back(std::move(batch));
    waiting = batches_.size() - next_;
    if (threads_.empty() || waiting > kMostWaiting) own = &batches_[next_++];
  }
  if (own != nullptr) {
    look_up(*own);
  } else {
    changed_.notify_one();
  }
  start_thread(waiting);
}

std::vector<LookupBatch> StatAhead::finish() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  work();  // what is left, together
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  std::vector<LookupBatch> done(std::make_move_iterator(batches_.begin()), std::make_move_iterator(batches_.end()));
  batches_.clear();
  return done;
}

}  // namespace trainctl::snapshot
